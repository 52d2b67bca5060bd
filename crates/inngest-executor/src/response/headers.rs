//! The headers of a reply that mean something to us, read once.

/// The meaning of a reply's headers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReplyHeaders {
    /// `x-inngest-sdk`: whether an SDK answered at all.
    pub sdk: Sdk,
    /// `x-inngest-req-version`; 0 when missing or unreadable.
    pub version: i32,
    /// `x-inngest-no-retry`.
    pub no_retry: bool,
    /// `retry-after`, as sent.
    pub retry_after: Option<Box<str>>,
    /// `content-type`, kept only for replies that are not an SDK's: their error quotes it.
    pub content_type: Option<Box<str>>,
}

/// Who answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sdk {
    /// Something between the app and us, or an app that is none.
    #[default]
    Missing,
    /// An SDK.
    Present,
    /// A JS SDK from before `x-inngest-no-retry`, which says "final" with a 4xx status.
    OldJs,
}

impl Sdk {
    fn of(text: &str) -> Self {
        match text {
            "" => Self::Missing,
            text if is_old_js(text) => Self::OldJs,
            _ => Self::Present,
        }
    }

    /// Whether an SDK answered.
    #[must_use]
    pub const fn is_present(self) -> bool {
        !matches!(self, Self::Missing)
    }
}

impl ReplyHeaders {
    /// Reads the headers through `value`, which finds a header by its lower-case name.
    #[must_use]
    pub fn read<'a>(value: impl Fn(&str) -> Option<&'a str>) -> Self {
        let mut headers = Self::default();
        headers.replace(&value);
        if !headers.sdk.is_present() {
            headers.content_type = value("content-type").map(Into::into);
        }
        headers
    }

    /// Lets the headers found by `value` win over those read before.
    pub(super) fn replace<'a>(&mut self, value: impl Fn(&str) -> Option<&'a str>) {
        if let Some(sdk) = value("x-inngest-sdk").map(Sdk::of).filter(|sdk| sdk.is_present()) {
            self.sdk = sdk;
        }
        if let Some(version) = value("x-inngest-req-version") {
            self.version = version.trim().parse().unwrap_or(0);
        }
        if let Some(no_retry) = value("x-inngest-no-retry") {
            self.no_retry = no_retry.trim() == "true";
        }
        if let Some(retry_after) = value("retry-after") {
            self.retry_after = Some(retry_after.into());
        }
    }
}

/// `inngest-js:vX` with X below 1.10.1 in version 1, or below 2.4.1 in version 2.
fn is_old_js(sdk: &str) -> bool {
    let Some(version) = sdk.strip_prefix("inngest-js:v") else { return false };
    let release = version.split(['-', '+']).next().unwrap_or_default();
    let mut numbers = release.split('.').map_while(|number| number.parse::<u32>().ok());
    let mut next = || numbers.next().unwrap_or(0);
    match (next(), next(), next()) {
        (1, minor, patch) => (minor, patch) < (10, 1),
        (2, minor, patch) => (minor, patch) < (4, 1),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sdk_header_tells_who_answered() {
        for (text, expected) in [
            ("", Sdk::Missing),
            ("inngest-js:v4.24.0", Sdk::Present),
            ("inngest-py:v0.5.19", Sdk::Present),
            ("go:v0.1.0", Sdk::Present),
            ("inngest-js:v1.10.0", Sdk::OldJs),
            ("inngest-js:v1.10.1", Sdk::Present),
            ("inngest-js:v1.9.9-beta.1", Sdk::OldJs),
            ("inngest-js:v2.4.0", Sdk::OldJs),
            ("inngest-js:v2.4.1", Sdk::Present),
            ("inngest-js:v0.9.0", Sdk::Present),
            ("inngest-js:vx", Sdk::Present),
        ] {
            assert_eq!(Sdk::of(text), expected, "{text}");
        }
    }

    #[test]
    fn headers_are_read_leniently() {
        let of = |name: &'static str, text: &'static str| ReplyHeaders::read(|wanted| (wanted == name).then_some(text));
        assert_eq!(of("x-inngest-req-version", " 2").version, 2);
        assert_eq!(of("x-inngest-req-version", "two").version, 0);
        assert!(of("x-inngest-no-retry", "true").no_retry);
        assert!(!of("x-inngest-no-retry", "1").no_retry);
        assert_eq!(of("retry-after", "3").retry_after.as_deref(), Some("3"));
        assert_eq!(of("content-type", "text/html").content_type.as_deref(), Some("text/html"));
    }
}
