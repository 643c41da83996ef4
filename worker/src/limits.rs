//! Every bound of the worker, in one place, with the relations that must hold between them.
//!
//! Guarantees: no queue, wait or buffer in this crate grows past a bound in this file. The sandbox, the engine and the
//! catalog have files of the same name for their bounds.

use std::time::Duration;

/// Messages in flight at once: waiting for a lane, on a lane, or waiting for their reply's publication.
pub const IN_FLIGHT: usize = 1024;

/// Payload bytes of all messages in flight.
pub const IN_FLIGHT_BYTES: usize = 256 << 20;

/// The unit of payload bytes in a semaphore: its permits are `u32`.
pub const BYTES_PER_PERMIT: usize = 1 << 10;

/// The largest accepted payload, even if the NATS server allows more.
pub const PAYLOAD: usize = 64 << 20;

/// Bodies of HTTP requests read at once, their bytes, and the time limit for each.
pub const HTTP_BODIES: usize = 256;
pub const HTTP_BYTES: usize = 256 << 20;
pub const HTTP_BODY: Duration = Duration::from_secs(30);

/// The room for headers within the server's max_payload.
pub const HEADER_ROOM: usize = 8 << 10;

/// Bytes of one forwarded trace header. The standard requires 512 at least.
pub const TRACE_HEADER: usize = 512;

/// Messages buffered by the client for one subscription.
pub const SUBSCRIPTION: usize = 8 * IN_FLIGHT;

/// The client's ping interval. After three unanswered pings the client closes the connection, so no sent message is
/// in transit for longer.
pub const PING: Duration = Duration::from_secs(10);

/// The longest pause before a reconnect. Jitter shortens a pause by half at most.
pub const RECONNECT_LONGEST: Duration = Duration::from_secs(4);

/// Commands queued for the client's connection task.
pub const CLIENT_COMMANDS: usize = 2 * IN_FLIGHT;

/// Stream messages in flight or requested from the server, over all routes.
pub const STREAM_PLACES: usize = 1024;

/// Their payload bytes.
pub const STREAM_BYTES: usize = 256 << 20;

/// One pull request of a route, in messages and bytes.
pub const PULL: usize = 256;
pub const PULL_BYTES: usize = 8 << 20;
/// The smallest pull request in bytes. A larger message is requested individually.
pub const PULL_LEAST: usize = 64 << 10;

/// The lifetime of a pull request at the server, and the interval of the server's heartbeats for it.
pub const PULL_EXPIRES: Duration = Duration::from_secs(30);
pub const PULL_HEARTBEAT: Duration = Duration::from_secs(2);

/// The interval of an idle route's checks whether it may continue.
pub const FEED_TICK: Duration = Duration::from_millis(250);

/// The fewest messages in flight of a route per lane, the most per route, and the time span of its settled messages.
pub const LEAST_PER_LANE: usize = 2;
pub const PULL_WINDOW: usize = 512;
pub const PULL_WINDOW_SPAN: Duration = Duration::from_millis(100);

/// In-progress acks for a message in flight, per ack wait.
pub const IN_PROGRESS_PER_ACK_WAIT: u32 = 4;

/// The interval between two reads of a consumer's backlog from the server.
pub const CONSUMER_POLL: Duration = Duration::from_secs(5);

/// The time limit for the server's confirmation of a result or an acknowledgement.
pub const CONFIRM: Duration = Duration::from_secs(5);

/// The longest pauses between two tries to store a result, and between two tries to set up a route.
pub const RETRY_STORE: Duration = Duration::from_secs(5);
pub const RETRY_SETUP: Duration = Duration::from_secs(5);

/// The server detects duplicates of messages stored within this time.
pub const DUPLICATE_WINDOW: Duration = Duration::from_secs(120);

/// The largest tolerated clock difference between workers and servers, and the longest transit time of a message.
pub const CLOCK_SKEW: Duration = Duration::from_secs(30);

/// The retention of results in a stream created by Inferbus.
pub const RESULTS_AGE: Duration = Duration::from_secs(7 * 24 * 3600);

/// Dead letters kept in their stream.
pub const DEAD_LETTERS: i64 = 1_000_000;

/// A route logs at most one dead letter per interval.
pub const DEAD_LETTER_LINES: Duration = Duration::from_secs(1);

/// A consumer's unacknowledged messages and its pending pull requests, over all workers.
pub const UNACKED: i64 = 65_536;
pub const WAITING_PULLS: i64 = 4096;

/// An ordered route moves to another worker after this time without a pull request.
pub const PIN: Duration = Duration::from_secs(60);

/// The age and the number of lines of the crash history.
pub const CRASH_MEMORY: Duration = Duration::from_secs(7 * 24 * 3600);
pub const CRASH_LINES: usize = 10_000;

/// Journals of crashed workers read at a start, and the bytes read of each.
pub const JOURNALS: usize = 10_000;
pub const JOURNAL_BYTES: usize = 32 << 20;

/// Compute threads of one worker.
pub const LANES: usize = 256;

pub use inferbus_pipeline::limits::{BATCH, BATCH_BYTES, ERROR_TEXT};

/// Bundles fetched, compiled and warmed up at the same time.
pub const LOADS: usize = 2;

/// Trial results kept in memory and on disk, and the bytes of one and of all of them on disk.
pub const TRIALS: usize = 20_000;
pub const TRIAL_NOTE: usize = 64;
pub const TRIAL_NOTES: u64 = (TRIALS * TRIAL_NOTE) as u64;

/// The default of the largest engine.time in an entry.
pub const MODEL_TIME: Duration = Duration::from_secs(60);

/// The time limit of a load, from the first fetched byte to service.
pub const LOAD: Duration = Duration::from_secs(120);

/// Models loaded at once, and models loaded at the start without a request.
pub const MODELS: usize = 1024;
pub const EAGER_MODELS: usize = 256;

/// The memory of all models if the system does not report its memory.
pub const MODEL_MEMORY: u64 = 1 << 30;

/// The memory of a bundle besides its files, and the factor for its model's size. A model of a few bytes with two small
/// plugins takes 3 MiB on two lanes.
pub const BUNDLE_BYTES: u64 = 2 << 20;
pub const MODEL_FACTOR: u64 = 3;

/// A bundle with messages in flight is not evicted within this time after its load. Two busy models would otherwise
/// evict each other forever if memory suffices for one of them.
pub const RESIDENCE: Duration = Duration::from_secs(1);
/// The interval of a load's checks whether its reserved memory is free.
pub const VACANCY_LOOK: Duration = Duration::from_millis(5);

/// The interval between two records of a cached artifact's use, for the order of evictions.
pub const ARTIFACT_TOUCH: Duration = Duration::from_secs(60 * 60);
/// A larger cached artifact is hashed by a second thread, this many bytes behind its reader.
pub const HASHED_AT_ONCE: usize = 1 << 20;
/// Artifacts kept on disk.
pub const CACHED_ARTIFACTS: usize = 10_000;

/// Models read individually after a change. For more models only their names are read.
pub const LOOKS: usize = 64;

/// The time after the last bundle of a version until its series are removed, and the number of such versions: a scraper
/// must read their last values.
pub const SERIES_AFTER: Duration = Duration::from_secs(300);
pub const GONE_VERSIONS: usize = 128;

/// The interval of a worker's checks whether it still follows the catalog.
pub const LOOK_AROUND: Duration = Duration::from_secs(1);

/// The first and the longest pause before a retry of a load after a transient fault.
pub const RETRY_FIRST: Duration = Duration::from_millis(250);
pub const RETRY_LONGEST: Duration = Duration::from_secs(30);

/// The time limit for messages in flight in a stopping worker.
pub const DRAIN: Duration = Duration::from_secs(20);

/// The time limit for the last round trip to the server in a stopping worker.
pub const FAREWELL: Duration = Duration::from_secs(2);

/// The time limit for the server's confirmation of a subscription. The worker then continues without it.
pub const SUBSCRIBE: Duration = Duration::from_secs(2);

/// The time limit for the server's confirmation of an unsubscription. The worker then continues without it.
pub const UNSUBSCRIBE: Duration = Duration::from_secs(2);

/// The default of `--timeout`.
pub const COMMAND: Duration = Duration::from_secs(5);

/// `status` waits for this time after the last worker's answer.
pub const STATUS_QUIET: Duration = Duration::from_millis(300);

/// The largest answer of a server's monitoring.
pub const MONITOR_BYTES: u64 = 4 << 20;

/// The time limit for the server's report of a connection's permissions. They count as unknown afterwards.
pub const USER_INFO: Duration = Duration::from_secs(1);

/// Streams read by `doctor`, and consumers over all streams.
pub const DOCTOR_OBJECTS: usize = 10_000;

/// Versions read by `doctor` at once.
pub const DOCTOR_READS: usize = 16;

/// Workers listed by one `status` call.
pub const STATUS_WORKERS: usize = 10_000;

/// Models, cold models and readiness problems in a worker's status: the answer must fit into a NATS message.
pub const STATUS_MODELS: usize = 500;
pub const STATUS_COLD: usize = 100;
pub const STATUS_PROBLEMS: usize = 100;

/// Routes followed by one worker.
pub const ROUTES: usize = 4096;

/// Messages of one `inferbus replay` or `inferbus dlq`. It keeps a record of each in memory until its end.
pub const OFFLINE_MESSAGES: u64 = 1_000_000;

/// Messages and payload bytes in flight at once in such a command.
pub const OFFLINE_IN_HAND: usize = 512;
pub const OFFLINE_BYTES: usize = IN_FLIGHT_BYTES;

/// The time limit for the next stored message in such a command.
pub const OFFLINE_READ: Duration = Duration::from_secs(10);

/// Such a command fails after this time without a completed message.
pub const OFFLINE_SILENCE: Duration = Duration::from_secs(600);

/// The time limit for the last round trip of such a command.
pub const OFFLINE_FAREWELL: Duration = Duration::from_secs(10);

/// Dead letters fetched at the same time.
pub const LETTER_READS: usize = 16;

/// The default of `--limit` in `inferbus dlq ls`.
pub const LETTERS_SHOWN: usize = 50;

/// Differing results and failures quoted by a replay.
pub const EXAMPLES: usize = 5;

/// Characters of a result, or of an error in a table.
pub const EXCERPT: usize = 100;

/// The time limit for the start of a child process, the server of `inferbus dev`.
pub const SERVER_START: Duration = Duration::from_secs(10);

const _: () = {
    assert!(IN_FLIGHT + STREAM_PLACES <= CLIENT_COMMANDS, "all results must fit into the queue");
    assert!(PAYLOAD + HEADER_ROOM <= STREAM_BYTES, "the largest payload must fit into an idle worker");
    assert!(STREAM_BYTES / BYTES_PER_PERMIT <= u32::MAX as usize, "permits are counted in u32");
    assert!(PULL <= PULL_WINDOW && PULL_WINDOW <= STREAM_PLACES, "a whole pull request must fit");
    assert!(PULL_HEARTBEAT.as_nanos() * 2 < PULL_EXPIRES.as_nanos(), "the server rejects other heartbeats");
    assert!(PULL_EXPIRES.as_nanos() < PIN.as_nanos(), "a waiting worker must not lose its turn");
    assert!(PING.as_nanos() * 3 <= CLOCK_SKEW.as_nanos(), "a duplicate must arrive within the window");
    assert!(CLOCK_SKEW.as_nanos() < DUPLICATE_WINDOW.as_nanos(), "clocks must not hide the whole window");
    assert!(DUPLICATE_WINDOW.as_nanos() <= RESULTS_AGE.as_nanos(), "duplicates are detected by stored messages");
    assert!(RETRY_FIRST.as_nanos() <= RETRY_STORE.as_nanos(), "the pause must be able to grow");
    assert!(IN_FLIGHT <= SUBSCRIPTION, "a full worker must still be able to reject a request");
    assert!(IN_FLIGHT <= CLIENT_COMMANDS, "all replies must fit into the queue");
    assert!(PAYLOAD <= HTTP_BYTES, "the largest body must fit into an idle worker");
    assert!(HTTP_BYTES / BYTES_PER_PERMIT <= u32::MAX as usize, "permits are counted in u32");
    assert!(PAYLOAD <= IN_FLIGHT_BYTES, "the largest payload must fit into an idle worker");
    assert!(IN_FLIGHT_BYTES.is_multiple_of(BYTES_PER_PERMIT), "bytes are counted in whole permits");
    assert!(IN_FLIGHT_BYTES / BYTES_PER_PERMIT <= u32::MAX as usize, "permits are counted in u32");
    assert!(4 * ERROR_TEXT + 2 * TRACE_HEADER + 1024 <= HEADER_ROOM, "an error's text must fit into the headers");
    assert!(
        inferbus_sandbox::limits::COMPILE_TIME.as_millis() < LOAD.as_millis(),
        "a load must receive its compiler's result"
    );
    assert!((LANES + LOADS) * BATCH * 512 <= JOURNAL_BYTES, "a crashed worker's journal must be read completely");
    assert!(BATCH <= IN_FLIGHT && BATCH_BYTES <= IN_FLIGHT_BYTES, "a batch consists of messages in flight");
    assert!(
        inferbus_engine::limits::TRIAL_TIME.as_millis() < LOAD.as_millis(),
        "a load must receive its trial's result"
    );
    assert!(
        inferbus_engine::limits::RUN_TIME.as_millis() <= MODEL_TIME.as_millis(),
        "an entry must be able to request the default"
    );
    assert!(LANES <= OFFLINE_IN_HAND, "each lane of a command must be able to have a message");
    assert!(EAGER_MODELS <= MODELS, "models loaded at the start must fit");
    assert!(RETRY_FIRST.as_millis() < RETRY_LONGEST.as_millis(), "the pause must be able to grow");
};
