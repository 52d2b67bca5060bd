//! A server that does exactly what a test says, down to the bytes.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// One request as it came.
#[derive(Clone, Debug)]
pub(super) struct Received {
    /// Of which connection, from 1.
    pub(super) connection: usize,
    /// Which one of its connection, from 1.
    pub(super) nth: usize,
    pub(super) line: String,
    headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
}

impl Received {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }
}

/// What the server does about a request.
pub(super) enum Then {
    Reply(Vec<u8>),
    ReplyAndClose(Vec<u8>),
    Close,
    Hang,
}

type Script = Arc<dyn Fn(&Received) -> Then + Send + Sync>;

#[derive(Clone, Default)]
struct Log {
    received: Arc<Mutex<Vec<Received>>>,
    connections: Arc<AtomicUsize>,
}

pub(super) struct App {
    pub(super) host: String,
    log: Log,
    task: JoinHandle<()>,
}

impl App {
    pub(super) async fn start(script: impl Fn(&Received) -> Then + Send + Sync + 'static) -> Self {
        Self::start_at("127.0.0.1:0", script).await.expect("the loopback has a free port")
    }

    /// `None` when the address cannot be listened on.
    pub(super) async fn start_at(
        address: &str,
        script: impl Fn(&Received) -> Then + Send + Sync + 'static,
    ) -> Option<Self> {
        let listener = TcpListener::bind(address).await.ok()?;
        let host = listener.local_addr().unwrap().to_string();
        let log = Log::default();
        let task = tokio::spawn(accept(listener, Arc::new(script), log.clone()));
        Some(Self { host, log, task })
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.host)
    }

    pub(super) fn received(&self) -> Vec<Received> {
        self.log.received.lock().unwrap().clone()
    }

    pub(super) fn connections(&self) -> usize {
        self.log.connections.load(Ordering::SeqCst)
    }

    /// Stops listening; nobody is at the returned address any more.
    pub(super) async fn stopped(self) -> SocketAddr {
        self.task.abort();
        let host = self.host.parse().unwrap();
        let _ = self.task.await;
        host
    }
}

async fn accept(listener: TcpListener, script: Script, log: Log) {
    while let Ok((stream, _)) = listener.accept().await {
        let connection = log.connections.fetch_add(1, Ordering::SeqCst) + 1;
        tokio::spawn(serve(stream, connection, Arc::clone(&script), log.clone()));
    }
}

/// The client may leave at any time, which ends the connection and nothing else.
async fn serve(stream: TcpStream, connection: usize, script: Script, log: Log) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    for nth in 1.. {
        let received = match read(&mut stream, connection, nth).await {
            Ok(Some(received)) => received,
            Ok(None) => return Ok(()),
            // Not HTTP: what servers answer to the hello of TLS.
            Err(_) => {
                stream.write_all(&reply(400, "", b"")).await?;
                return stream.shutdown().await;
            }
        };
        let then = script(&received);
        log.received.lock().unwrap().push(received);
        match then {
            Then::Reply(bytes) => stream.write_all(&bytes).await?,
            Then::ReplyAndClose(bytes) => {
                stream.write_all(&bytes).await?;
                return stream.shutdown().await;
            }
            Then::Close => return Ok(()),
            Then::Hang => std::future::pending().await,
        }
    }
    Ok(())
}

async fn read(stream: &mut BufReader<TcpStream>, connection: usize, nth: usize) -> io::Result<Option<Received>> {
    let mut line = String::new();
    if stream.read_line(&mut line).await? == 0 {
        return Ok(None);
    }
    let line = line.trim_end().to_owned();
    let mut headers = Vec::new();
    loop {
        let mut header = String::new();
        stream.read_line(&mut header).await?;
        let Some((name, value)) = header.trim_end().split_once(':') else { break };
        headers.push((name.to_owned(), value.trim().to_owned()));
    }
    let mut received = Received { connection, nth, line, headers, body: Vec::new() };
    let length = received.header("content-length").map_or(0, |length| length.parse().unwrap());
    received.body = vec![0; length];
    stream.read_exact(&mut received.body).await?;
    Ok(Some(received))
}

/// The bytes of a reply; `headers` are whole lines.
pub(super) fn reply(status: u16, headers: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 {status} Status\r\n{headers}content-length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}
