//! What servers call on behalf of steps: an echo and a model provider, on loopback.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};

use serde_json::{Value, json};

/// Longest body that is read.
const BODY_MAX: usize = 1 << 20;

/// Starts to answer, each request on a connection of its own, for the rest of the process; the base URL.
///
/// `/echo` tells what it was sent. `/v1/chat/completions` answers like a model that repeats the last message.
pub(crate) fn start() -> anyhow::Result<String> {
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    let url = format!("http://127.0.0.1:{}", listener.local_addr()?.port());
    std::thread::spawn(move || {
        for connection in listener.incoming().flatten() {
            std::thread::spawn(move || {
                if let Err(error) = answer(connection) {
                    println!("provider: {error:#}");
                }
            });
        }
    });
    Ok(url)
}

fn answer(mut connection: TcpStream) -> anyhow::Result<()> {
    let mut reader = BufReader::new(connection.try_clone()?);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let mut words = line.split(' ').map(str::to_owned);
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let (mut length, mut authorization, mut marked) = (0, String::new(), String::new());
    loop {
        line.clear();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim().split_once(": ") else { break };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.parse()?,
            "authorization" => value.clone_into(&mut authorization),
            "x-sdk-test" => value.clone_into(&mut marked),
            _ => {}
        }
    }
    anyhow::ensure!(length <= BODY_MAX, "{method} {path} has {length} bytes");
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let body = String::from_utf8_lossy(&body);
    let (status, reply) = match path.as_str() {
        "/echo" => ("200 OK", json!({ "method": method, "header": marked, "body": body })),
        "/v1/chat/completions" => ("200 OK", completion(&serde_json::from_str(&body)?, &authorization)),
        _ => ("404 Not Found", json!({ "path": path })),
    };
    let reply = reply.to_string();
    let length = reply.len();
    let head = format!("HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {length}");
    write!(connection, "{head}\r\nConnection: close\r\n\r\n{reply}")?;
    Ok(())
}

/// The reply of a model, in the form of `OpenAI`; it names the key it was called with.
fn completion(request: &Value, authorization: &str) -> Value {
    let last = request["messages"].as_array().and_then(|messages| messages.last()).cloned().unwrap_or_default();
    let content = format!("{authorization}: {}", last["content"].as_str().unwrap_or_default());
    json!({
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": request["model"],
        "choices": [{ "index": 0, "finish_reason": "stop", "message": { "role": "assistant", "content": content } }],
        "usage": { "prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7 },
    })
}
