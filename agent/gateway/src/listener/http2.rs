//! HTTP/2 on one connection. What both sides agreed on (the table of header fields, the numbers of
//! streams) lasts as long as the connection: unlike HTTP/1, it cannot be laid down between requests.

use std::time::Duration;

use hyper::server::conn::http2::Builder;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use nabi_wire::config::GatewayLimits;
use tokio::io::{AsyncRead, AsyncWrite};

use super::counted::Counted;
use super::{FAREWELL_MS_MAX, HEADER_BYTES_MAX};
use crate::places::Place;
use crate::shutdown::Shutdown;

/// Requests at a time on one connection.
const STREAMS_MAX: u32 = 128;
/// A client that is silent for so long is asked whether it is there.
const PING_INTERVAL_MS: u64 = 30_000;
/// Bytes of a body that may wait for us to read them, for each request,
const STREAM_WINDOW_BYTES: u32 = 64 << 10;
/// and for all requests of a connection.
const CONNECTION_WINDOW_BYTES: u32 = 256 << 10;
/// Bytes of an answer that may wait for the client to read them.
const SEND_BUFFER_BYTES_MAX: usize = 64 << 10;
/// Requests that the client took back before we looked at them; past it, the connection is closed
/// (CVE-2023-44487).
const RESET_UNSEEN_MAX: usize = 20;
/// Requests that we refused for errors of the protocol; past it, the connection is closed.
const RESET_BY_US_MAX: usize = 128;

/// Serves to the connection's end. Its errors are its client's: a broken request, a vanished peer.
pub(super) async fn serve<T: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    stream: T,
    service: Counted,
    shutdown: &Shutdown,
    place: &Place,
    limits: &GatewayLimits,
) {
    let connection = builder().serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let idle = Duration::from_millis(limits.idle_ms_max);
    let mut draining = false;
    let served = loop {
        tokio::select! {
            served = connection.as_mut() => break served,
            () = place.wanted() => return,
            () = shutdown.draining(), if !draining => {
                draining = true;
                connection.as_mut().graceful_shutdown();
            }
            () = place.idle_for(idle) => {
                connection.as_mut().graceful_shutdown();
                // Unless a request came just now.
                tokio::select! {
                    served = connection.as_mut() => break served,
                    () = place.idle_for(idle + Duration::from_millis(FAREWELL_MS_MAX)) => return,
                }
            }
        }
    };
    if let Err(error) = served {
        tracing::debug!("a connection ended: {error}");
    }
}

fn builder() -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .max_header_list_size(HEADER_BYTES_MAX as u32)
        .max_concurrent_streams(STREAMS_MAX)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_send_buf_size(SEND_BUFFER_BYTES_MAX)
        .max_pending_accept_reset_streams(RESET_UNSEEN_MAX)
        .max_local_error_reset_streams(RESET_BY_US_MAX)
        .keep_alive_interval(Duration::from_millis(PING_INTERVAL_MS));
    builder
}
