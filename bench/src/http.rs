//! The least HTTP/1.1 that a load generator needs.
//!
//! A message is recognised in a byte buffer without copying: the start line, whether the peer wants the connection
//! closed, and the body. Only chunked bodies are copied, because they must be joined. There is no general header map:
//! the three headers that decide framing are the only ones looked at, which keeps a parse well below a microsecond.

use std::borrow::Cow;

/// Larger heads or bodies are refused, so that a broken peer cannot make the generator grow without bound.
pub(crate) const MESSAGE_BYTES_MAX: usize = 64 << 20;

/// One complete message at the start of a buffer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Message<'a> {
    /// Request line or status line, without the line end.
    pub(crate) start_line: &'a [u8],
    /// The body, already joined if it came in chunks.
    pub(crate) body: Cow<'a, [u8]>,
    /// Bytes of the buffer this message occupies.
    pub(crate) len: usize,
    /// The sender closes, or asks to close, the connection after this message.
    pub(crate) close: bool,
}

/// Which side of an exchange is parsed: they differ in what a missing length means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// No length means no body.
    Request,
    /// No length means that the body ends with the connection.
    Response {
        /// The peer has closed its side, so nothing more will come.
        at_end: bool,
    },
}

/// The bytes are no HTTP/1.x; the text says why.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Malformed(pub(crate) &'static str);

/// Recognises a message at the start of `buffer`; `None` means that more bytes are needed.
pub(crate) fn parse(buffer: &[u8], kind: Kind) -> Result<Option<Message<'_>>, Malformed> {
    if buffer.len() > MESSAGE_BYTES_MAX {
        return Err(Malformed("message larger than 64 MiB"));
    }
    let Some(head) = Head::parse(buffer)? else { return Ok(None) };
    let rest = &buffer[head.len..];
    let (body, body_len) = match head.framing(kind)? {
        Framing::Length(length) if rest.len() < length => return Ok(None),
        Framing::Length(length) => (Cow::Borrowed(&rest[..length]), length),
        Framing::Chunked => match join_chunks(rest)? {
            None => return Ok(None),
            Some((body, consumed)) => (Cow::Owned(body), consumed),
        },
        Framing::UntilClose { at_end: false } => return Ok(None),
        Framing::UntilClose { at_end: true } => (Cow::Borrowed(rest), rest.len()),
    };
    Ok(Some(Message { start_line: head.start_line, body, len: head.len + body_len, close: head.close }))
}

/// Status code of a response's start line.
pub(crate) fn status(start_line: &[u8]) -> Option<u16> {
    let digits = start_line.strip_prefix(b"HTTP/1.")?.get(2..5)?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

struct Head<'a> {
    start_line: &'a [u8],
    len: usize,
    content_length: Option<usize>,
    chunked: bool,
    close: bool,
}

enum Framing {
    Length(usize),
    Chunked,
    UntilClose { at_end: bool },
}

impl<'a> Head<'a> {
    fn parse(buffer: &'a [u8]) -> Result<Option<Self>, Malformed> {
        let mut head = Head { start_line: &[], len: 0, content_length: None, chunked: false, close: false };
        loop {
            let Some(end) = memchr::memchr(b'\n', &buffer[head.len..]) else { return Ok(None) };
            let line = &buffer[head.len..head.len + end];
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            head.len += end + 1;
            if head.start_line.is_empty() {
                head.read_start_line(line)?;
            } else if line.is_empty() {
                return Ok(Some(head));
            } else {
                head.read_header(line)?;
            }
        }
    }

    fn read_start_line(&mut self, line: &'a [u8]) -> Result<(), Malformed> {
        let version = if line.starts_with(b"HTTP/") { line.get(..8) } else { line.rsplit(|byte| *byte == b' ').next() };
        match version {
            Some(b"HTTP/1.1") => {}
            Some(b"HTTP/1.0") => self.close = true,
            _ => return Err(Malformed("not an HTTP/1.x start line")),
        }
        self.start_line = line;
        Ok(())
    }

    fn read_header(&mut self, line: &[u8]) -> Result<(), Malformed> {
        // The first letter rules out nearly every header before any longer comparison.
        match line[0] | 0x20 {
            b'c' => {
                if let Some(value) = value_of(line, b"content-length") {
                    let length = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
                    let length = length.filter(|length| *length <= MESSAGE_BYTES_MAX);
                    self.content_length = Some(length.ok_or(Malformed("bad content-length"))?);
                } else if let Some(value) = value_of(line, b"connection") {
                    self.close = value.eq_ignore_ascii_case(b"close");
                }
            }
            b't' => {
                if let Some(value) = value_of(line, b"transfer-encoding") {
                    self.chunked = value.eq_ignore_ascii_case(b"chunked");
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn framing(&self, kind: Kind) -> Result<Framing, Malformed> {
        if self.chunked {
            return Ok(Framing::Chunked);
        }
        match (self.content_length, kind) {
            (Some(length), _) => Ok(Framing::Length(length)),
            (None, Kind::Request) => Ok(Framing::Length(0)),
            (None, Kind::Response { at_end }) => {
                let status = status(self.start_line).ok_or(Malformed("bad status code"))?;
                let bodiless = status < 200 || status == 204 || status == 304;
                Ok(if bodiless { Framing::Length(0) } else { Framing::UntilClose { at_end } })
            }
        }
    }
}

fn value_of<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let (key, value) = (line.get(..name.len())?, line.get(name.len()..)?);
    if !key.eq_ignore_ascii_case(name) {
        return None;
    }
    Some(value.strip_prefix(b":")?.trim_ascii())
}

/// Joins a chunked body; returns it with the number of bytes consumed, trailers included.
fn join_chunks(buffer: &[u8]) -> Result<Option<(Vec<u8>, usize)>, Malformed> {
    let mut body = Vec::new();
    let mut at = 0;
    loop {
        let Some(end) = memchr::memchr(b'\n', &buffer[at..]) else { return Ok(None) };
        let line = buffer[at..at + end].trim_ascii();
        at += end + 1;
        let digits = line.split(|byte| *byte == b';').next().unwrap_or(line);
        let size = std::str::from_utf8(digits).ok().and_then(|text| usize::from_str_radix(text, 16).ok());
        let size = size.filter(|size| *size <= MESSAGE_BYTES_MAX).ok_or(Malformed("bad chunk size"))?;
        if size == 0 {
            return Ok(skip_trailers(&buffer[at..]).map(|trailers| (body, at + trailers)));
        }
        // The chunk is followed by its own line end.
        let Some(chunk) = buffer.get(at..at + size + 2) else { return Ok(None) };
        if !chunk.ends_with(b"\r\n") {
            return Err(Malformed("chunk without line end"));
        }
        body.extend_from_slice(&chunk[..size]);
        at += size + 2;
    }
}

fn skip_trailers(buffer: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        let end = memchr::memchr(b'\n', &buffer[at..])?;
        let empty = buffer[at..at + end].trim_ascii().is_empty();
        at += end + 1;
        if empty {
            return Some(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const END: Kind = Kind::Response { at_end: true };
    const OPEN: Kind = Kind::Response { at_end: false };

    #[test]
    fn whole_messages() {
        let cases: &[(&str, Kind, &str, bool, usize)] = &[
            ("GET /x HTTP/1.1\r\nHost: a\r\n\r\n", Kind::Request, "", false, 0),
            ("POST /x HTTP/1.1\r\nContent-Length: 3\r\n\r\nabcNEXT", Kind::Request, "abc", false, 4),
            ("POST /x HTTP/1.1\r\nconnection: Close\r\ncontent-length:3\r\n\r\nabc", Kind::Request, "abc", true, 0),
            ("POST /x HTTP/1.0\nContent-Length: 1\n\na", Kind::Request, "a", true, 0),
            ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", OPEN, "ok", false, 0),
            ("HTTP/1.1 204 No Content\r\n\r\n", OPEN, "", false, 0),
            ("HTTP/1.1 200 OK\r\n\r\nrest", END, "rest", false, 0),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1;x=y\r\nc\r\n0\r\n\r\n",
                OPEN,
                "abc",
                false,
                0,
            ),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nTrailer: 1\r\n\r\nN", OPEN, "", false, 1),
            ("HTTP/1.1 200 OK\r\nContent-Lengthy: 9\r\nContent-Length: 1\r\n\r\nx", OPEN, "x", false, 0),
        ];
        for (text, kind, body, close, left) in cases {
            let message = parse(text.as_bytes(), *kind).expect(text).expect(text);
            assert_eq!(message.body.as_ref(), body.as_bytes(), "{text:?}");
            assert_eq!(message.close, *close, "{text:?}");
            assert_eq!(text.len() - message.len, *left, "{text:?}");
        }
    }

    #[test]
    fn every_prefix_of_a_message_is_partial() {
        for text in [
            "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n",
        ] {
            for end in 0..text.len() {
                assert_eq!(parse(&text.as_bytes()[..end], OPEN), Ok(None), "{:?}", &text[..end]);
            }
            assert!(matches!(parse(text.as_bytes(), OPEN), Ok(Some(message)) if message.len == text.len()));
        }
        assert_eq!(parse(b"HTTP/1.1 200 OK\r\n\r\nrest", OPEN), Ok(None), "the body ends with the connection");
    }

    #[test]
    fn malformed_messages() {
        for (text, why) in [
            ("\r\n\r\n", "not an HTTP/1.x start line"),
            ("PRI * HTTP/2.0\r\n\r\n", "not an HTTP/1.x start line"),
            ("HTTP/1.1 2\r\n\r\n", "bad status code"),
            ("POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", "bad content-length"),
            ("POST / HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n", "bad content-length"),
            ("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "bad chunk size"),
            ("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n", "chunk without line end"),
        ] {
            assert_eq!(parse(text.as_bytes(), OPEN), Err(Malformed(why)), "{text:?}");
        }
    }

    #[test]
    fn status_codes() {
        assert_eq!(status(b"HTTP/1.1 206 Partial Content"), Some(206));
        assert_eq!(status(b"HTTP/1.1 20"), None);
        assert_eq!(status(b"GET / HTTP/1.1"), None);
    }
}
