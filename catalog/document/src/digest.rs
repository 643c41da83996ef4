//! SHA-256 digests: the names of artifacts and the identity of entries.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest as _, Sha256};

use crate::text::excerpt;

const PREFIX: &str = "sha256:";
const SHORT_DIGITS: usize = 12;

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 32]);

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} is not a digest; write `sha256:` and 64 lower-case hexadecimal digits")]
pub struct DigestFault(String);

impl Digest {
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// The digest of the concatenated pieces.
    pub fn of_pieces(pieces: impl IntoIterator<Item: AsRef<[u8]>>) -> Self {
        let mut hasher = DigestHasher::default();
        pieces.into_iter().for_each(|piece| hasher.update(piece.as_ref()));
        hasher.finish()
    }

    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The first digits, for display.
    pub fn short(&self) -> String {
        self.hex().take(SHORT_DIGITS).collect()
    }

    fn hex(&self) -> impl Iterator<Item = char> {
        let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16).unwrap_or('0');
        self.0.iter().flat_map(move |byte| [digit(byte >> 4), digit(byte & 0xf)])
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(PREFIX)?;
        self.hex().try_for_each(|digit| write!(f, "{digit}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Digest {
    type Err = DigestFault;

    fn from_str(text: &str) -> Result<Self, DigestFault> {
        let digits = text.strip_prefix(PREFIX).map(str::as_bytes);
        let (pairs, rest) = digits.unwrap_or_default().as_chunks::<2>();
        let pairs: Option<&[[u8; 2]; 32]> = pairs.try_into().ok().filter(|_| rest.is_empty());
        let mut bytes = [0; 32];
        for (byte, [high, low]) in bytes.iter_mut().zip(pairs.ok_or_else(|| DigestFault(excerpt(text)))?) {
            let (high, low) = nibble(*high).zip(nibble(*low)).ok_or_else(|| DigestFault(excerpt(text)))?;
            *byte = high << 4 | low;
        }
        Ok(Self(bytes))
    }
}

fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

impl serde::Serialize for Digest {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Digest {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl schemars::JsonSchema for Digest {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Digest".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "pattern": "^sha256:[0-9a-f]{64}$" })
    }
}

/// Computes a digest from pieces.
#[derive(Default)]
pub struct DigestHasher(Sha256);

impl DigestHasher {
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub fn finish(self) -> Digest {
        Digest(self.0.finalize().into())
    }
}
