//! Bounds of the catalog client: listed keys, waits and retries. The bounds of documents are exported here too.

use std::time::Duration;

pub use inferbus_catalog_document::limits::*;

/// Revisions kept of every key, so that a rollback has something to go back to.
pub const HISTORY: i64 = 16;
/// The server keeps at most this many revisions of one key.
pub const HISTORY_MAX: usize = 64;
/// Consumers of one bucket: one of each worker that follows it, and one of each list that was read in the last seconds.
pub const CONSUMERS: i32 = 100_000;
/// Keys of one bucket that are listed or followed.
pub const KEYS: usize = 100_000;
/// Keys that are asked for at once while a bucket is read: names alone, and with their values.
pub const PIECE: usize = 2048;
pub const PIECE_WHOLE: usize = 256;

/// One request and its answer, one chunk, one message of a list. Nothing waits longer without progress.
pub const STEP: Duration = Duration::from_secs(5);
/// The chunk size of the Object Store convention.
pub const CHUNK_BYTES: usize = 128 * 1024;
/// Chunks sent and not yet confirmed during an upload.
pub const CHUNKS_IN_FLIGHT: usize = 16;
/// An artifact that is replaced while it is read is read again, this often in all.
pub const READ_ATTEMPTS: usize = 3;
/// Reserved at once for an artifact; the rest grows with what really arrives.
pub const FIRST_RESERVE: u64 = 8 * 1024 * 1024;

/// How often a follower compares what it has seen with what the server holds.
pub const RECONCILE: Duration = Duration::from_secs(15);
/// Two wakes of a follower are at least this far apart.
pub const COALESCE: Duration = Duration::from_millis(50);
/// A follower that failed, or lost its connection, tries again after a pause between these: a server that comes back hears
/// of its thousand workers one after the other.
pub const RETRY_LEAST: Duration = Duration::from_millis(500);
pub const RETRY: Duration = Duration::from_secs(1);

const _: () = {
    assert!(HISTORY as usize <= HISTORY_MAX);
    assert!(COALESCE.as_millis() < RECONCILE.as_millis());
    assert!(RETRY_LEAST.as_millis() < RETRY.as_millis());
    assert!(RETRY.as_millis() < RECONCILE.as_millis());
};
