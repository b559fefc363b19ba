//! The appliance's own certificate authority. Its private key never leaves the supervisor; the
//! gateway gets leaves.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::{Context, Result};
use nabi_models::atomic_file;
use nix::ifaddrs::getifaddrs;
use rcgen::string::Ia5String;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, SanType,
};
use sha2::{Digest, Sha256};
use time::{Duration, OffsetDateTime};

use crate::places::Places;

const CA_VALID_DAYS: i64 = 3650;
/// 2025-01-01, before any machine that runs this; since 1970.
const CA_VALID_FROM_DAYS: i64 = 20_089;
/// Leaves are renewed when a third of this is left.
const LEAF_VALID_DAYS: i64 = 90;
/// Clients whose clocks are behind must not refuse.
const CLOCK_SLACK_DAYS: i64 = 1;

pub(crate) struct Ca {
    certificate_pem: String,
    sha256: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate for the gateway.
pub(crate) struct Leaf {
    pub(crate) certificate_pem: String,
    pub(crate) private_key_pem: String,
    names: Names,
    made: OffsetDateTime,
}

/// What clients may call this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Names {
    dns: BTreeSet<String>,
    addresses: BTreeSet<IpAddr>,
}

impl Ca {
    /// Finds the authority, or makes it at the first start.
    pub(crate) fn open(places: &Places) -> Result<Self> {
        let (key_path, certificate_path) = (places.private("ca-key.pem"), places.ca_certificate());
        let damaged = "the certificate authority is damaged: restore ca.pem and supervisor/ca-key.pem, or remove \
                       both to make a new one, which every client must then trust anew";
        let key_pem = match fs::read_to_string(&key_path) {
            Ok(pem) => pem,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Self::create(places),
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", key_path.display())),
        };
        let certificate_pem = fs::read_to_string(&certificate_path).context(damaged)?;
        let key = KeyPair::from_pem(&key_pem).context(damaged)?;
        Self::new(certificate_pem, key).context(damaged)
    }

    fn create(places: &Places) -> Result<Self> {
        let key = KeyPair::generate().context("cannot make a key")?;
        let authority = authority(OffsetDateTime::now_utc());
        let certificate_pem =
            authority.self_signed(&key).context("cannot sign the authority's certificate")?.pem();
        // The certificate first: a key without it would be taken for damage at the next start.
        atomic_file::write(&places.ca_certificate(), certificate_pem.as_bytes(), 0o644)
            .context("cannot write the authority's certificate")?;
        atomic_file::write(&places.private("ca-key.pem"), key.serialize_pem().as_bytes(), 0o600)
            .context("cannot write the authority's key")?;
        tracing::info!("made a certificate authority");
        Self::new(certificate_pem, key)
    }

    fn new(certificate_pem: String, key: KeyPair) -> Result<Self> {
        let der = pem_to_der(&certificate_pem)?;
        let sha256 = hex::encode(Sha256::digest(&der));
        let issuer =
            Issuer::from_ca_cert_der(&der.into(), key).context("cannot read the authority's certificate")?;
        Ok(Self { certificate_pem, sha256, issuer })
    }

    pub(crate) fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// Of the certificate's DER form.
    pub(crate) fn sha256(&self) -> &str {
        &self.sha256
    }

    pub(crate) fn issue(&self, names: Names) -> Result<Leaf> {
        let key = KeyPair::generate().context("cannot make a key")?;
        let mut params = CertificateParams::default();
        params.distinguished_name = named(&host_name());
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        for name in &names.dns {
            params.subject_alt_names.push(SanType::DnsName(Ia5String::try_from(name.as_str())?));
        }
        params.subject_alt_names.extend(names.addresses.iter().copied().map(SanType::IpAddress));
        valid_for(&mut params, OffsetDateTime::now_utc(), LEAF_VALID_DAYS);
        let leaf = params.signed_by(&key, &self.issuer).context("cannot sign the gateway's certificate")?;
        Ok(Leaf {
            certificate_pem: leaf.pem() + &self.certificate_pem,
            private_key_pem: key.serialize_pem(),
            names,
            made: OffsetDateTime::now_utc(),
        })
    }
}

impl Leaf {
    /// Whether a new one is needed: the machine has other names, or this one becomes old. A clock
    /// that went backwards makes it invalid too.
    pub(crate) fn is_due(&self, names: &Names, now: OffsetDateTime) -> bool {
        let age = now - self.made;
        self.names != *names
            || age >= Duration::days(LEAF_VALID_DAYS) * 2 / 3
            || age <= -Duration::days(CLOCK_SLACK_DAYS)
    }
}

impl Names {
    /// The host's name and all addresses that it has now.
    pub(crate) fn of_this_machine() -> Self {
        let mut dns = BTreeSet::from(["localhost".to_owned()]);
        let host = host_name();
        if host.is_ascii() {
            dns.insert(format!("{host}.local"));
            dns.insert(host);
        }
        let mut addresses =
            BTreeSet::from([IpAddr::from(Ipv4Addr::LOCALHOST), IpAddr::from(Ipv6Addr::LOCALHOST)]);
        match getifaddrs() {
            Ok(found) => addresses.extend(found.filter_map(|interface| {
                let address = interface.address?;
                let v4 = address.as_sockaddr_in().map(|v4| IpAddr::from(v4.ip()));
                v4.or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::from(v6.ip())))
            })),
            Err(error) => tracing::warn!("cannot list this machine's addresses: {error}"),
        }
        Self { dns, addresses }
    }
}

fn host_name() -> String {
    let name = nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok());
    name.filter(|name| !name.is_empty()).unwrap_or_else(|| "nabi".to_owned())
}

fn named(common_name: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common_name);
    name.push(DnType::OrganizationName, "Nabi");
    name
}

/// The authority's certificate, if it is made now.
fn authority(now: OffsetDateTime) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = named(&format!("Nabi CA of {}", host_name()));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    valid_for(&mut params, now, CA_VALID_DAYS);
    // The clock may be ahead, and the authority is made once.
    let early = OffsetDateTime::UNIX_EPOCH + Duration::days(CA_VALID_FROM_DAYS);
    params.not_before = params.not_before.min(early);
    params
}

fn valid_for(params: &mut CertificateParams, now: OffsetDateTime, days: i64) {
    params.not_before = now - Duration::days(CLOCK_SLACK_DAYS);
    params.not_after = now + Duration::days(days);
}

fn pem_to_der(pem: &str) -> Result<Vec<u8>> {
    use rustls_pki_types::CertificateDer;
    use rustls_pki_types::pem::PemObject as _;
    let der = CertificateDer::from_pem_slice(pem.as_bytes()).context("ca.pem holds no certificate")?;
    Ok(der.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::launch::Launcher;

    #[test]
    fn the_authority_is_made_once_and_its_key_is_private() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().expect("temporary folder");
        let open = || {
            let places =
                Places::open(folder.path(), &folder.path().join("run"), Launcher::Child).expect("places");
            Ca::open(&places).expect("authority").sha256().to_owned()
        };
        assert_eq!(open(), open());
        let key = folder.path().join("supervisor/ca-key.pem");
        assert_eq!(fs::metadata(key).expect("key").permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn an_authority_made_by_a_clock_that_is_wrong_is_valid_when_it_is_set() {
        let day = |days| OffsetDateTime::UNIX_EPOCH + Duration::days(days);
        let made_on = |days| authority(day(days)).not_before;
        assert_eq!(made_on(CA_VALID_FROM_DAYS + 9000), day(CA_VALID_FROM_DAYS), "a clock ahead");
        assert!(made_on(400) < day(400), "a clock behind, still so");
    }

    #[test]
    fn a_leaf_is_due_for_other_names_with_age_and_when_the_clock_went_back() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let places =
            Places::open(folder.path(), &folder.path().join("run"), Launcher::Child).expect("places");
        let names = Names { dns: ["a".to_owned()].into(), addresses: BTreeSet::new() };
        let leaf = Ca::open(&places).and_then(|ca| ca.issue(names.clone())).expect("leaf");
        let due = |days| leaf.is_due(&names, leaf.made + Duration::days(days));
        assert!(!due(0) && !due(59) && due(60) && due(-2));
        let others = Names { dns: ["b".to_owned()].into(), addresses: BTreeSet::new() };
        assert!(leaf.is_due(&others, leaf.made));
    }
}
