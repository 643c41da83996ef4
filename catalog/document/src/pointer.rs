//! A pointer: the active version of a model.

use semver::Version;
use serde_json::json;

use crate::canonical::canonical;
use crate::digest::Digest;
use crate::fields::{Node, read_json};
use crate::limits;
use crate::names::parse_version;
use crate::problems::Problems;

/// The active version and, optionally, the required digest of its entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pointer {
    pub version: Version,
    pub digest: Option<Digest>,
}

impl Pointer {
    /// Parses `1.2.0`, or `{"version":"1.2.0","digest":"sha256:…"}`. Surrounding white space is allowed.
    pub fn parse(bytes: &[u8]) -> Result<Self, Problems> {
        let bytes = bytes.trim_ascii();
        if bytes.first() == Some(&b'{') {
            return read_json(bytes, pointer);
        }
        if bytes.is_empty() || bytes.len() > limits::DOCUMENT_BYTES {
            return Err(Problems::whole("expected a version like 1.2.0, or a JSON object with one"));
        }
        let version =
            parse_version(&String::from_utf8_lossy(bytes)).map_err(|fault| Problems::whole(fault.to_string()))?;
        Ok(Self { version, digest: None })
    }

    pub fn to_bytes(&self) -> Vec<u8> {
        match &self.digest {
            None => self.version.to_string().into_bytes(),
            Some(digest) => canonical(&json!({ "version": self.version, "digest": digest })),
        }
    }
}

fn pointer(node: &Node<'_>) -> Option<Pointer> {
    let fields = node.fields(&["version", "digest"])?;
    let version = fields.required("version").and_then(|node| node.checked(parse_version));
    let digest = fields.optional("digest").and_then(|node| node.parsed());
    Some(Pointer { version: version?, digest })
}

impl std::fmt::Display for Pointer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.digest {
            None => write!(f, "{}", self.version),
            Some(digest) => write!(f, "{} ({})", self.version, digest.short()),
        }
    }
}
