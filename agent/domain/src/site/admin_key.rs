//! Public SSH keys of those who may administer the machine.

use std::collections::HashSet;

use ssh_key::public::KeyData;
use ssh_key::{HashAlg, PublicKey};

use super::error::{Fault, SiteErrors};
use super::text::problem_at;

/// Admin keys of a site, and of a file.
pub const ADMIN_KEYS_MAX: usize = 64;
/// Longest line of a key: RSA of 16384 bits, OpenSSH's largest, needs 2.8 KB.
pub const ADMIN_KEY_BYTES_MAX: usize = 4096;
/// Shortest RSA key (BSI TR-02102, NIST SP 800-57 for after 2030).
pub const RSA_BITS_MIN: usize = 3072;

/// A public key that opens the admin account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdminKey {
    /// Kind and data, as OpenSSH writes them.
    line: String,
    kind: String,
    fingerprint: String,
    comment: String,
}

impl AdminKey {
    /// Reads a line as it stands in a file that ends with `.pub`.
    ///
    /// # Errors
    /// For what is not the plain public key, of a strong kind.
    pub(super) fn parse(line: &str) -> Result<Self, Fault> {
        refuse_lookalikes(line)?;
        if line.len() > ADMIN_KEY_BYTES_MAX {
            return Err(Fault::KeyTooLong { bytes: line.len() });
        }
        let mut words = line.split_ascii_whitespace();
        let kind = words.next().ok_or(Fault::NoKey)?;
        check_kind(kind)?;
        let data = words.next().ok_or_else(|| Fault::KeyDamaged("it ends after its kind".to_owned()))?;
        let damaged = |error: ssh_key::Error| Fault::KeyDamaged(error.to_string());
        let key = PublicKey::from_openssh(&format!("{kind} {data}")).map_err(damaged)?;
        if let KeyData::Rsa(rsa) = key.key_data() {
            let modulus = rsa.n.as_positive_bytes().unwrap_or_default();
            let bits = modulus.len() * 8 - modulus.first().map_or(0, |byte| byte.leading_zeros() as usize);
            if bits < RSA_BITS_MIN {
                return Err(Fault::RsaTooShort { bits });
            }
        }
        // It is shown on screens: a control character could move the cursor.
        let comment = words.collect::<Vec<_>>().join(" ");
        Ok(Self {
            line: key.to_openssh().map_err(damaged)?,
            kind: kind.to_owned(),
            fingerprint: key.fingerprint(HashAlg::Sha256).to_string(),
            comment: comment.chars().filter(|c| !c.is_control()).collect(),
        })
    }

    /// The line for sshd's file of authorised keys. All is forbidden but a terminal; which program
    /// runs is sshd's configuration.
    pub fn authorized_line(&self) -> String {
        format!("restrict,pty {}", self.line)
    }

    /// `SHA256:…`, as `ssh-keygen -l` shows it.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// Its kind, as `ssh-ed25519`.
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// Whose it is, as its maker noted.
    pub fn comment(&self) -> &str {
        &self.comment
    }
}

/// Other files that are easily taken for the right one.
fn refuse_lookalikes(text: &str) -> Result<(), Fault> {
    if text.contains("PRIVATE KEY-----") || text.starts_with("PuTTY-User-Key-File") {
        return Err(Fault::PrivateKey);
    }
    if text.contains("BEGIN SSH2 PUBLIC KEY") {
        return Err(Fault::Rfc4716);
    }
    Ok(())
}

fn check_kind(kind: &str) -> Result<(), Fault> {
    const KINDS: [&str; 7] = [
        "ssh-ed25519",
        "sk-ssh-ed25519@openssh.com",
        "ecdsa-sha2-nistp256",
        "ecdsa-sha2-nistp384",
        "ecdsa-sha2-nistp521",
        "sk-ecdsa-sha2-nistp256@openssh.com",
        "ssh-rsa",
    ];
    if KINDS.contains(&kind) {
        Ok(())
    } else if kind.contains("-cert-v0") {
        Err(Fault::Certificate)
    } else {
        Err(Fault::KeyKind(kind.chars().take(64).collect()))
    }
}

/// Reads a file of keys, one a line; empty lines and those that begin with `#` say nothing.
///
/// # Errors
/// Every line that is no key, or a file without any.
pub fn parse_admin_keys(text: &str) -> Result<Vec<AdminKey>, SiteErrors> {
    if let Err(fault) = refuse_lookalikes(text) {
        return Err(problem_at(text, 0..0, fault).into());
    }
    let (mut keys, mut seen, mut problems) = (Vec::<AdminKey>::new(), HashSet::new(), Vec::new());
    let mut line_start = 0;
    for line in text.split_inclusive('\n') {
        let place = line_start..line_start;
        line_start += line.len();
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        match AdminKey::parse(line) {
            Ok(key) if !seen.insert(key.fingerprint().to_owned()) => {
                problems.push(problem_at(text, place, Fault::KeyTwice));
            }
            Ok(key) => keys.push(key),
            Err(fault) => problems.push(problem_at(text, place, fault)),
        }
    }
    let (count, max) = (keys.len(), ADMIN_KEYS_MAX);
    if count > max {
        problems.push(problem_at(text, 0..0, Fault::TooMany { what: "keys", count, max }));
    }
    if keys.is_empty() && problems.is_empty() {
        problems.push(problem_at(text, 0..0, Fault::NoKey));
    }
    SiteErrors::of(problems).map_or(Ok(keys), Err)
}
