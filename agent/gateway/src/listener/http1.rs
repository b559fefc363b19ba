//! HTTP/1.1 on one connection, from a request to the rest after its answer. hyper holds two buffers
//! of 8 KiB as long as it serves, so a connection that rests is taken out of its hands.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use hyper::server::conn::http1::{Builder, Connection};
use hyper_util::rt::{TokioIo, TokioTimer};
use nabi_wire::config::GatewayLimits;
use tokio::io::{AsyncRead, AsyncWrite};

use super::HEADER_BYTES_MAX;
use super::counted::Counted;
use super::stream::{Settled, Stream};
use crate::places::Place;
use crate::shutdown::Shutdown;

/// Most headers of a request.
const HEADERS_MAX: usize = 100;
/// A client that asks again at once does so before; one that reads or thinks takes longer.
const REST_MS: u64 = 50;

/// Serves until the connection rests, and then gives it back; or else to its end. Its errors are
/// its client's: a broken request, a vanished peer.
pub(super) async fn serve<T: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    stream: Stream<T>,
    service: Counted,
    shutdown: &Shutdown,
    place: &Place,
    limits: &GatewayLimits,
) -> Option<Stream<T>> {
    let settled = stream.settled();
    let mut connection = builder(limits).serve_connection(TokioIo::new(stream), service);
    let mut is_ending = false;
    let served = loop {
        tokio::select! {
            served = &mut connection => break served,
            () = place.wanted() => return None,
            () = shutdown.draining(), if !is_ending => {
                is_ending = true;
                Pin::new(&mut connection).graceful_shutdown();
            }
            // Nothing is awaited from here on, so that nothing can come between.
            () = rests(place, &settled), if !is_ending => match stop(&mut connection).await {
                Poll::Ready(Ok(())) => {
                    let parts = connection.into_parts();
                    return Some(parts.io.into_inner().rewound(parts.read_buf));
                }
                Poll::Ready(error) => break error,
                // It says "connection: close" with what is under way.
                Poll::Pending => is_ending = true,
            }
        }
    };
    if let Err(error) = served {
        tracing::debug!("a connection ended: {error}");
    }
    None
}

/// Waits until an answer is sent whole, nothing has come after it, and so it has been for a while.
/// Half a request is thus never at rest, whose headers have their own limit of time.
async fn rests(place: &Place, settled: &Settled) {
    let rest = Duration::from_millis(REST_MS);
    loop {
        place.idle_for(rest).await;
        if settled.get() {
            return;
        }
        tokio::time::sleep(rest).await;
    }
}

/// Ends the state machine but not the connection: at once where it is between two requests.
async fn stop<T: AsyncRead + AsyncWrite + Unpin>(
    connection: &mut Connection<TokioIo<Stream<T>>, Counted>,
) -> Poll<hyper::Result<()>> {
    Pin::new(&mut *connection).graceful_shutdown();
    poll_fn(|cx| Poll::Ready(connection.poll_without_shutdown(cx))).await
}

fn builder(limits: &GatewayLimits) -> Builder {
    let mut builder = Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_millis(limits.header_read_ms_max))
        .max_buf_size(HEADER_BYTES_MAX)
        .max_headers(HEADERS_MAX);
    builder
}

#[cfg(test)]
mod tests;
