//! What HTTP reads from and writes to: it can be taken out of one state machine of HTTP and given
//! to another, and no byte is lost.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A stream that remembers what it did last.
#[derive(Debug)]
pub(super) struct Stream<T> {
    inner: T,
    /// Read already, and used by nobody.
    early: Bytes,
    /// Something was written since the last whole flush.
    is_unsent: bool,
    settled: Settled,
}

/// Whether all that was written is sent, and nothing was read since. Seen from outside, while the
/// stream is inside a state machine.
#[derive(Debug, Clone, Default)]
pub(super) struct Settled(Arc<AtomicBool>);

impl Settled {
    pub(super) fn get(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    fn set(&self, settled: bool) {
        self.0.store(settled, Ordering::Relaxed);
    }
}

impl<T> Stream<T> {
    /// It is not settled before something was written.
    pub(super) fn new(inner: T) -> Self {
        Self::with_early(inner, Bytes::new())
    }

    fn with_early(inner: T, early: Bytes) -> Self {
        Self { inner, early, is_unsent: false, settled: Settled::default() }
    }

    /// Gives bytes back that were read from it last, to be read again; like a new one otherwise.
    pub(super) fn rewound(self, bytes: Bytes) -> Self {
        let early = if self.early.is_empty() { bytes } else { [bytes, self.early].concat().into() };
        Self::with_early(self.inner, early)
    }

    pub(super) fn get_ref(&self) -> &T {
        &self.inner
    }

    pub(super) fn has_early(&self) -> bool {
        !self.early.is_empty()
    }

    pub(super) fn settled(&self) -> Settled {
        self.settled.clone()
    }

    fn begin_write(&mut self) {
        self.is_unsent = true;
        self.settled.set(false);
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Stream<T> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = into.filled().len();
        if this.early.is_empty() {
            ready!(Pin::new(&mut this.inner).poll_read(cx, into))?;
        } else {
            let count = this.early.len().min(into.remaining());
            into.put_slice(&this.early[..count]);
            this.early.advance(count);
        }
        if into.filled().len() > before {
            this.settled.set(false);
        }
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Stream<T> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.begin_write();
        Pin::new(&mut this.inner).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.begin_write();
        Pin::new(&mut this.inner).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(Pin::new(&mut this.inner).poll_flush(cx))?;
        // HTTP flushes each time that it is woken, also when it has only read.
        if std::mem::take(&mut this.is_unsent) {
            this.settled.set(true);
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_shutdown(cx)
    }
}
