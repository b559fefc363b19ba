//! Whether the gateway answers, as a client would see it that trusts this machine's authority alone.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{CertificateError, ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// Of an answer, its first line is read.
const ANSWER_BYTES_MAX: u64 = 4096;

/// Asks the gateway whether it lives.
pub(crate) async fn answers(gateway: SocketAddr, ca_pem: &str) -> Result<()> {
    let tcp = TcpStream::connect(gateway).await.with_context(|| format!("cannot connect to {gateway}"))?;
    let connecting = TlsConnector::from(Arc::new(trusting(ca_pem)?));
    let mut stream = match connecting.connect(ServerName::IpAddress(gateway.ip().into()), tcp).await {
        Err(error) if is_about_time(&error) => return Ok(()),
        connected => connected.context("TLS failed")?,
    };
    let request = format!("GET /healthz HTTP/1.1\r\nHost: {gateway}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.context("cannot ask")?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer).await.context("cannot read the answer")?;
    let line = String::from_utf8_lossy(&answer).lines().next().unwrap_or_default().to_owned();
    ensure!(line.starts_with("HTTP/1.1 200"), "the gateway answers {line:?}");
    Ok(())
}

fn trusting(ca_pem: &str) -> Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    let ca = CertificateDer::from_pem_slice(ca_pem.as_bytes()).context("the authority's certificate")?;
    roots.add(ca).context("the authority's certificate")?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    Ok(builder.context("TLS versions")?.with_root_certificates(roots).with_no_client_auth())
}

/// A clock that is wrong makes certificates invalid, and says nothing of the gateway: it has one, and
/// it is ours.
fn is_about_time(error: &std::io::Error) -> bool {
    let tls = error.get_ref().and_then(|error| error.downcast_ref::<rustls::Error>());
    matches!(
        tls,
        Some(rustls::Error::InvalidCertificate(
            CertificateError::NotValidYet
                | CertificateError::NotValidYetContext { .. }
                | CertificateError::Expired
                | CertificateError::ExpiredContext { .. }
        ))
    )
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn a_wrong_clock_is_told_from_a_wrong_certificate() {
        let about_time = |error| {
            is_about_time(&io::Error::new(
                io::ErrorKind::InvalidData,
                rustls::Error::InvalidCertificate(error),
            ))
        };
        assert!(about_time(CertificateError::NotValidYet) && about_time(CertificateError::Expired));
        assert!(!about_time(CertificateError::UnknownIssuer));
        assert!(!is_about_time(&io::ErrorKind::ConnectionReset.into()));
    }
}
