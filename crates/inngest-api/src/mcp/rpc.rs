//! JSON-RPC 2.0 as MCP has it: one message in a request, no batches.

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::{RawValue, to_raw_value};

use crate::body;

/// What a client posts.
#[derive(Debug)]
pub(super) enum Message<'a> {
    /// Something that wants an answer.
    Request(Request<'a>),
    /// A notification, or an answer to what this server has never asked.
    Notice,
}

/// Something that wants an answer.
#[derive(Debug)]
pub(super) struct Request<'a> {
    /// A text or a number; goes back as it came.
    pub(super) id: &'a RawValue,
    pub(super) method: String,
    pub(super) params: Option<&'a RawValue>,
}

/// What went wrong, in a code of JSON-RPC and in words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
#[error("{message}")]
pub(super) struct Error {
    code: i32,
    message: String,
}

#[derive(Deserialize)]
struct Members<'a> {
    jsonrpc: Option<String>,
    #[serde(borrow, default, deserialize_with = "present")]
    id: Option<&'a RawValue>,
    method: Option<String>,
    #[serde(borrow)]
    params: Option<&'a RawValue>,
    #[serde(borrow)]
    result: Option<&'a RawValue>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
}

/// Also `null` was said.
fn present<'de, D: Deserializer<'de>>(value: D) -> Result<Option<&'de RawValue>, D::Error> {
    Deserialize::deserialize(value).map(Some)
}

impl<'a> Message<'a> {
    pub(super) fn parse(body: &'a [u8]) -> Result<Self, Error> {
        let json: &RawValue = serde_json::from_slice(body)
            .map_err(|error| Error { code: -32_700, message: format!("the body is not JSON: {error}") })?;
        if json.get().starts_with('[') {
            return Err(Error::invalid_request("batches are not supported: send one message in a request"));
        }
        let members: Members<'a> =
            body::object(json.get().as_bytes()).map_err(|error| Error::invalid_request(error.to_string()))?;
        if members.jsonrpc.as_deref() != Some("2.0") {
            return Err(Error::invalid_request("\"jsonrpc\" must be \"2.0\""));
        }
        match (members.id, members.method) {
            (None, Some(_)) => Ok(Self::Notice),
            (Some(id), Some(method)) if id.get().starts_with(['"', '-']) || id.get().as_bytes()[0].is_ascii_digit() => {
                Ok(Self::Request(Request { id, method, params: members.params }))
            }
            (Some(_), Some(_)) => Err(Error::invalid_request("\"id\" must be a string or a number")),
            (_, None) if members.result.is_some() || members.error.is_some() => Ok(Self::Notice),
            (_, None) => Err(Error::invalid_request("\"method\" is missing")),
        }
    }
}

impl<'a> Request<'a> {
    /// What the request says, of a type.
    pub(super) fn params<T: Deserialize<'a>>(&self) -> Result<T, Error> {
        let params = self.params.map_or("{}", RawValue::get);
        body::object(params.as_bytes()).map_err(|error| Error::invalid_params(error.to_string()))
    }
}

impl Error {
    pub(super) fn invalid_request(message: impl Into<String>) -> Self {
        Self { code: -32_600, message: message.into() }
    }

    pub(super) fn unknown_method(method: &str) -> Self {
        Self { code: -32_601, message: format!("unknown method {method:?}") }
    }

    pub(super) fn invalid_params(message: impl Into<String>) -> Self {
        Self { code: -32_602, message: message.into() }
    }

    fn internal(error: &serde_json::Error) -> Self {
        Self { code: -32_603, message: error.to_string() }
    }
}

/// A result as it stands in an answer.
pub(super) fn result<T: Serialize>(result: &T) -> Result<Box<RawValue>, Error> {
    to_raw_value(result).map_err(|error| Error::internal(&error))
}

/// An answer; without an id if the request has none that could be read.
pub(super) fn reply(id: Option<&RawValue>, result: Result<&RawValue, &Error>) -> String {
    #[derive(Serialize)]
    struct Reply<'a> {
        jsonrpc: &'static str,
        id: Option<&'a RawValue>,
        #[serde(skip_serializing_if = "Option::is_none")]
        result: Option<&'a RawValue>,
        #[serde(skip_serializing_if = "Option::is_none")]
        error: Option<&'a Error>,
    }
    let reply = Reply { jsonrpc: "2.0", id, result: result.ok(), error: result.err() };
    serde_json::to_string(&reply).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_told_apart_and_what_is_none_is_refused_by_its_code() {
        let told = |body: &str| match Message::parse(body.as_bytes()) {
            Ok(Message::Request(request)) => format!("{} {}", request.id, request.method),
            Ok(Message::Notice) => "notice".to_owned(),
            Err(error) => format!("{}: {}", error.code, error.message),
        };
        for (body, expected) in [
            (r#" {"jsonrpc":"2.0","id":1,"method":"ping"} "#, "1 ping"),
            (r#"{"jsonrpc":"2.0","id":"a b","method":"ping","params":{}}"#, "\"a b\" ping"),
            (r#"{"jsonrpc":"2.0","id":9007199254740993,"method":"ping"}"#, "9007199254740993 ping"),
            (r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#, "notice"),
            (r#"{"jsonrpc":"2.0","id":1,"result":{}}"#, "notice"),
            (r#"{"jsonrpc":"2.0","id":1,"error":{"code":1}}"#, "notice"),
            ("", "-32700: the body is not JSON"),
            ("{", "-32700: the body is not JSON"),
            ("{} x", "-32700: the body is not JSON"),
            (r#"[{"jsonrpc":"2.0","id":1,"method":"ping"}]"#, "-32600: batches are not supported"),
            ("1", "-32600: "),
            (r#"{"id":1,"method":"ping"}"#, "-32600: \"jsonrpc\""),
            (r#"{"jsonrpc":"1.0","id":1,"method":"ping"}"#, "-32600: \"jsonrpc\""),
            (r#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#, "-32600: \"id\""),
            (r#"{"jsonrpc":"2.0","id":{},"method":"ping"}"#, "-32600: \"id\""),
            (r#"{"jsonrpc":"2.0","id":1}"#, "-32600: \"method\""),
            (r#"{"jsonrpc":"2.0","id":1,"method":2}"#, "-32600: "),
        ] {
            assert!(told(body).starts_with(expected), "{body}: {}", told(body));
        }
        assert!(Message::parse(b"\"\xff\"").is_err());
    }
}
