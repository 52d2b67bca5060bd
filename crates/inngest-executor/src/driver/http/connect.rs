//! Connections to apps: how names resolve, and what is known about a connection that broke.

use std::future::{Ready, ready};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::{BoxFuture, Either, FutureExt as _, MapOk, TryFutureExt as _};
use http::Uri;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::dns::Name;
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tower_service::Service;

/// An app that does not accept within this time is unreachable.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// A name with addresses of both families: the second one is tried when the first has not answered so long.
const OTHER_FAMILY_AFTER: Duration = Duration::from_millis(200);
/// Probes an idle peer, so that a call to a machine that vanished ends before its timeout of hours.
const KEEPALIVE_AFTER: Duration = Duration::from_secs(30);

/// Connects by TCP, and by TLS on top of it where the URL says so.
pub(super) type Connector = HttpsConnector<Tcp>;

/// The connector for all calls. TLS trusts the usual roots, and offers HTTP/2.
pub(super) fn connector() -> Connector {
    let mut http = HttpConnector::new_with_resolver(Resolver);
    http.enforce_http(false);
    http.set_nodelay(true);
    http.set_connect_timeout(Some(CONNECT_TIMEOUT));
    http.set_happy_eyeballs_timeout(Some(OTHER_FAMILY_AFTER));
    http.set_keepalive(Some(KEEPALIVE_AFTER));
    HttpsConnectorBuilder::new()
        .with_provider_and_webpki_roots(rustls::crypto::ring::default_provider())
        .expect("the provider supports the default TLS versions")
        .https_or_http()
        .enable_all_versions()
        .wrap_connector(Tcp(http))
}

/// Finds the addresses of a host. `localhost` is both loopback addresses, without asking anybody: many
/// development servers listen on only one of them, and which one differs between platforms.
#[derive(Clone, Debug)]
pub(super) struct Resolver;

type Addresses = std::vec::IntoIter<SocketAddr>;

impl Service<Name> for Resolver {
    type Response = Addresses;
    type Error = io::Error;
    type Future = Either<Ready<io::Result<Addresses>>, BoxFuture<'static, io::Result<Addresses>>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        if is_localhost(name.as_str()) {
            let loopback = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
            let addresses: Vec<_> = loopback.into_iter().map(|ip| SocketAddr::new(ip, 0)).collect();
            return Either::Left(ready(Ok(addresses.into_iter())));
        }
        let look_up = async move {
            let addresses: Vec<_> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            Ok(addresses.into_iter())
        };
        Either::Right(look_up.boxed())
    }
}

fn is_localhost(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    name == "localhost" || name.ends_with(".localhost")
}

/// TCP connections that know their [`Traffic`].
#[derive(Clone, Debug)]
pub(super) struct Tcp(HttpConnector<Resolver>);

type Watch = fn(TokioIo<TcpStream>) -> TokioIo<Watched>;

impl Service<Uri> for Tcp {
    type Response = TokioIo<Watched>;
    type Error = <HttpConnector<Resolver> as Service<Uri>>::Error;
    type Future = MapOk<<HttpConnector<Resolver> as Service<Uri>>::Future, Watch>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let watch: Watch = |stream| TokioIo::new(Watched { stream: stream.into_inner(), traffic: Traffic::default() });
        self.0.call(uri).map_ok(watch)
    }
}

/// What went over a connection, told by its stream and asked when a call on it fails.
#[derive(Clone, Debug, Default)]
pub(super) struct Traffic(Arc<Marks>);

#[derive(Debug, Default)]
struct Marks {
    /// Something was ever received.
    used: AtomicBool,
    /// Something was received since the last time something was sent.
    answered: AtomicBool,
}

impl Traffic {
    /// The other side had let go of a connection that was kept from an earlier call: it was used before, and
    /// not one byte came back this time.
    pub(super) fn was_stale(&self) -> bool {
        self.0.used.load(Ordering::Acquire) && !self.is_answered()
    }

    /// The reply had begun.
    pub(super) fn is_answered(&self) -> bool {
        self.0.answered.load(Ordering::Acquire)
    }

    fn received(&self) {
        self.0.used.store(true, Ordering::Release);
        self.0.answered.store(true, Ordering::Release);
    }

    fn sent(&self) {
        self.0.answered.store(false, Ordering::Release);
    }
}

/// A TCP stream that keeps account of its traffic.
#[derive(Debug)]
pub(super) struct Watched {
    stream: TcpStream,
    traffic: Traffic,
}

impl Connection for Watched {
    fn connected(&self) -> Connected {
        Connected::new().extra(self.traffic.clone())
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(context, buffer);
        if buffer.filled().len() > before {
            self.traffic.received();
        }
        polled
    }
}

impl AsyncWrite for Watched {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.traffic.sent();
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.traffic.sent();
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn localhost_is_found_without_a_name_server() {
        for (name, expected) in
            [("localhost", true), ("LOCALHOST.", true), ("app.localhost", true), ("localhost.com", false), ("", false)]
        {
            assert_eq!(is_localhost(name), expected, "{name}");
        }
    }

    #[test]
    fn a_connection_is_stale_only_after_use_and_without_an_answer() {
        let traffic = Traffic::default();
        traffic.sent();
        assert!(!traffic.was_stale());
        traffic.received();
        assert!(!traffic.was_stale() && traffic.is_answered());
        traffic.sent();
        assert!(traffic.was_stale());
    }
}
