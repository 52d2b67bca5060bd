//! Looking for apps on the ports and paths where frameworks serve them.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use http::HeaderMap;
use inngest_executor::driver::http::HttpClient;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// Ports of the usual frameworks.
const PORTS: [u16; 27] = [
    80, 443, 3000, 3001, 3002, 3003, 3004, 3005, 3006, 3007, 3008, 3009, 3010, 4321, 5000, 5173, 8000, 8080, 8081,
    8787, 8888, 8910, 8911, 8912, 8913, 8914, 8915,
];

/// Paths where SDKs serve functions.
const PATHS: [&str; 4] = ["/api/inngest", "/x/inngest", "/.netlify/functions/inngest", "/.redwood/functions/inngest"];

/// An open port answers within this time or is passed over.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Pause between two tries of the paths of a port that stays open.
const TRY_AGAIN_AFTER: Duration = Duration::from_secs(5);

/// An app that answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) url: String,
    /// It is there, but talks to Inngest Cloud only.
    pub(super) cloud_mode: bool,
}

/// All ports to look on: the usual ones, `$PORT`, and those the user names.
pub(super) fn ports(more: &[u16]) -> Vec<u16> {
    let own = std::env::var("PORT").ok().and_then(|port| port.parse().ok());
    let mut ports: Vec<u16> = PORTS.into_iter().chain(own).chain(more.iter().copied()).collect();
    ports.sort_unstable();
    ports.dedup();
    ports
}

/// What was seen on ports that no app is registered for.
#[derive(Debug, Default)]
pub(super) struct Ports {
    /// Open ones, with the time when their paths were tried last.
    open: HashMap<u16, Instant>,
}

impl Ports {
    /// Looks on all ports at the same time. A port that nobody listens on costs a refused connection. The paths
    /// of an open one are tried when it has just opened, and then seldom: whatever listens there may be no app,
    /// and may log each request.
    pub(super) async fn look(&mut self, client: &HttpClient, ports: &[u16]) -> Vec<Found> {
        let mut looking = JoinSet::new();
        for port in ports {
            let (client, port) = (client.clone(), *port);
            let is_known = self.open.get(&port).is_some_and(|tried| tried.elapsed() < TRY_AGAIN_AFTER);
            looking.spawn(async move {
                if !is_open(port).await {
                    return (port, Seen::Closed);
                }
                (port, if is_known { Seen::AsBefore } else { Seen::Tried(try_paths(&client, port).await) })
            });
        }
        let mut found = Vec::new();
        for (port, seen) in looking.join_all().await {
            match seen {
                Seen::Closed => drop(self.open.remove(&port)),
                Seen::AsBefore => {}
                Seen::Tried(app) => {
                    self.open.insert(port, Instant::now());
                    found.extend(app);
                }
            }
        }
        found.sort_by(|a, b| a.url.cmp(&b.url));
        found
    }
}

enum Seen {
    Closed,
    AsBefore,
    Tried(Option<Found>),
}

/// The port and path of a URL: what is left of it when hosts have many names.
pub(super) fn port_and_path(url: &str) -> Option<(u16, &str)> {
    let (scheme, rest) = url.split_once("://")?;
    let path = rest.find('/').map_or("", |slash| &rest[slash..]);
    let authority = &rest[..rest.len() - path.len()];
    let written = authority.rsplit_once(':').and_then(|(_, port)| port.parse().ok());
    Some((written.unwrap_or(if scheme == "https" { 443 } else { 80 }), path))
}

async fn is_open(port: u16) -> bool {
    for address in [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)] {
        let connecting = TcpStream::connect(SocketAddr::new(address, port));
        if tokio::time::timeout(TIMEOUT, connecting).await.is_ok_and(|stream| stream.is_ok()) {
            return true;
        }
    }
    false
}

async fn try_paths(client: &HttpClient, port: u16) -> Option<Found> {
    for path in PATHS {
        let url = format!("http://localhost:{port}{path}");
        let Ok(reply) = client.get(&url, HeaderMap::new(), TIMEOUT).await else { continue };
        if reply.headers.get("x-inngest-sdk").is_some_and(|sdk| !sdk.is_empty()) {
            return Some(Found { url, cloud_mode: false });
        }
        if reply.headers.get("x-inngest-sdk-handled").is_some_and(|handled| handled == "true") {
            return Some(Found { url, cloud_mode: true });
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use axum::Router;
    use axum::http::Uri;
    use tokio::net::TcpListener;

    use super::*;

    /// A server with one path that answers with a header; counts what it is asked.
    async fn serve(path: &'static str, header: &'static str) -> (u16, Arc<AtomicUsize>) {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&asked);
        let router = Router::new().fallback(async move |uri: Uri| {
            counter.fetch_add(1, Ordering::Relaxed);
            ([(if uri.path() == path { header } else { "x-other" }, "true")], "{}")
        });
        tokio::spawn(async { axum::serve(listener, router).await });
        (port, asked)
    }

    #[tokio::test]
    async fn apps_are_known_by_their_header() {
        let (app, _) = serve("/x/inngest", "x-inngest-sdk").await;
        let (cloud, _) = serve("/api/inngest", "x-inngest-sdk-handled").await;
        let (other, asked) = serve("/api/inngest", "x-powered-by").await;
        let (client, mut ports) = (HttpClient::new(), Ports::default());
        let mut found = ports.look(&client, &[app, cloud, other, 1]).await;
        found.sort_by_key(|found| found.cloud_mode);
        let expected = [
            Found { url: format!("http://localhost:{app}/x/inngest"), cloud_mode: false },
            Found { url: format!("http://localhost:{cloud}/api/inngest"), cloud_mode: true },
        ];
        assert_eq!(found, expected);
        assert_eq!(asked.load(Ordering::Relaxed), PATHS.len());
        assert_eq!(ports.look(&client, &[app, cloud, other, 1]).await, []);
        assert_eq!(asked.load(Ordering::Relaxed), PATHS.len(), "what is no app is left in peace for a while");
    }

    #[tokio::test]
    async fn a_port_that_opens_again_is_tried_at_once() {
        let (port, asked) = serve("/api/inngest", "x-inngest-sdk").await;
        let mut ports = Ports::default();
        assert_eq!(ports.look(&HttpClient::new(), &[port]).await.len(), 1);
        // Port 1 stands for this one being closed meanwhile.
        let tried = ports.open.remove(&port).unwrap();
        ports.open.insert(1, tried);
        assert_eq!(ports.look(&HttpClient::new(), &[port, 1]).await.len(), 1);
        assert_eq!((asked.load(Ordering::Relaxed), ports.open.contains_key(&1)), (2, false));
    }

    #[test]
    fn urls_are_compared_by_port_and_path() {
        let table = [
            ("http://localhost:3000/api/inngest", Some((3000, "/api/inngest"))),
            ("http://[::1]:3000/x", Some((3000, "/x"))),
            ("https://shop.example/x?y=1", Some((443, "/x?y=1"))),
            ("http://shop.example", Some((80, ""))),
            ("connect", None),
        ];
        for (url, expected) in table {
            assert_eq!(port_and_path(url), expected, "{url}");
        }
    }
}
