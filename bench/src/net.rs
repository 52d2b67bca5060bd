//! Non-blocking connections with the least number of system calls: one read and one write per message.

use crate::http::{self, Kind, Malformed, Message};
use anyhow::{Context, Result, bail};
use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, ToSocketAddrs};
use std::time::Duration;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const INBOX_BYTES: usize = 8 << 10;

/// The server under load, from its URL.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) url: String,
    /// Value of the `Host` header.
    pub(crate) host: String,
    address: SocketAddr,
}

/// One connection, in either direction.
pub(crate) struct Connection {
    stream: TcpStream,
    /// Bytes received and not yet consumed are `inbox[..filled]`.
    inbox: Vec<u8>,
    filled: usize,
    /// What the socket would not take yet; nearly always empty.
    outbox: Vec<u8>,
    /// The peer will send nothing more.
    pub(crate) ended: bool,
}

impl Target {
    /// Accepts `http://host[:port]`; the first address that answers a connection attempt is used from then on.
    pub(crate) fn parse(url: &str) -> Result<Self> {
        let host = url.strip_prefix("http://").with_context(|| format!("{url}: only http:// URLs are supported"))?;
        let host = host.trim_end_matches('/');
        if host.is_empty() || host.contains('/') {
            bail!("{url}: expected http://HOST:PORT without a path");
        }
        let has_port = host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        let name = if has_port { host.to_owned() } else { format!("{host}:80") };
        let addresses: Vec<_> = name.to_socket_addrs().with_context(|| format!("cannot resolve {name}"))?.collect();
        let answers = |address: &&SocketAddr| std::net::TcpStream::connect_timeout(address, CONNECT_TIMEOUT).is_ok();
        let address = addresses.iter().find(answers).or_else(|| addresses.first());
        let address = *address.with_context(|| format!("{name} has no address"))?;
        Ok(Target { url: format!("http://{host}"), host: host.to_owned(), address })
    }

    /// A blocking connection, for the rare exchanges outside the measured load.
    pub(crate) fn connect(&self) -> std::io::Result<std::net::TcpStream> {
        let stream = std::net::TcpStream::connect_timeout(&self.address, CONNECT_TIMEOUT)?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    /// Opens a connection known to `registry` as `token`. Connecting blocks: it is rare, and the kernel answers.
    pub(crate) fn open(&self, registry: &Registry, token: Token) -> Result<Connection> {
        let stream = self.connect().with_context(|| format!("cannot connect to {}", self.url))?;
        stream.set_nonblocking(true)?;
        Ok(Connection::new(TcpStream::from_std(stream), registry, token)?)
    }
}

impl Connection {
    pub(crate) fn new(mut stream: TcpStream, registry: &Registry, token: Token) -> std::io::Result<Self> {
        // Edge-triggered: asking for both directions at once costs no extra wake-ups.
        registry.register(&mut stream, token, Interest::READABLE | Interest::WRITABLE)?;
        Ok(Connection { stream, inbox: vec![0; INBOX_BYTES], filled: 0, outbox: Vec::new(), ended: false })
    }

    /// Reads what there is. A short read means that the socket is drained, which saves a second call.
    pub(crate) fn receive(&mut self, expect_end: bool) {
        loop {
            if self.filled == self.inbox.len() {
                self.inbox.resize(self.inbox.len() * 2, 0);
            }
            match self.stream.read(&mut self.inbox[self.filled..]) {
                Ok(0) => self.ended = true,
                Ok(read) => {
                    self.filled += read;
                    if self.filled == self.inbox.len() || expect_end {
                        continue;
                    }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(_) => self.ended = true,
            }
            return;
        }
    }

    /// The first complete message received, to be released with [`Connection::consume`].
    pub(crate) fn request(&self) -> Result<Option<Message<'_>>, Malformed> {
        http::parse(&self.inbox[..self.filled], Kind::Request)
    }

    pub(crate) fn response(&self) -> Result<Option<Message<'_>>, Malformed> {
        if self.filled == 0 {
            return Ok(None);
        }
        http::parse(&self.inbox[..self.filled], Kind::Response { at_end: self.ended })
    }

    /// Nothing of a further message has arrived.
    pub(crate) fn is_drained(&self) -> bool {
        self.filled == 0
    }

    pub(crate) fn consume(&mut self, len: usize) {
        self.inbox.copy_within(len..self.filled, 0);
        self.filled -= len;
    }

    /// Sends `bytes`, keeping what the socket would not take for [`Connection::flush`].
    pub(crate) fn send(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        if self.outbox.is_empty() {
            let sent = write_some(&mut self.stream, bytes)?;
            self.outbox.extend_from_slice(&bytes[sent..]);
        } else {
            self.outbox.extend_from_slice(bytes);
        }
        Ok(())
    }

    /// To be called when the socket is writable again.
    pub(crate) fn flush(&mut self) -> std::io::Result<()> {
        if !self.outbox.is_empty() {
            let sent = write_some(&mut self.stream, &self.outbox)?;
            self.outbox.drain(..sent);
        }
        Ok(())
    }
}

fn write_some(stream: &mut TcpStream, bytes: &[u8]) -> std::io::Result<usize> {
    let mut sent = 0;
    while sent < bytes.len() {
        match stream.write(&bytes[sent..]) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(written) => sent += written,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) => return Err(error),
        }
    }
    Ok(sent)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        let target = Target::parse("http://127.0.0.1:8288/").expect("valid");
        assert_eq!((target.url.as_str(), target.host.as_str()), ("http://127.0.0.1:8288", "127.0.0.1:8288"));
        assert_eq!(Target::parse("http://127.0.0.1").expect("valid").address.port(), 80);
        for bad in ["127.0.0.1:8288", "https://127.0.0.1:1", "http://", "http://127.0.0.1:1/x"] {
            assert!(Target::parse(bad).is_err(), "{bad}");
        }
    }
}
