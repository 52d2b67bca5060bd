//! Looking for apps on the ports and paths where frameworks serve them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use http::HeaderMap;
use inngest_executor::driver::http::HttpClient;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// Ports of the usual frameworks.
const PORTS: [u16; 27] = [
    80, 443, 3000, 3001, 3002, 3003, 3004, 3005, 3006, 3007, 3008, 3009, 3010, 4321, 5000, 5173, 8000, 8080, 8081,
    8787, 8888, 8910, 8911, 8912, 8913, 8914, 8915,
];

/// Paths where SDKs serve functions.
const PATHS: [&str; 4] = ["/api/inngest", "/x/inngest", "/.netlify/functions/inngest", "/.redwood/functions/inngest"];

/// An open port answers within this time or is passed over.
const TIMEOUT: Duration = Duration::from_secs(2);

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

/// Looks on all ports at the same time. Costs a refused connection for each port nobody listens on.
pub(super) async fn look(client: &HttpClient, ports: &[u16]) -> Vec<Found> {
    let mut looking = JoinSet::new();
    for port in ports {
        let (client, port) = (client.clone(), *port);
        looking.spawn(async move { if is_open(port).await { look_at(&client, port).await } else { None } });
    }
    let mut found: Vec<Found> = looking.join_all().await.into_iter().flatten().collect();
    found.sort_by(|a, b| a.url.cmp(&b.url));
    found
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

async fn look_at(client: &HttpClient, port: u16) -> Option<Found> {
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
    use axum::Router;
    use axum::routing::get;
    use tokio::net::TcpListener;

    use super::*;

    async fn serve(path: &'static str, header: &'static str) -> u16 {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let router = Router::new().route(path, get(async move || ([(header, "true")], "{}")));
        tokio::spawn(async { axum::serve(listener, router).await });
        port
    }

    #[tokio::test]
    async fn apps_are_known_by_their_header() {
        let app = serve("/x/inngest", "x-inngest-sdk").await;
        let cloud = serve("/api/inngest", "x-inngest-sdk-handled").await;
        let other = serve("/api/inngest", "x-powered-by").await;
        let mut found = look(&HttpClient::new(), &[app, cloud, other, 1]).await;
        found.sort_by_key(|found| found.cloud_mode);
        let expected = [
            Found { url: format!("http://localhost:{app}/x/inngest"), cloud_mode: false },
            Found { url: format!("http://localhost:{cloud}/api/inngest"), cloud_mode: true },
        ];
        assert_eq!(found, expected);
    }
}
