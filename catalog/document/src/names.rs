//! Names of models, routes and streams, and versions. Bucket keys consist of model names, route names and versions.
//!
//! Guarantees: every name or version value is valid as part of a key and of a subject.

use std::fmt;
use std::str::FromStr;

use semver::Version;

use crate::limits;
use crate::text::excerpt;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{shown} is not a {what}; use 1 to {} of a-z, 0-9, - and _, beginning with a letter or a digit",
    limits::NAME_BYTES
)]
pub struct NameFault {
    shown: String,
    what: &'static str,
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
        #[serde(transparent)]
        pub struct $name(Box<str>);

        impl $name {
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = NameFault;

            fn from_str(text: &str) -> Result<Self, NameFault> {
                let valid = is_name(text);
                valid.then(|| Self(text.into())).ok_or_else(|| NameFault { shown: excerpt(text), what: $what })
            }
        }

        impl TryFrom<&str> for $name {
            type Error = NameFault;

            fn try_from(text: &str) -> Result<Self, NameFault> {
                text.parse()
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameFault;

            fn try_from(text: String) -> Result<Self, NameFault> {
                text.parse()
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }
    };
}

name!(
    /// The name of a model: `[a-z0-9][a-z0-9_-]{0,62}`.
    ModelName,
    "model name"
);
name!(
    /// The name of a route: `[a-z0-9][a-z0-9_-]{0,62}`.
    RouteName,
    "route name"
);

/// The name of a JetStream stream.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(transparent)]
pub struct StreamName(Box<str>);

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{} is not a stream's name; use 1 to {} printable characters other than space, `.`, `*`, `>`, `/` and `\\`",
    .0,
    limits::STREAM_NAME_BYTES
)]
pub struct StreamNameFault(String);

impl StreamName {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for StreamName {
    type Err = StreamNameFault;

    fn from_str(text: &str) -> Result<Self, StreamNameFault> {
        let plain = |c: char| !c.is_whitespace() && !c.is_control() && !".*>/\\".contains(c);
        let valid = (1..=limits::STREAM_NAME_BYTES).contains(&text.len()) && text.chars().all(plain);
        valid.then(|| Self(text.into())).ok_or_else(|| StreamNameFault(excerpt(text)))
    }
}

impl fmt::Display for StreamName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

fn is_name(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    text.len() <= limits::NAME_BYTES
        && text.bytes().next().is_some_and(inner)
        && text.bytes().all(|byte| inner(byte) || byte == b'-' || byte == b'_')
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{shown} is not a version: {reason}")]
pub struct VersionFault {
    shown: String,
    reason: String,
}

/// Parses a semantic version without build metadata, so it is valid as part of a key.
pub fn parse_version(text: &str) -> Result<Version, VersionFault> {
    let refused = |reason: &str| VersionFault { shown: excerpt(text), reason: reason.to_owned() };
    if text.len() > limits::VERSION_BYTES {
        return Err(refused(&format!("it is longer than {} bytes", limits::VERSION_BYTES)));
    }
    if text.contains('+') {
        return Err(refused("a key cannot hold build metadata (`+…`); leave it out"));
    }
    Version::parse(text).map_err(|error| refused(&format!("{error}; write it like 1.2.0")))
}
