//! Binding the API port, on IPv4 and IPv6, or the next free one.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, lookup_host};

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 4096;

/// Why nothing can be listened on.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// `--strict-port`, or every port above is taken too.
    #[error("port {port} is in use; stop what listens there, or choose another with --port")]
    InUse {
        /// The wanted port.
        port: u16,
    },
    /// Ports below 1024 are not for everyone.
    #[error("port {port} may not be used by this user; choose one above 1023 with --port")]
    NotAllowed {
        /// The wanted port.
        port: u16,
    },
    /// `--host` names nothing of this machine.
    #[error("cannot listen on {host}: {cause}; --host must be an address of this machine")]
    Host {
        /// As given.
        host: String,
        /// Why.
        cause: io::Error,
    },
}

/// Where the server listens.
#[derive(Debug)]
pub(crate) struct Bound {
    /// One for each address family.
    pub listeners: Vec<TcpListener>,
    /// The port that was free.
    pub port: u16,
    /// The port that was wanted.
    pub wanted: u16,
    /// `host:port` for logs.
    pub shown: String,
    /// Whether other machines can connect.
    pub all_interfaces: bool,
    /// An address that reaches the server from this machine.
    pub reachable: SocketAddr,
}

impl Bound {
    /// The server's URL for people and apps of this machine.
    pub(crate) fn url(&self) -> String {
        if self.reachable.ip().is_loopback() {
            return format!("http://localhost:{}", self.port);
        }
        format!("http://{}", self.reachable)
    }

    /// All bound addresses, for logs.
    pub(crate) fn addresses(&self) -> Vec<String> {
        let addresses = self.listeners.iter().filter_map(|listener| listener.local_addr().ok());
        addresses.map(|address| address.to_string()).collect()
    }
}

/// Binds `port` of `host`, or of all interfaces; the next free port when it is taken, unless `strict`.
pub(crate) async fn bind(host: Option<&str>, port: u16, strict: bool) -> Result<Bound, ListenError> {
    let addresses = addresses(host).await?;
    let all_interfaces = addresses.iter().any(|address| address.is_unspecified());
    let last = if strict { port } else { u16::MAX };
    for candidate in port..=last {
        match bind_all(&addresses, candidate) {
            Ok(listeners) => {
                if candidate != port {
                    tracing::info!(
                        name = "dev server api",
                        from = port,
                        to = candidate,
                        "Port conflict, using new port"
                    );
                }
                let shown = shown(host, candidate);
                let reachable = reachable(&addresses, candidate);
                return Ok(Bound { listeners, port: candidate, wanted: port, shown, all_interfaces, reachable });
            }
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                return Err(ListenError::NotAllowed { port: candidate });
            }
            Err(cause) => return Err(ListenError::Host { host: shown(host, candidate), cause }),
        }
    }
    Err(ListenError::InUse { port })
}

/// Host and port as one text; an IPv6 address is put in brackets.
fn shown(host: Option<&str>, port: u16) -> String {
    match host.unwrap_or("0.0.0.0") {
        host if host.contains(':') => format!("[{host}]:{port}"),
        host => format!("{host}:{port}"),
    }
}

fn reachable(addresses: &[IpAddr], port: u16) -> SocketAddr {
    let address = match addresses.first() {
        Some(address) if !address.is_unspecified() => *address,
        Some(IpAddr::V6(_)) => IpAddr::V6(Ipv6Addr::LOCALHOST),
        _ => IpAddr::V4(Ipv4Addr::LOCALHOST),
    };
    SocketAddr::new(address, port)
}

async fn addresses(host: Option<&str>) -> Result<Vec<IpAddr>, ListenError> {
    let Some(host) = host else {
        return Ok(vec![IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED)]);
    };
    let found = lookup_host((host, 0)).await.map_err(|cause| ListenError::Host { host: host.to_owned(), cause })?;
    let mut addresses: Vec<IpAddr> = found.map(|address| address.ip()).collect();
    addresses.dedup();
    Ok(addresses)
}

/// Binds the same port on every address. A machine without IPv6 is served on IPv4 alone.
fn bind_all(addresses: &[IpAddr], port: u16) -> io::Result<Vec<TcpListener>> {
    let mut listeners = Vec::with_capacity(addresses.len());
    for address in addresses {
        match bind_one(SocketAddr::new(*address, port)) {
            Ok(listener) => listeners.push(listener),
            Err(error) if address.is_ipv6() && !listeners.is_empty() && error.kind() != io::ErrorKind::AddrInUse => {}
            Err(error) => return Err(error),
        }
    }
    Ok(listeners)
}

fn bind_one(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // A restart must not wait for connections of the process before.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_taken_port_moves_on_unless_strict() {
        let taken = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = taken.local_addr().unwrap().port();
        let moved = bind(Some("127.0.0.1"), port, false).await.unwrap();
        assert!(moved.port > port && moved.wanted == port);
        let error = bind(Some("127.0.0.1"), port, true).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("port {port} is in use; stop what listens there, or choose another with --port")
        );
    }

    #[tokio::test]
    async fn without_a_host_both_families_are_served() {
        let free = TcpListener::bind(("127.0.0.1", 0)).await.unwrap().local_addr().unwrap().port();
        let bound = bind(None, free, false).await.unwrap();
        assert!(bound.all_interfaces);
        assert_eq!(bound.shown, format!("0.0.0.0:{}", bound.port));
        assert_eq!(bound.url(), format!("http://localhost:{}", bound.port));
        for address in bound.addresses() {
            let loopback = address.replace("0.0.0.0", "127.0.0.1").replace("[::]", "[::1]");
            tokio::net::TcpStream::connect(&loopback).await.expect("accepts");
        }
    }

    #[test]
    fn a_host_is_shown_and_reached_by_its_address() {
        let table = [
            (None, "0.0.0.0", "0.0.0.0:1", "127.0.0.1:1"),
            (Some("::"), "::", "[::]:1", "[::1]:1"),
            (Some("192.0.2.7"), "192.0.2.7", "192.0.2.7:1", "192.0.2.7:1"),
            (Some("localhost"), "127.0.0.1", "localhost:1", "127.0.0.1:1"),
        ];
        for (host, address, text, reached) in table {
            assert_eq!(shown(host, 1), text);
            assert_eq!(reachable(&[address.parse().unwrap()], 1).to_string(), reached);
        }
    }

    #[tokio::test]
    async fn a_host_of_another_machine_is_refused() {
        let error = bind(Some("192.0.2.1"), 18_288, false).await.unwrap_err();
        assert!(error.to_string().contains("--host must be an address of this machine"), "{error}");
    }
}
