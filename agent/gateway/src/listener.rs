//! Accepts connections and serves HTTP on them, within limits that do not need a request.

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use axum::body::Body;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::service::Service;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use listenfd::ListenFd;
use nabi_wire::config::GatewayLimits;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::socket::{setsockopt, sockopt};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::task::TaskTracker;

use crate::http::App;
use crate::places::{Activity, Place, Places};
use crate::tls::ALPN_H2;

/// File descriptors that are not for clients: engines, files, and connections that give way.
const DESCRIPTORS_RESERVED: u64 = 128;
/// Most bytes of a request's headers.
const HEADER_BYTES_MAX: usize = 32 << 10;
/// Most headers of a request.
const HEADERS_MAX: usize = 100;
/// Requests at a time on one connection of HTTP/2.
const STREAMS_MAX: u32 = 128;
/// A client of HTTP/2 that is silent for so long is asked whether it is there.
const PING_INTERVAL_MS: u64 = 30_000;
/// HTTP/2: bytes of a body that may wait for us to read them, for each request,
const STREAM_WINDOW_BYTES: u32 = 64 << 10;
/// and for all requests of a connection.
const CONNECTION_WINDOW_BYTES: u32 = 256 << 10;
/// HTTP/2: bytes of an answer that may wait for the client to read them.
const SEND_BUFFER_BYTES_MAX: usize = 64 << 10;
/// HTTP/2: requests that the client took back before we looked at them; past it, the connection is
/// closed (CVE-2023-44487).
const RESET_UNSEEN_MAX: usize = 20;
/// HTTP/2: requests that we refused for errors of the protocol; past it, the connection is closed.
const RESET_BY_US_MAX: usize = 128;
/// A client that takes nothing of what was sent for so long is gone.
const UNACKNOWLEDGED_MS_MAX: u32 = 60_000;
/// For the last record of TLS to a client that is told to go.
const FAREWELL_MS_MAX: u64 = 1_000;
/// Rest after the system refused a connection, for want of file descriptors or memory.
const ACCEPT_RETRY_MS: u64 = 100;

/// The socket that the parent passed by LISTEN_FDS. To be called before any thread starts, since
/// it takes the variables out of the environment.
pub(crate) fn inherited() -> anyhow::Result<std::net::TcpListener> {
    let listener = ListenFd::from_env().take_tcp_listener(0).context("the passed socket cannot be used")?;
    listener
        .context("no listening socket was passed by LISTEN_FDS: nabi-supervisor starts this program with one")
}

/// Raises the limit of file descriptors as far as it goes, and tells it.
pub(crate) fn raise_descriptor_limit() -> anyhow::Result<u64> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).context("cannot read the file descriptor limit")?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).context("cannot raise the file descriptor limit")?;
    Ok(hard)
}

/// How many connections there may be with so many file descriptors.
pub(crate) fn connections_max(limits: &GatewayLimits, descriptors: u64) -> usize {
    let possible = descriptors.saturating_sub(DESCRIPTORS_RESERVED).max(1);
    usize::try_from(possible.min(u64::from(limits.connections_max))).unwrap_or(usize::MAX)
}

/// Accepts connections until the drain begins, each served by a task that `connections` tracks.
pub(crate) async fn accept(
    listener: std::net::TcpListener,
    router: Router,
    app: App,
    mut places: Places,
    connections: TaskTracker,
) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let listener = TcpListener::from_std(listener)?;
    let mut was_full = false;
    loop {
        let accepted = tokio::select! {
            biased;
            () = app.shutdown.draining() => return Ok(()),
            accepted = listener.accept() => accepted,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!("cannot accept a connection: {error}");
                tokio::time::sleep(Duration::from_millis(ACCEPT_RETRY_MS)).await;
                continue;
            }
        };
        // Before TLS nothing can be said; closing at once is better than silence.
        let place = places.take().await;
        let full = place.is_none();
        match place {
            Some(place) => drop(connections.spawn(serve(stream, router.clone(), app.clone(), place))),
            None => app.metrics.connection_refused(),
        }
        // Said once, not for each of a flood.
        if full && !was_full {
            tracing::warn!("requests run on all connections that there may be: newcomers are closed");
        }
        was_full = full;
    }
}

/// Serves one connection. Until its first request it holds only what TLS needs: most connections
/// are idle, and the buffers of HTTP are the larger part.
async fn serve(stream: TcpStream, router: Router, app: App, place: Place) {
    let _open = app.metrics.connection();
    if let Err(error) = set_up(&stream) {
        return tracing::debug!("cannot set up a connection: {error}");
    }
    let limits = app.serving().limits;
    let opened = tokio::select! {
        () = place.wanted() => return,
        () = app.shutdown.draining() => return,
        opened = open(stream, &app, &limits) => opened,
    };
    if let Some(stream) = opened {
        Box::pin(serve_http(stream, router, app, place, limits)).await;
    }
}

/// Serves HTTP to the connection's end. Its errors are its client's: a broken request, a vanished peer.
async fn serve_http(
    stream: TlsStream<TcpStream>,
    router: Router,
    app: App,
    place: Place,
    limits: GatewayLimits,
) {
    let is_h2 = stream.get_ref().1.alpn_protocol() == Some(ALPN_H2);
    let builder = http_builder(is_h2, &limits);
    let service = Counted { router: TowerToHyperService::new(router), activity: place.activity() };
    let connection = builder.serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let idle = Duration::from_millis(limits.idle_ms_max);
    let mut draining = false;
    let served = loop {
        tokio::select! {
            served = connection.as_mut() => break served,
            () = place.wanted() => return,
            () = app.shutdown.draining(), if !draining => {
                draining = true;
                connection.as_mut().graceful_shutdown();
            }
            // HTTP/1.1 has its own limit, for headers.
            () = place.idle_for(idle), if is_h2 => {
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

/// TLS, and the wait for the first byte after it: until then a connection needs no buffers of HTTP.
async fn open(stream: TcpStream, app: &App, limits: &GatewayLimits) -> Option<TlsStream<TcpStream>> {
    let handshake = TlsAcceptor::from(Arc::clone(&app.serving().tls)).accept(stream);
    let mut stream =
        match tokio::time::timeout(Duration::from_millis(limits.handshake_ms_max), handshake).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => {
                app.metrics.handshake_failed();
                tracing::debug!("a TLS handshake failed: {error}");
                return None;
            }
            Err(_) => {
                app.metrics.handshake_failed();
                return None;
            }
        };
    // The first byte may have come with the handshake's last ones.
    let (socket, tls) = stream.get_ref();
    if !tls.wants_read() {
        return Some(stream);
    }
    let first = tokio::time::timeout(Duration::from_millis(limits.header_read_ms_max), socket.readable());
    match first.await {
        Ok(readable) => readable.is_ok().then_some(stream),
        Err(_) => {
            // It says farewell; whether the client takes it does not matter.
            let _ = tokio::time::timeout(Duration::from_millis(FAREWELL_MS_MAX), stream.shutdown()).await;
            None
        }
    }
}

/// The routes, with a note of which requests run.
#[derive(Clone)]
struct Counted {
    router: TowerToHyperService<Router>,
    activity: Arc<Activity>,
}

impl Service<hyper::Request<Incoming>> for Counted {
    type Response = hyper::Response<Body>;
    type Error = std::convert::Infallible;
    type Future = std::pin::Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn call(&self, request: hyper::Request<Incoming>) -> Self::Future {
        let running = self.activity.begin();
        let answered = self.router.call(request);
        Box::pin(async move {
            let response = answered.await?;
            Ok(response.map(|body| {
                Body::new(body.map_frame(move |frame| {
                    // Held until hyper drops the body.
                    let _ = &running;
                    frame
                }))
            }))
        })
    }
}

fn set_up(stream: &TcpStream) -> io::Result<()> {
    // Each delta goes out at once.
    stream.set_nodelay(true)?;
    let socket = stream.as_fd();
    setsockopt(&socket, sockopt::KeepAlive, &true)?;
    setsockopt(&socket, sockopt::TcpUserTimeout, &UNACKNOWLEDGED_MS_MAX)?;
    Ok(())
}

/// The protocol is the one that TLS agreed on, so that no time is spent on guessing it.
fn http_builder(is_h2: bool, limits: &GatewayLimits) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_millis(limits.header_read_ms_max))
        .max_buf_size(HEADER_BYTES_MAX)
        .max_headers(HEADERS_MAX);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_header_list_size(HEADER_BYTES_MAX as u32)
        .max_concurrent_streams(STREAMS_MAX)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_send_buf_size(SEND_BUFFER_BYTES_MAX)
        .max_pending_accept_reset_streams(RESET_UNSEEN_MAX)
        .max_local_error_reset_streams(RESET_BY_US_MAX)
        .keep_alive_interval(Duration::from_millis(PING_INTERVAL_MS));
    if is_h2 { builder.http2_only() } else { builder.http1_only() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_descriptors_for_the_rest() {
        let limits = GatewayLimits::default();
        assert_eq!(connections_max(&limits, 1 << 20), 16_384);
        assert_eq!(connections_max(&limits, 1024), 1024 - 128);
        assert_eq!(connections_max(&limits, 0), 1);
    }
}
