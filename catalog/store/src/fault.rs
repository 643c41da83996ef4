//! Everything that can go wrong between the catalog and NATS, each with what to do about it.

use std::error::Error;
use std::iter::successors;

use async_nats::jetstream::{self, ErrorCode};
use inferbus_catalog_document::{Digest, ModelName, Pointer, Problems, RouteName};
use semver::Version;

use crate::limits;

const UNAVAILABLE: usize = 503;

#[derive(Clone, Debug, thiserror::Error)]
pub enum CatalogFault {
    #[error("cannot {doing}: {reason}; check that NATS runs with JetStream and can be reached")]
    Unreachable { doing: String, reason: String },
    #[error(
        "cannot {doing}: no answer within {} s; check that NATS can be reached and that this user may do it",
        limits::STEP.as_secs()
    )]
    TimedOut { doing: String },
    #[error("cannot {doing}: the server refused: {reason}")]
    Refused { doing: String, reason: String },
    #[error("the bucket `{bucket}` does not exist; create the catalog first, or connect to the account that has it")]
    MissingBucket { bucket: &'static str },
    #[error(
        "the bucket `{bucket}` keeps {found} revisions of a key and the catalog needs {needed}; run `nats stream edit {stream} --max-msgs-per-subject={needed}`"
    )]
    ShortHistory { bucket: &'static str, stream: String, found: i64, needed: i64 },
    #[error("the bucket `{bucket}` holds more than {limit} keys; delete versions that nobody needs")]
    TooManyKeys { bucket: &'static str, limit: usize },

    #[error("the catalog has no active version of `{name}`; activate one, or check the name")]
    NoPointer { name: ModelName },
    #[error("the catalog has no version {version} of `{name}`; push it first, or choose one that exists")]
    UnknownVersion { name: ModelName, version: Version },
    #[error("the version {0} has build metadata (`+…`), which a key cannot hold; leave it out")]
    UnusableVersion(Version),
    #[error("the entry of `{name}` {version} is not valid: {problems}; push it again")]
    BadEntry { name: ModelName, version: Version, problems: Problems },
    #[error("the route `{name}` is not valid: {problems}")]
    BadRoute { name: RouteName, problems: Problems },
    #[error("the catalog has no route `{name}`")]
    UnknownRoute { name: RouteName },

    #[error("the artifact {digest} is not stored; push the bundle that has it")]
    MissingArtifact { digest: Digest },
    #[error("the artifact {digest} is a link; links are not followed, so push the bundle again")]
    LinkedArtifact { digest: Digest },
    #[error(
        "the artifact {digest} should have {expected} bytes and the stored object has {found}; push the bundle again"
    )]
    WrongSize { digest: Digest, expected: u64, found: u64 },
    #[error("the artifact {digest} ends after {found} of {expected} bytes; push the bundle again")]
    Truncated { digest: Digest, expected: u64, found: u64 },
    #[error("the stored object of {digest} is damaged: {reason}; push the bundle again")]
    Damaged { digest: Digest, reason: String },
    #[error("the bytes stored as {expected} are {found}; push the bundle again")]
    WrongDigest { expected: Digest, found: Digest },
    #[error("the artifact {digest} has {size} bytes; at most {} are allowed", limits::ARTIFACT_BYTES)]
    TooLarge { digest: Digest, size: u64 },
    #[error("the bundle does not hold the bytes of {digest}")]
    IncompleteBundle { digest: Digest },

    #[error(
        "`{name}` {version} is already pushed with other content ({}); choose a new version, or force it",
        content(stored)
    )]
    VersionTaken { name: ModelName, version: Version, stored: Option<Digest> },
    #[error("somebody else wrote `{name}` {version} at the same time; look at it and push again if it is not yours")]
    EntryRaced { name: ModelName, version: Version },
    #[error(
        "`{name}` {version} has the digest {found} and not {expected}; somebody pushed other content under this version"
    )]
    WrongEntry { name: ModelName, version: Version, expected: Digest, found: Digest },
    #[error(
        "`{name}` was changed at the same time: {now} is active since revision {revision}; look again before you repeat it"
    )]
    PointerRaced { name: ModelName, now: String, revision: u64 },
    #[error("`{name}` has no earlier version to go back to")]
    NothingToRollBack { name: ModelName },
}

impl CatalogFault {
    /// Whether the same call can succeed later with nobody changing the catalog.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::TimedOut { .. })
    }

    /// Whether an artifact is not there or not what it should be, so that uploading it again helps.
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

    /// Sorts an error of the NATS client: what the server said, or that it could not be asked.
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

/// The server's own answer inside an error of the client, if it gave one.
pub(crate) fn server_error<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a jetstream::Error> {
    links(error).find_map(|link| link.downcast_ref())
}

/// An error and what caused it, down to the root.
fn links<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    fn cause<'a>(error: &&'a (dyn Error + 'static)) -> Option<&'a (dyn Error + 'static)> {
        (*error).source()
    }
    successors(Some(error), cause)
}

/// Some errors repeat their source in their own text.
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
