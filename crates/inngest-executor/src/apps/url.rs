//! One spelling for every app URL.

use std::borrow::Cow;

use url::Url;

/// Query parameters of the SDKs that name no app.
const DROPPED: [&str; 2] = ["deployId", "probe"];

/// Drops `deployId`, `probe` and default ports, sorts the rest of the query, and writes loopback hosts that
/// have a port as `localhost`. A text that is no URL stays as it is.
#[must_use]
pub fn normalise(text: &str) -> String {
    let Ok(mut url) = Url::parse(text.trim()) else { return text.to_owned() };
    if url.cannot_be_a_base() {
        return text.to_owned();
    }
    // The parser has dropped a default port already, but the rule about hosts asks whether one was written.
    let had_port = url.port().is_some() || has_written_port(text);
    let loopback = matches!(url.host_str(), Some("127.0.0.1" | "0.0.0.0"));
    if had_port && loopback && url.set_host(Some("localhost")).is_err() {
        return text.to_owned();
    }
    if url.query().is_some() {
        let mut pairs: Vec<(Cow<'_, str>, Cow<'_, str>)> =
            url.query_pairs().filter(|(key, _)| !DROPPED.contains(&key.as_ref())).collect();
        pairs.sort_by(|a, b| a.0.cmp(&b.0));
        let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(&pairs).finish();
        url.set_query((!query.is_empty()).then_some(query.as_str()));
    }
    let without_path = text.trim().trim_end_matches('/').matches('/').count() <= 2;
    let normal = url.to_string();
    if without_path && url.path() == "/" && !text.trim().ends_with('/') {
        return normal.replacen("/?", "?", 1).trim_end_matches('/').to_owned();
    }
    normal
}

fn has_written_port(text: &str) -> bool {
    let after_scheme = text.split_once("://").map_or(text, |(_, rest)| rest);
    let authority = after_scheme.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority.rsplit('@').next().unwrap_or_default();
    host.rsplit_once(':').is_some_and(|(_, port)| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::normalise;

    #[test]
    fn urls_have_one_spelling() {
        let table = [
            ("http://127.0.0.1:3000/api/inngest", "http://localhost:3000/api/inngest"),
            ("http://0.0.0.0:3000/api/inngest?deployId=1", "http://localhost:3000/api/inngest"),
            (
                "http://localhost:3000/x?stepId=step&fnId=a-b&probe=trust",
                "http://localhost:3000/x?fnId=a-b&stepId=step",
            ),
            ("http://127.0.0.1/x", "http://127.0.0.1/x"),
            ("http://127.0.0.1:80/x", "http://localhost/x"),
            ("https://shop.example:443/api", "https://shop.example/api"),
            ("https://shop.example:8443/api", "https://shop.example:8443/api"),
            ("https://shop.example", "https://shop.example"),
            ("http://[::1]:3000/x", "http://[::1]:3000/x"),
            ("not a url", "not a url"),
            ("mailto:a@b", "mailto:a@b"),
        ];
        for (text, expected) in table {
            assert_eq!(normalise(text), expected, "{text}");
            assert_eq!(normalise(expected), expected, "{expected} stays");
        }
    }
}
