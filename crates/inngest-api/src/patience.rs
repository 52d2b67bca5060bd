//! How long a connection of HTTP/1.1 waits: headers that have begun must end soon, while a connection on which nothing
//! happens is kept for the next request, as the pools of clients expect. hyper has one limit for both; that one is for
//! the connection without requests, and the headers are watched here.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

/// A client that takes longer to send its headers is cut off.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);

/// The requests of one connection, as far as its service has seen them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Requests(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    begun: AtomicU64,
    is_answering: AtomicBool,
}

impl Requests {
    /// The headers of a request are complete.
    pub(crate) fn begin(&self) {
        self.0.is_answering.store(true, Ordering::Relaxed);
        self.0.begun.fetch_add(1, Ordering::Relaxed);
    }

    /// What comes next are the headers of another request.
    pub(crate) fn end(&self) {
        self.0.is_answering.store(false, Ordering::Relaxed);
    }

    /// How many have begun; `None` while one is being answered.
    fn between(&self) -> Option<u64> {
        let is_answering = self.0.is_answering.load(Ordering::Relaxed);
        (!is_answering).then(|| self.0.begun.load(Ordering::Relaxed))
    }
}

/// A connection whose headers must end in time.
#[derive(Debug)]
pub(crate) struct Patience<S> {
    stream: S,
    requests: Requests,
    headers: Option<Headers>,
}

/// Headers that have begun.
#[derive(Debug)]
struct Headers {
    /// After so many requests.
    after: u64,
    from: Instant,
    timeout: Option<Pin<Box<Sleep>>>,
}

impl<S> Patience<S> {
    pub(crate) fn new(stream: S, requests: Requests) -> Self {
        Self { stream, requests, headers: None }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patience<S> {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        let polled = Pin::new(&mut this.stream).poll_read(context, buffer);
        let between = this.requests.between();
        this.headers.take_if(|headers| Some(headers.after) != between);
        let Some(after) = between else { return polled };
        if polled.is_ready() {
            if this.headers.is_none() && buffer.filled().len() > before {
                this.headers = Some(Headers { after, from: Instant::now(), timeout: None });
            }
            return polled;
        }
        let Some(Headers { from, timeout, .. }) = &mut this.headers else { return polled };
        let timeout = timeout.get_or_insert_with(|| Box::pin(sleep_until(*from + HEADER_TIMEOUT)));
        timeout.as_mut().poll(context).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patience<S> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(context, data)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(context, data)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};
    use tokio::time::timeout;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn headers_must_end_in_time_and_idle_connections_stay() {
        const LONG: Duration = Duration::from_secs(60);
        let (mut client, server) = duplex(1_024);
        let requests = Requests::default();
        let mut connection = Patience::new(server, requests.clone());
        let mut buffer = [0; 64];
        assert!(timeout(LONG, connection.read(&mut buffer)).await.is_err(), "no request so far");

        client.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
        assert_eq!(connection.read(&mut buffer).await.unwrap(), 18);
        requests.begin();
        client.write_all(b"body").await.unwrap();
        assert_eq!(connection.read(&mut buffer).await.unwrap(), 4);
        assert!(timeout(LONG, connection.read(&mut buffer)).await.is_err(), "it is being answered");
        requests.end();
        assert!(timeout(LONG, connection.read(&mut buffer)).await.is_err(), "no other request");

        client.write_all(b"GET").await.unwrap();
        assert_eq!(connection.read(&mut buffer).await.unwrap(), 3);
        let began = Instant::now();
        let error = connection.read(&mut buffer).await.unwrap_err();
        assert_eq!((error.kind(), began.elapsed()), (io::ErrorKind::TimedOut, HEADER_TIMEOUT));
    }
}
