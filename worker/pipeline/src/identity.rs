//! The identity of a bundle: model, version and digest.

use inferbus_catalog::{Digest, ModelName, Version};

/// Name and version are for people; the digest pins every byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    pub model: ModelName,
    pub version: Version,
    pub digest: Digest,
}
