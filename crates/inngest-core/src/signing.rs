//! Signing keys, the signature of requests to apps, and the check of bearer tokens.
//!
//! A request is signed with HMAC-SHA256 over its canonical body and the time:
//! `X-Inngest-Signature: t=<unix seconds>&s=<hex>`. SDKs authenticate with the key itself or with the
//! SHA-256 of its bytes, each with or without the prefix `signkey-<env>-`.

use hmac::{Hmac, Mac as _};
use sha2::{Digest as _, Sha256};

/// Why a text is no signing key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Nothing is left after the prefix.
    #[error("signing-key is required")]
    Missing,
    /// An odd number of characters.
    #[error("signing-key must be hex string with even number of chars")]
    OddLength,
    /// Not hexadecimal.
    #[error("signing-key must be valid hex string: it may hold the characters 0-9 and a-f only")]
    NotHex,
}

/// A signing key. Never shown.
#[derive(Clone)]
pub struct SigningKey {
    /// Hex text without prefix.
    text: String,
    hashed: String,
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SigningKey(..)")
    }
}

impl SigningKey {
    /// Reads a key as users configure it: hex, with or without `signkey-<env>-`.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        let text = without_prefix(text.trim());
        if text.is_empty() {
            return Err(KeyError::Missing);
        }
        if !text.len().is_multiple_of(2) {
            return Err(KeyError::OddLength);
        }
        let bytes = hex::decode(text).map_err(|_| KeyError::NotHex)?;
        Ok(Self { text: text.to_owned(), hashed: hex::encode(Sha256::digest(bytes)) })
    }

    /// Lower-case hex of the SHA-256 of the key's bytes: what SDKs send.
    #[must_use]
    pub fn hashed(&self) -> &str {
        &self.hashed
    }

    /// The signature header of a request with this canonical body at this time.
    #[must_use]
    pub fn sign(&self, canonical_body: &[u8], unix_seconds: i64) -> String {
        format!("t={unix_seconds}&s={}", hex::encode(self.mac(canonical_body, unix_seconds).finalize().into_bytes()))
    }

    /// Whether a signature header belongs to this body. Its age is the caller's concern.
    #[must_use]
    pub fn verifies(&self, canonical_body: &[u8], header: &str) -> bool {
        let field = |name: &str| header.split('&').find_map(|part| part.strip_prefix(name));
        let (Some(time), Some(given)) = (field("t="), field("s=")) else { return false };
        let (Ok(time), Ok(given)) = (time.parse::<i64>(), hex::decode(given)) else { return false };
        self.mac(canonical_body, time).verify_slice(&given).is_ok()
    }

    /// Whether the value of an `Authorization` header names this key.
    #[must_use]
    pub fn accepts(&self, authorization: &str) -> bool {
        let Some((scheme, token)) = authorization.trim().split_once(' ') else { return false };
        if !scheme.eq_ignore_ascii_case("bearer") {
            return false;
        }
        let token = without_prefix(token.trim()).to_ascii_lowercase();
        // Both are compared whatever the first says: the time taken tells nothing.
        same(&token, &self.text.to_ascii_lowercase()) | same(&token, &self.hashed)
    }

    fn mac(&self, body: &[u8], unix_seconds: i64) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new_from_slice(self.text.as_bytes()).expect("HMAC takes keys of any length");
        mac.update(body);
        mac.update(unix_seconds.to_string().as_bytes());
        mac
    }
}

/// Compares two secrets through their hashes, in time that does not depend on where they differ.
#[must_use]
pub fn same(a: &str, b: &str) -> bool {
    let (a, b) = (Sha256::digest(a), Sha256::digest(b));
    a.iter().zip(b.iter()).fold(0, |differs, (a, b)| differs | (a ^ b)) == 0
}

/// The text after one leading `signkey-<word>-`.
fn without_prefix(text: &str) -> &str {
    let after = text.strip_prefix("signkey-").and_then(|rest| rest.split_once('-'));
    match after {
        Some((word, rest)) if !word.is_empty() && word.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') => rest,
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_are_those_of_the_sdks() {
        let key = SigningKey::parse("signkey-test-8ee2262a15ac8d42").unwrap();
        let body = br#"{"ctx":{"attempt":0},"event":{"data":{"n":1}},"steps":{}}"#;
        let signed = "t=1700000000&s=786dd92c38030e249b9ed00792361cb577d0bae8ded9eba2869da4f124dc826f";
        assert_eq!(key.sign(body, 1_700_000_000), signed);
        let empty = "t=1700000000&s=22263b49166ad2fb9b8cb150a2eab7990a6990108bb19806a714eeabff90a667";
        assert_eq!(key.sign(b"", 1_700_000_000), empty);
        assert_eq!(key.hashed(), "e67f367a92f123293de819e69c388d4848ad243ecd853f48ba2c30de3608fc59");
        assert!(key.verifies(body, signed) && !key.verifies(b"{}", signed));
        for bad in ["", "t=1", "s=00", "t=x&s=00", "t=1700000000&s=zz"] {
            assert!(!key.verifies(body, bad), "{bad}");
        }
    }

    #[test]
    fn keys_are_hex_with_or_without_prefix() {
        for good in ["abcd", "signkey-prod-abcd", "signkey-branch-ABCD", " abcd "] {
            assert!(SigningKey::parse(good).is_ok(), "{good}");
        }
        let bad = [
            ("", KeyError::Missing),
            ("signkey-prod-", KeyError::Missing),
            ("abc", KeyError::OddLength),
            ("signkey-prod-abc", KeyError::OddLength),
            ("zzzz", KeyError::NotHex),
            ("signkey--abcd", KeyError::OddLength),
        ];
        for (text, error) in bad {
            assert_eq!(SigningKey::parse(text).unwrap_err(), error, "{text}");
        }
        assert_eq!(format!("{:?}", SigningKey::parse("abcd").unwrap()), "SigningKey(..)");
    }

    #[test]
    fn bearers_name_the_key_or_its_hash() {
        let hash = "223e0a160af9da0a03e6dd2c4719c56f5d66a633cbe84e78aaa9f3735865522a";
        let plain = "0123456789abcdef0123456789abcdef";
        let key = SigningKey::parse(plain).unwrap();
        assert_eq!(key.hashed(), hash);
        let accepted = [
            format!("Bearer {plain}"),
            format!("bearer {plain}"),
            format!("Bearer  {plain} "),
            format!("Bearer signkey-any-{plain}"),
            format!("Bearer {hash}"),
            format!("Bearer signkey-test-{hash}"),
            format!("Bearer {}", plain.to_uppercase()),
        ];
        for header in accepted {
            assert!(key.accepts(&header), "{header}");
        }
        let refused = [
            "",
            "Bearer",
            "Bearer ",
            "Basic 0123456789abcdef0123456789abcdef",
            plain,
            "Bearer wrong",
            "Bearer signkey-a-signkey-b-0123456789abcdef0123456789abcdef",
        ];
        for header in refused {
            assert!(!key.accepts(header), "{header}");
        }
    }
}
