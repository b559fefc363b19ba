//! Accepts connections and serves HTTP on them, within limits that do not need a request.

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use listenfd::ListenFd;
use nix::sys::socket::{setsockopt, sockopt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_rustls::TlsAcceptor;
use tokio_util::task::TaskTracker;

use crate::http::App;
use crate::tls::ALPN_H2;

/// Connections at a time.
const CONNECTIONS_MAX: usize = 4096;
/// Longest TLS handshake.
const HANDSHAKE_MS_MAX: u64 = 10_000;
/// Longest time for a request's headers, and longest rest between two requests of HTTP/1.1.
const HEADER_READ_MS_MAX: u64 = 30_000;
/// Most bytes of a request's headers.
const HEADER_BYTES_MAX: usize = 32 << 10;
/// Most headers of a request.
const HEADERS_MAX: usize = 100;
/// Requests at a time on one connection of HTTP/2.
const STREAMS_MAX: u32 = 128;
/// A client of HTTP/2 that is silent for so long is asked whether it is there.
const PING_INTERVAL_MS: u64 = 30_000;
/// A client that takes nothing of what was sent for so long is gone.
const UNACKNOWLEDGED_MS_MAX: u32 = 60_000;
/// Rest after the system refused a connection, for want of file descriptors or memory.
const ACCEPT_RETRY_MS: u64 = 100;

/// The socket that the parent passed by LISTEN_FDS. To be called before any thread starts, since
/// it takes the variables out of the environment.
pub(crate) fn inherited() -> anyhow::Result<std::net::TcpListener> {
    let listener = ListenFd::from_env().take_tcp_listener(0).context("the passed socket cannot be used")?;
    listener
        .context("no listening socket was passed by LISTEN_FDS: nabi-supervisor starts this program with one")
}

/// Accepts connections until the drain begins, each served by a task that `connections` tracks.
pub(crate) async fn accept(
    listener: std::net::TcpListener,
    router: Router,
    app: App,
    connections: TaskTracker,
) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let listener = TcpListener::from_std(listener)?;
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
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
        match Arc::clone(&places).try_acquire_owned() {
            Ok(place) => drop(connections.spawn(serve(stream, router.clone(), app.clone(), place))),
            Err(_) => tracing::warn!("{CONNECTIONS_MAX} connections are open already: one more was closed"),
        }
    }
}

/// Serves one connection. Its errors are its client's: a broken handshake, a vanished peer.
async fn serve(stream: TcpStream, router: Router, app: App, _place: OwnedSemaphorePermit) {
    if let Err(error) = set_up(&stream) {
        return tracing::debug!("cannot set up a connection: {error}");
    }
    let handshake = TlsAcceptor::from(Arc::clone(&app.serving().tls)).accept(stream);
    let stream = match tokio::time::timeout(Duration::from_millis(HANDSHAKE_MS_MAX), handshake).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return tracing::debug!("a TLS handshake failed: {error}"),
        Err(_) => return tracing::debug!("a TLS handshake took longer than {HANDSHAKE_MS_MAX} ms"),
    };
    let is_h2 = stream.get_ref().1.alpn_protocol() == Some(ALPN_H2);
    let builder = http_builder(is_h2);
    let connection = builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    tokio::pin!(connection);
    let served = tokio::select! {
        served = connection.as_mut() => served,
        () = app.shutdown.draining() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = served {
        tracing::debug!("a connection ended: {error}");
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
fn http_builder(is_h2: bool) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_millis(HEADER_READ_MS_MAX))
        .max_buf_size(HEADER_BYTES_MAX)
        .max_headers(HEADERS_MAX);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_header_list_size(HEADER_BYTES_MAX as u32)
        .max_concurrent_streams(STREAMS_MAX)
        .keep_alive_interval(Duration::from_millis(PING_INTERVAL_MS));
    if is_h2 { builder.http2_only() } else { builder.http1_only() }
}
