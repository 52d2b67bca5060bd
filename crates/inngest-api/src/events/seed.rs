//! `x-inngest-event-id-seed`: ids that a repeated request gets again.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use inngest_core::EventId;
use ulid::Ulid;

/// A seed: the time and the random part that all ids of one request come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seed {
    millis: u64,
    entropy: [u8; 10],
}

impl Seed {
    /// Reads `<millis>,<base64 of 10 bytes>`; anything else is no seed.
    pub(super) fn parse(header: &str) -> Option<Self> {
        let (millis, entropy) = header.split_once(',')?;
        let millis = millis.trim().parse().ok().filter(|millis| (1..1 << 48).contains(millis))?;
        let entropy = STANDARD.decode(entropy.trim()).ok()?.try_into().ok()?;
        Some(Self { millis, entropy })
    }

    /// The id of the event at this position of the request, counted from 1.
    pub(super) fn id(&self, position: u32) -> EventId {
        let mut bytes = [0; 16];
        bytes[..6].copy_from_slice(&self.millis.to_be_bytes()[2..]);
        bytes[6..].copy_from_slice(&self.entropy);
        let counter: [u8; 4] = bytes[12..].try_into().expect("four bytes");
        bytes[12..].copy_from_slice(&u32::from_be_bytes(counter).wrapping_add(position).to_be_bytes());
        EventId(Ulid::from_bytes(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_those_of_the_go_server() {
        let seed = Seed::parse("1743130137367,eii2YKXRVTJPuA==").unwrap();
        let ids = [0, 1, 2, 3].map(|position| seed.id(position).to_string());
        let expected = ["R", "S", "T", "V"].map(|last| format!("01JQDAE4RQF8MBCR55T5AK4KX{last}"));
        assert_eq!(ids, expected);
        let wraps = Seed::parse("1743130137367,AAAAAAAA/////w==").unwrap();
        assert_eq!(wraps.id(1).to_string(), "01JQDAE4RQ0000000000000000");
    }

    #[test]
    fn other_headers_are_no_seeds() {
        for header in [
            "",
            "1,",
            "x,eii2YKXRVTJPuA==",
            "0,eii2YKXRVTJPuA==",
            "-1,eii2YKXRVTJPuA==",
            "281474976710656,eii2YKXRVTJPuA==",
            "1743130137367,eii2YKXR",
            "1743130137367",
        ] {
            assert_eq!(Seed::parse(header), None, "{header}");
        }
    }
}
