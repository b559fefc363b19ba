//! Who asks: API keys, and what each is good for.

use axum::extract::FromRequestParts;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use nabi_domain::KeyName;
use nabi_wire::action::KeyScope;
use nabi_wire::config::KeyHash;
use sha2::{Digest, Sha256};
use std::sync::Arc;
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};

use crate::error::ApiError;
use crate::http::App;
use crate::record::Record;

/// Proof that a request carries a valid key for asking models.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AuthenticatedKey {
    name: KeyName,
}

impl AuthenticatedKey {
    /// The key's name.
    pub(crate) fn name(&self) -> &KeyName {
        &self.name
    }

    /// Checks the value of an `Authorization` header.
    fn check(header: Option<&[u8]>, keys: &[KeyHash], needed: KeyScope) -> Result<Self, ApiError> {
        let header = header.ok_or(ApiError::KeyMissing)?;
        let key = bearer(header).ok_or(ApiError::KeyMissing)?;
        let sha256: [u8; 32] = Sha256::digest(key).into();
        // All keys are compared whole, so that the time tells nothing about any of them.
        let mut found = Choice::from(0);
        let mut index = 0_u64;
        for (candidate, at) in keys.iter().zip(0_u64..) {
            let equal = candidate.sha256.ct_eq(&sha256);
            index.conditional_assign(&at, equal);
            found |= equal;
        }
        match usize::try_from(index).ok().and_then(|index| keys.get(index)) {
            Some(key) if bool::from(found) && key.scope == needed => Ok(Self { name: key.name.clone() }),
            Some(key) if bool::from(found) => Err(ApiError::KeyScope { has: key.scope, needed }),
            _ => Err(ApiError::KeyWrong),
        }
    }
}

/// The key in `Bearer KEY`; the scheme's case does not matter (RFC 9110, 11.1).
fn bearer(header: &[u8]) -> Option<&[u8]> {
    let (scheme, key) = header.split_at_checked(7)?;
    let key = key.trim_ascii();
    (scheme.eq_ignore_ascii_case(b"bearer ") && !key.is_empty()).then_some(key)
}

impl FromRequestParts<App> for AuthenticatedKey {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        authenticate(parts, app, KeyScope::Inference)
    }
}

/// Proof that a request carries a valid key for reading metrics.
#[derive(Debug)]
pub(crate) struct MetricsKey;

impl FromRequestParts<App> for MetricsKey {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        authenticate(parts, app, KeyScope::Metrics).map(|_| Self)
    }
}

fn authenticate(parts: &Parts, app: &App, needed: KeyScope) -> Result<AuthenticatedKey, ApiError> {
    let header = parts.headers.get(AUTHORIZATION).map(|value| value.as_bytes());
    let key = AuthenticatedKey::check(header, &app.serving().keys, needed)?;
    if let Some(record) = parts.extensions.get::<Arc<Record>>() {
        // A request has one key; a second extractor would find the same.
        let _ = record.key.set(key.name.clone());
    }
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(name: &str, key: &str, scope: KeyScope) -> KeyHash {
        KeyHash { name: name.parse().expect("a name"), sha256: Sha256::digest(key).into(), scope }
    }

    #[test]
    fn each_key_is_known_by_its_name_and_nothing_else_passes() {
        let scope = KeyScope::Inference;
        let keys = [hash("first", "nabi-1", scope), hash("second", "nabi-2", scope)];
        let check = |header: &str| AuthenticatedKey::check(Some(header.as_bytes()), &keys, scope);
        for (header, name) in [("Bearer nabi-1", "first"), ("bearer  nabi-2 ", "second")] {
            assert_eq!(check(header).expect(header).name.as_str(), name);
        }
        for header in ["Bearer nabi-3", "Bearer nabi-1x", "Bearer nabi-", "Bearer NABI-1"] {
            assert!(matches!(check(header), Err(ApiError::KeyWrong)), "{header}");
        }
        for header in ["", "Bearer", "Bearer ", "Basic nabi-1", "nabi-1"] {
            assert!(matches!(check(header), Err(ApiError::KeyMissing)), "{header}");
        }
        assert!(matches!(AuthenticatedKey::check(None, &keys, scope), Err(ApiError::KeyMissing)));
        let none = AuthenticatedKey::check(Some(b"Bearer nabi-1"), &[], scope);
        assert!(matches!(none, Err(ApiError::KeyWrong)));
    }

    #[test]
    fn a_key_is_good_for_its_scope_alone() {
        let keys = [hash("user", "nabi-1", KeyScope::Inference), hash("watch", "nabi-2", KeyScope::Metrics)];
        let check = |key: &str, needed| {
            AuthenticatedKey::check(Some(format!("Bearer {key}").as_bytes()), &keys, needed)
        };
        assert_eq!(check("nabi-2", KeyScope::Metrics).expect("its scope").name.as_str(), "watch");
        for (key, needed) in [("nabi-1", KeyScope::Metrics), ("nabi-2", KeyScope::Inference)] {
            assert!(matches!(check(key, needed), Err(ApiError::KeyScope { .. })), "{key}");
        }
    }
}
