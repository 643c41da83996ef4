//! The errors of the catalog client, each with its remedy.

use std::error::Error;
use std::iter::successors;

use async_nats::jetstream::{self, ErrorCode};
use inferbus_catalog_document::{Digest, ModelName, Pointer, Problems, RouteName, Version};

use crate::limits;

const UNAVAILABLE: usize = 503;

#[derive(Clone, Debug, thiserror::Error)]
pub enum CatalogFault {
    #[error("cannot {doing}: {reason}; check that NATS runs with JetStream and is reachable")]
    Unreachable { doing: String, reason: String },
    #[error(
        "cannot {doing}: no answer within {} s; check that NATS is reachable and that this user has the permission",
        limits::REQUEST_TIMEOUT.as_secs()
    )]
    TimedOut { doing: String },
    #[error("cannot {doing}: the server rejected it: {reason}")]
    Refused { doing: String, reason: String },
    #[error("the bucket `{bucket}` does not exist; create the catalog first, or connect to its account")]
    MissingBucket { bucket: &'static str },
    #[error(
        "the bucket `{bucket}` keeps {found} revisions of a key and the catalog needs {needed}; \
         run `nats stream edit {stream} --max-msgs-per-subject={needed}`"
    )]
    ShortHistory { bucket: &'static str, stream: String, found: i64, needed: i64 },
    #[error("the bucket `{bucket}` contains more than {limit} keys; delete unused versions")]
    TooManyKeys { bucket: &'static str, limit: usize },

    #[error("there is no active version of `{name}`; activate one, or check the name")]
    NoPointer { name: ModelName },
    #[error("there is no version {version} of `{name}`; push it first, or choose an existing one")]
    UnknownVersion { name: ModelName, version: Version },
    #[error("the version {0} has build metadata (`+…`), and keys cannot contain it; remove it")]
    UnusableVersion(Version),
    #[error("the entry of `{name}` {version} is not valid: {problems}; push it again")]
    BadEntry { name: ModelName, version: Version, problems: Problems },
    #[error("the route `{name}` is not valid: {problems}")]
    BadRoute { name: RouteName, problems: Problems },
    #[error("unknown route `{name}`; check the name")]
    UnknownRoute { name: RouteName },

    #[error("the artifact {digest} is not stored; push its bundle")]
    MissingArtifact { digest: Digest },
    #[error("the artifact {digest} is a link, and links are not followed; push the bundle again")]
    LinkedArtifact { digest: Digest },
    #[error(
        "the artifact {digest} should have {expected} bytes, but the stored object has {found}; push the bundle again"
    )]
    WrongSize { digest: Digest, expected: u64, found: u64 },
    #[error("the artifact {digest} ends after {found} of {expected} bytes; push the bundle again")]
    Truncated { digest: Digest, expected: u64, found: u64 },
    #[error("the stored object of {digest} is damaged: {reason}; push the bundle again")]
    Damaged { digest: Digest, reason: String },
    #[error("the stored object of {expected} has the digest {found}; push the bundle again")]
    WrongDigest { expected: Digest, found: Digest },
    #[error("the artifact {digest} has {size} bytes; at most {} are allowed", limits::ARTIFACT_BYTES)]
    TooLarge { digest: Digest, size: u64 },
    #[error("the bundle does not contain the file with the digest {digest}; read the bundle folder again")]
    IncompleteBundle { digest: Digest },

    #[error(
        "`{name}` {version} is already pushed with other content ({}); choose a new version, or force it",
        content(stored)
    )]
    VersionTaken { name: ModelName, version: Version, stored: Option<Digest> },
    #[error(
        "`{name}` {version} was written concurrently by another client; compare it with yours before you push again"
    )]
    EntryRaced { name: ModelName, version: Version },
    #[error(
        "`{name}` {version} has the digest {found}, expected {expected}; its content was replaced, so check the version"
    )]
    WrongEntry { name: ModelName, version: Version, expected: Digest, found: Digest },
    #[error("`{name}` was changed concurrently: {now} is active since revision {revision}; check it before you retry")]
    PointerRaced { name: ModelName, now: String, revision: u64 },
    #[error("no earlier version of `{name}` for a rollback")]
    NothingToRollBack { name: ModelName },
}

impl CatalogFault {
    /// Whether a retry can succeed without a change of the catalog.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::TimedOut { .. })
    }

    /// Whether a stored artifact is missing or wrong, so uploading it again repairs it.
    pub(crate) fn is_about_stored_bytes(&self) -> bool {
        matches!(
            self,
            Self::MissingArtifact { .. }
                | Self::LinkedArtifact { .. }
                | Self::WrongSize { .. }
                | Self::Truncated { .. }
                | Self::Damaged { .. }
                | Self::WrongDigest { .. }
        )
    }

    pub(crate) fn pointer_raced(name: &ModelName, now: Option<&Pointer>, revision: u64) -> Self {
        let now = now.map_or_else(|| "no valid version".to_owned(), Pointer::to_string);
        Self::PointerRaced { name: name.clone(), now, revision }
    }

    /// Converts an error of the NATS client: either an error response of the server, or no response.
    pub(crate) fn from_client(bucket: &'static str, doing: &str, error: &(dyn Error + 'static)) -> Self {
        match server_error(error) {
            Some(error) => Self::from_server(bucket, doing, error),
            None => Self::Unreachable { doing: doing.to_owned(), reason: chain(error) },
        }
    }

    pub(crate) fn from_server(bucket: &'static str, doing: &str, error: &jetstream::Error) -> Self {
        match error.error_code() {
            ErrorCode::STREAM_NOT_FOUND => Self::MissingBucket { bucket },
            _ if error.code() == UNAVAILABLE => {
                Self::Unreachable { doing: doing.to_owned(), reason: error.to_string() }
            }
            _ => Self::Refused { doing: doing.to_owned(), reason: error.to_string() },
        }
    }
}

fn content(stored: &Option<Digest>) -> String {
    stored.as_ref().map_or_else(|| "not readable".to_owned(), Digest::short)
}

/// The server's error response inside an error of the client, if there is one.
pub(crate) fn server_error<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a jetstream::Error> {
    links(error).find_map(|link| link.downcast_ref())
}

/// An error and its sources, down to the root cause.
fn links<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    fn cause<'a>(error: &&'a (dyn Error + 'static)) -> Option<&'a (dyn Error + 'static)> {
        (*error).source()
    }
    successors(Some(error), cause)
}

/// The texts of an error and its sources. Skips sources already contained in the text before them.
fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = String::new();
    for link in links(error).map(ToString::to_string) {
        if !text.contains(&link) {
            let separator = if text.is_empty() { "" } else { ": " };
            text = format!("{text}{separator}{link}");
        }
    }
    text
}
