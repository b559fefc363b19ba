//! Accepts connections and serves HTTP on them, within limits that do not need a request.

mod counted;
mod http1;
mod http2;
mod stream;

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use axum::Router;
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
use crate::places::{Place, Places};
use crate::tls::ALPN_H2;
use counted::Counted;
use stream::Stream;

/// File descriptors that are not for clients: engines, files, and connections that give way.
const DESCRIPTORS_RESERVED: u64 = 128;
/// Most bytes of a request's headers.
const HEADER_BYTES_MAX: usize = 32 << 10;
/// A client that takes nothing of what was sent for so long is gone.
const UNACKNOWLEDGED_MS_MAX: u32 = 60_000;
/// For the last record of TLS to a client that is told to go.
const FAREWELL_MS_MAX: u64 = 1_000;
/// Rest after the system refused a connection, for want of file descriptors or memory.
const ACCEPT_RETRY_MS: u64 = 100;

type TlsTcp = Stream<TlsStream<TcpStream>>;

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

/// Serves one connection. While no request is near it holds only what TLS needs: most connections
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
        opened = Box::pin(handshake(stream, &app, &limits)) => opened,
    };
    let Some(mut stream) = opened.map(Stream::new) else { return };
    let service = Counted::new(router, place.activity());
    // The protocol is the one that TLS agreed on, so that no time is spent on guessing it.
    let is_h2 = stream.get_ref().get_ref().1.alpn_protocol() == Some(ALPN_H2);
    while wait_for_byte(&mut stream, &app, &place, &limits).await {
        let rested = if is_h2 {
            Box::pin(http2::serve(stream, service.clone(), &app.shutdown, &place, &limits)).await;
            None
        } else {
            Box::pin(http1::serve(stream, service.clone(), &app.shutdown, &place, &limits)).await
        };
        match rested {
            Some(rested) => stream = rested,
            None => return,
        }
    }
}

async fn handshake(stream: TcpStream, app: &App, limits: &GatewayLimits) -> Option<TlsStream<TcpStream>> {
    let handshake = TlsAcceptor::from(Arc::clone(&app.serving().tls)).accept(stream);
    match tokio::time::timeout(Duration::from_millis(limits.handshake_ms_max), handshake).await {
        Ok(Ok(stream)) => return Some(stream),
        Ok(Err(error)) => tracing::debug!("a TLS handshake failed: {error}"),
        Err(_) => {}
    }
    app.metrics.handshake_failed();
    None
}

/// Waits for the first byte of a request; false when the connection has come to its end instead.
async fn wait_for_byte(stream: &mut TlsTcp, app: &App, place: &Place, limits: &GatewayLimits) -> bool {
    let limit = Duration::from_millis(limits.header_read_ms_max);
    tokio::select! {
        () = place.wanted() => return false,
        came = has_byte(stream) => return came.is_ok(),
        () = app.shutdown.draining() => {}
        () = tokio::time::sleep(limit) => {}
    }
    // It says farewell; whether the client takes it does not matter.
    let _ = tokio::time::timeout(Duration::from_millis(FAREWELL_MS_MAX), stream.shutdown()).await;
    false
}

async fn has_byte(stream: &TlsTcp) -> io::Result<()> {
    let (socket, tls) = stream.get_ref().get_ref();
    // It may have come with the bytes before it: the handshake's last ones, or an earlier request.
    if stream.has_early() || !tls.wants_read() {
        return Ok(());
    }
    socket.readable().await
}

fn set_up(stream: &TcpStream) -> io::Result<()> {
    // Each delta goes out at once.
    stream.set_nodelay(true)?;
    let socket = stream.as_fd();
    setsockopt(&socket, sockopt::KeepAlive, &true)?;
    setsockopt(&socket, sockopt::TcpUserTimeout, &UNACKNOWLEDGED_MS_MAX)?;
    Ok(())
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
