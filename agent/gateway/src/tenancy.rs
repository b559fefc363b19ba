//! What an engine learns of whose request it serves: opaque numbers, from which it can tell
//! callers apart, but not who they are.

use hmac::{Hmac, KeyInit, Mac};
use nabi_domain::KeyName;
use nabi_wire::engine::{Salt, Share};
use sha2::Sha256;

use crate::random;

/// Longest wait of a request for its first place in an engine.
const QUEUE_MS_MAX: u64 = 120_000;
/// Longest time from a request to the end of its answer.
pub(crate) const TOTAL_MS_MAX: u64 = 3_600_000;
/// Callers share alike.
const WEIGHT: u16 = 1;

/// A secret of this life of the gateway.
#[derive(Clone)]
pub(crate) struct Secret(Hmac<Sha256>);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
}

impl Secret {
    pub(crate) fn draw() -> Self {
        Self::new(random::bytes())
    }

    fn new(secret: [u8; 32]) -> Self {
        Self(Hmac::new_from_slice(&secret).expect("HMAC takes keys of any length"))
    }

    /// How a caller shares an engine with others, and the salt that keeps its prompts apart from
    /// theirs. Without the secret neither can be computed from the key's name.
    pub(crate) fn tenancy(&self, key: &KeyName) -> (Share, Salt) {
        let mut mac = self.0.clone();
        mac.update(key.as_str().as_bytes());
        let code: [u8; 32] = mac.finalize().into_bytes().into();
        let (salt, flow) = code.split_at(16);
        let salt = Salt(salt.try_into().expect("half of 32 bytes"));
        let flow = u64::from_le_bytes(flow[..8].try_into().expect("8 of 16 bytes"));
        let share = Share {
            flow,
            weight: WEIGHT,
            queue_ms_max: Some(QUEUE_MS_MAX),
            total_ms_max: Some(TOTAL_MS_MAX),
        };
        (share, salt)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn callers_are_told_apart_and_only_with_the_secret() {
        let name = |name: &str| name.parse::<KeyName>().expect("a name");
        let secret = Secret::new([7; 32]);
        assert_eq!(secret.tenancy(&name("a")), secret.tenancy(&name("a")));
        let (share, salt) = secret.tenancy(&name("a"));
        for (other_share, other_salt) in
            [secret.tenancy(&name("b")), Secret::new([8; 32]).tenancy(&name("a"))]
        {
            assert_ne!(other_share.flow, share.flow);
            assert_ne!(other_salt, salt);
        }
        assert_eq!(format!("{secret:?}"), "Secret");
    }
}
