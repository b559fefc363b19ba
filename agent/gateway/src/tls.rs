//! The TLS configuration. A reload makes a new one for later connections; those that are open
//! keep theirs.

use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::version::{TLS12, TLS13};

/// HTTP/2, as TLS names it.
pub(crate) const ALPN_H2: &[u8] = b"h2";
const ALPN_HTTP11: &[u8] = b"http/1.1";

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TlsError {
    #[error("the configuration's certificate_pem is not a chain of certificates in PEM form")]
    Certificate(#[source] pem::Error),
    #[error("the configuration's private_key_pem is not a private key in PEM form")]
    PrivateKey(#[source] pem::Error),
    #[error("the configuration's certificate and private key cannot be used together")]
    Pair(#[source] rustls::Error),
}

/// TLS 1.3 and 1.2 with the provider's defaults, which prefer a post-quantum key exchange.
pub(crate) fn server_config(
    certificate_pem: &str,
    private_key_pem: &str,
) -> Result<Arc<ServerConfig>, TlsError> {
    let chain = CertificateDer::pem_slice_iter(certificate_pem.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .map_err(TlsError::Certificate)?;
    let key = PrivateKeyDer::from_pem_slice(private_key_pem.as_bytes()).map_err(TlsError::PrivateKey)?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&TLS13, &TLS12])
        .map_err(TlsError::Pair)?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(TlsError::Pair)?;
    config.alpn_protocols = vec![ALPN_H2.to_vec(), ALPN_HTTP11.to_vec()];
    Ok(Arc::new(config))
}
