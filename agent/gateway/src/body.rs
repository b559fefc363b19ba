//! Reads a request's body within bounds of size, time and memory.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use nabi_wire::config::GatewayLimits;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::ApiError;
use crate::http::App;

/// Largest body. A prompt of a million tokens is about 5 MB of text.
pub(crate) const BODY_BYTES_MAX: usize = 8 << 20;
/// So much of a body that is refused is read and thrown away: a client that is still sending when
/// the connection closes would lose the answer that says why.
const DISCARD_BYTES_MAX: usize = 64 << 20;

/// The memory for the bodies of all requests.
#[derive(Debug, Clone)]
pub(crate) struct Bodies {
    bytes: Arc<Semaphore>,
}

impl Bodies {
    pub(crate) fn new(limits: &GatewayLimits) -> Self {
        let bytes = usize::try_from(limits.bodies_bytes_max).unwrap_or(Semaphore::MAX_PERMITS);
        Self { bytes: Arc::new(Semaphore::new(bytes.min(Semaphore::MAX_PERMITS))) }
    }

    fn take(&self, bytes: usize) -> Result<OwnedSemaphorePermit, ApiError> {
        let bytes = u32::try_from(bytes).map_err(|_| ApiError::BodiesFull)?;
        Arc::clone(&self.bytes).try_acquire_many_owned(bytes).map_err(|_| ApiError::BodiesFull)
    }
}

/// A body, and its part of the memory for all, given back when the last holder lets go.
struct Kept {
    data: BytesMut,
    memory: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for Kept {
    fn as_ref(&self) -> &[u8] {
        &self.data
    }
}

/// The whole body.
pub(crate) async fn read(body: Body, app: &App) -> Result<Bytes, ApiError> {
    within(body, &app.bodies, app.serving().limits.body_read_ms_max).await
}

async fn within(body: Body, bodies: &Bodies, ms_max: u64) -> Result<Bytes, ApiError> {
    match tokio::time::timeout(Duration::from_millis(ms_max), collect(body, bodies)).await {
        Ok(collected) => collected,
        Err(_) => Err(ApiError::BodyTooSlow { ms_max }),
    }
}

async fn collect(mut body: Body, bodies: &Bodies) -> Result<Bytes, ApiError> {
    let mut kept = Ok(Kept { data: BytesMut::new(), memory: bodies.take(0)? });
    let mut seen = 0_usize;
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| ApiError::BodyBroken)?.into_data() else {
            continue;
        };
        seen = seen.saturating_add(data.len());
        if seen > DISCARD_BYTES_MAX {
            break;
        }
        kept = kept.and_then(|kept| kept.with(&data, bodies));
    }
    kept.map(Bytes::from_owner)
}

impl Kept {
    fn with(mut self, data: &[u8], bodies: &Bodies) -> Result<Self, ApiError> {
        if self.data.len() + data.len() > BODY_BYTES_MAX {
            return Err(ApiError::BodyTooLarge);
        }
        self.memory.merge(bodies.take(data.len())?);
        self.data.extend_from_slice(data);
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::stream;

    fn bodies(bytes: u64) -> Bodies {
        Bodies::new(&GatewayLimits { bodies_bytes_max: bytes, ..GatewayLimits::default() })
    }

    async fn read_chunks(bodies: &Bodies, chunks: usize, chunk_bytes: usize) -> Result<Bytes, ApiError> {
        let chunk = Bytes::from(vec![b' '; chunk_bytes]);
        let chunks = (0..chunks).map(move |_| Ok::<_, std::io::Error>(chunk.clone()));
        within(Body::from_stream(stream::iter(chunks)), bodies, 60_000).await
    }

    #[tokio::test]
    async fn the_limit_counts_all_chunks() {
        let bodies = bodies(64 << 20);
        assert_eq!(read_chunks(&bodies, 8, 1 << 20).await.expect("fits").len(), BODY_BYTES_MAX);
        assert!(matches!(read_chunks(&bodies, 8193, 1024).await, Err(ApiError::BodyTooLarge)));
        assert!(matches!(read_chunks(&bodies, usize::MAX, 1 << 20).await, Err(ApiError::BodyTooLarge)));
    }

    #[tokio::test]
    async fn bodies_share_their_memory_and_give_it_back() {
        let bodies = bodies(10);
        let first = read_chunks(&bodies, 2, 4).await.expect("fits");
        assert!(matches!(read_chunks(&bodies, 3, 1).await, Err(ApiError::BodiesFull)));
        let second = first.clone();
        drop(first);
        assert!(matches!(read_chunks(&bodies, 3, 1).await, Err(ApiError::BodiesFull)), "still held");
        drop(second);
        assert_eq!(read_chunks(&bodies, 10, 1).await.expect("fits again").len(), 10);
        assert_eq!(bodies.bytes.available_permits(), 10);
    }

    #[tokio::test]
    async fn a_body_that_breaks_off_is_an_error() {
        let chunks = [Ok(Bytes::from_static(b"{")), Err(std::io::Error::other("gone"))];
        let body = Body::from_stream(stream::iter(chunks));
        assert!(matches!(within(body, &bodies(10), 60_000).await, Err(ApiError::BodyBroken)));
    }
}
