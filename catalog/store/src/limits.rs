//! Bounds of the catalog client: listed keys, waits and retries. The bounds of documents are exported here too.

use std::time::Duration;

pub use inferbus_catalog_document::limits::*;

/// The number of stored revisions of each key, for rollbacks.
pub const HISTORY: i64 = 16;
/// The server's maximum number of revisions of one key.
pub const HISTORY_MAX: usize = 64;
/// The maximum number of consumers of one bucket: one per following worker and one per recent list request.
pub const CONSUMERS: i32 = 100_000;
/// The maximum number of listed or followed keys of one bucket.
pub const KEYS: usize = 100_000;
/// The number of keys in one fetch of a list without values.
pub const FETCH_KEYS: usize = 2048;
/// The number of keys in one fetch of a list with values.
pub const FETCH_WHOLE: usize = 256;

/// The maximum wait for one response, chunk or message of a list.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// The chunk size of the Object Store convention.
pub const CHUNK_BYTES: usize = 128 * 1024;
/// Unconfirmed chunks during an upload.
pub const CHUNKS_IN_FLIGHT: usize = 16;
/// The maximum number of attempts to read an artifact replaced during the read.
pub const READ_ATTEMPTS: usize = 3;
/// The memory reserved before reading an artifact. The buffer grows further with the received chunks.
pub const FIRST_RESERVE: u64 = 8 * 1024 * 1024;

/// The interval between a follower's comparisons with the server.
pub const RECONCILE: Duration = Duration::from_secs(15);
/// The minimum time between two wakes of a follower.
pub const COALESCE: Duration = Duration::from_millis(50);
/// The range of a follower's pause before a retry. Random pauses spread the load on a restarted server.
pub const RETRY_LEAST: Duration = Duration::from_millis(500);
pub const RETRY: Duration = Duration::from_secs(1);

const _: () = {
    assert!(HISTORY as usize <= HISTORY_MAX);
    assert!(COALESCE.as_millis() < RECONCILE.as_millis());
    assert!(RETRY_LEAST.as_millis() < RETRY.as_millis());
    assert!(RETRY.as_millis() < RECONCILE.as_millis());
};
