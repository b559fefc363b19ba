//! Reads a request's body within bounds of size and time.

use std::time::Duration;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;

use crate::error::ApiError;

/// Largest body. A prompt of a million tokens is about 5 MB of text.
pub(crate) const BODY_BYTES_MAX: usize = 8 << 20;
/// Longest time for a body to arrive.
pub(crate) const BODY_READ_MS_MAX: u64 = 60_000;
/// So much of a body that is too large is read and thrown away: a client that is still sending
/// when the connection closes would lose the answer that says why.
const DISCARD_BYTES_MAX: usize = 64 << 20;

/// The whole body.
pub(crate) async fn read(body: Body) -> Result<Bytes, ApiError> {
    match tokio::time::timeout(Duration::from_millis(BODY_READ_MS_MAX), collect(body)).await {
        Ok(collected) => collected,
        Err(_) => Err(ApiError::BodyTooSlow),
    }
}

async fn collect(mut body: Body) -> Result<Bytes, ApiError> {
    let mut kept = BytesMut::new();
    let mut seen = 0_usize;
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| ApiError::BodyBroken)?.into_data() else {
            continue;
        };
        seen = seen.saturating_add(data.len());
        if seen > DISCARD_BYTES_MAX {
            break;
        }
        if seen > BODY_BYTES_MAX {
            kept = BytesMut::new();
        } else {
            kept.extend_from_slice(&data);
        }
    }
    if seen > BODY_BYTES_MAX { Err(ApiError::BodyTooLarge) } else { Ok(kept.freeze()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::stream;

    async fn read_chunks(chunks: usize, chunk_bytes: usize) -> Result<usize, ApiError> {
        let chunk = Bytes::from(vec![b' '; chunk_bytes]);
        let chunks = (0..chunks).map(move |_| Ok::<_, std::io::Error>(chunk.clone()));
        read(Body::from_stream(stream::iter(chunks))).await.map(|body| body.len())
    }

    #[tokio::test]
    async fn the_limit_counts_all_chunks() {
        assert_eq!(read_chunks(8, 1 << 20).await.expect("fits"), BODY_BYTES_MAX);
        assert!(matches!(read_chunks(8193, 1024).await, Err(ApiError::BodyTooLarge)));
        assert!(matches!(read_chunks(usize::MAX, 1 << 20).await, Err(ApiError::BodyTooLarge)));
    }

    #[tokio::test]
    async fn a_body_that_breaks_off_is_an_error() {
        let chunks = [Ok(Bytes::from_static(b"{")), Err(std::io::Error::other("gone"))];
        let body = Body::from_stream(stream::iter(chunks));
        assert!(matches!(read(body).await, Err(ApiError::BodyBroken)));
    }
}
