//! Every bound of the worker, in one place, with the relations that must hold between them.
//!
//! Promises: no queue, wait or buffer in this crate grows past a number named here. The sandbox, the
//! engine and the catalog keep their own bounds in files of the same name.

use std::time::Duration;

/// Messages in hand at once: waiting for a lane, on a lane, or waiting to be published.
pub const IN_FLIGHT: usize = 1024;

/// Payload bytes in hand at once, over all messages in flight.
pub const IN_FLIGHT_BYTES: usize = 256 << 20;

/// The unit in which payload bytes are counted, so that a semaphore's permits suffice.
pub const BYTES_PER_PERMIT: usize = 1 << 10;

/// A payload larger than this is refused whatever the NATS server lets through.
pub const PAYLOAD: usize = 64 << 20;

/// Bodies of HTTP requests that are being read at once, their bytes, and how long each may take.
pub const HTTP_BODIES: usize = 256;
pub const HTTP_BYTES: usize = 256 << 20;
pub const HTTP_BODY: Duration = Duration::from_secs(30);

/// What a message's headers may take of the server's max_payload.
pub const HEADER_ROOM: usize = 8 << 10;

/// Bytes of one trace header that is passed on; the standard asks for 512 at least.
pub const TRACE_HEADER: usize = 512;

/// Messages that the client holds for one subscription before the bus has looked at them.
pub const SUBSCRIPTION: usize = 8 * IN_FLIGHT;

/// How often the client asks whether the server is still there. After three of them without an answer it is not, so nothing
/// that was sent is on its way for longer.
pub const PING: Duration = Duration::from_secs(10);

/// The longest pause between two tries to connect again; each is at least half as long as it may be at most.
pub const RECONNECT_LONGEST: Duration = Duration::from_secs(4);

/// Commands that wait for the client's connection task.
pub const CLIENT_COMMANDS: usize = 2 * IN_FLIGHT;

/// Messages of streams in hand at once, and what was asked for, over all routes.
pub const STREAM_PLACES: usize = 1024;

/// Their payload bytes.
pub const STREAM_BYTES: usize = 256 << 20;

/// What one route asks for at once, in messages and bytes.
pub const PULL: usize = 256;
pub const PULL_BYTES: usize = 8 << 20;
/// What it asks for at least, in bytes; a message that is larger is asked for by itself.
pub const PULL_LEAST: usize = 64 << 10;

/// How long the server keeps a request for messages, and how often it says that it still has it.
pub const PULL_EXPIRES: Duration = Duration::from_secs(30);
pub const PULL_HEARTBEAT: Duration = Duration::from_secs(2);

/// How often a stream's route looks whether it may go on, when nothing else wakes it.
pub const FEED_TICK: Duration = Duration::from_millis(250);

/// A route has in hand at least so many messages for each lane, and at most what it settled lately.
pub const LEAST_PER_LANE: usize = 2;
pub const PULL_WINDOW: usize = 512;
pub const PULL_WINDOW_SPAN: Duration = Duration::from_millis(100);

/// Signs of life for a message in hand, in one ack wait.
pub const IN_PROGRESS_PER_ACK_WAIT: u32 = 4;

/// How often the server is asked how much waits in a consumer.
pub const CONSUMER_POLL: Duration = Duration::from_secs(5);

/// How long the server may take to confirm a result or an acknowledgement.
pub const CONFIRM: Duration = Duration::from_secs(5);

/// The longest pause before a result that could not be stored is published again, and before a route that cannot be served
/// is looked at again.
pub const RETRY_STORE: Duration = Duration::from_secs(5);
pub const RETRY_SETUP: Duration = Duration::from_secs(5);

/// Within this time the server itself knows what it has stored already.
pub const DUPLICATE_WINDOW: Duration = Duration::from_secs(120);

/// How far the clocks of workers and servers may be apart, or how long something may be on its way.
pub const CLOCK_SKEW: Duration = Duration::from_secs(30);

/// How long results are kept by a result stream that Inferbus makes.
pub const RESULTS_AGE: Duration = Duration::from_secs(7 * 24 * 3600);

/// Dead letters that are kept.
pub const DEAD_LETTERS: i64 = 1_000_000;

/// A route tells of one dead letter in so much time.
pub const DEAD_LETTER_LINES: Duration = Duration::from_secs(1);

/// Messages that a consumer has delivered and not heard of, over all workers, and requests that it keeps.
pub const UNACKED: i64 = 65_536;
pub const WAITING_PULLS: i64 = 4096;

/// An ordered route's worker that asks for nothing for so long makes way for another.
pub const PIN: Duration = Duration::from_secs(60);

/// How long deaths of workers are remembered, and how many lines of them.
pub const CRASH_MEMORY: Duration = Duration::from_secs(7 * 24 * 3600);
pub const CRASH_LINES: usize = 10_000;

/// Journals of dead workers that are read at a start, and what is read of each.
pub const JOURNALS: usize = 10_000;
pub const JOURNAL_BYTES: usize = 32 << 20;

/// Compute threads of one worker.
pub const LANES: usize = 256;

pub use inferbus_pipeline::limits::{BATCH, BATCH_BYTES, ERROR_TEXT};

/// Bundles that are fetched, compiled and warmed up at the same time.
pub const LOADS: usize = 2;

/// Trials that are remembered, here and on disk, and what a note of one, and all of them, may take there.
pub const TRIALS: usize = 20_000;
pub const TRIAL_NOTE: usize = 64;
pub const TRIAL_NOTES: u64 = (TRIALS * TRIAL_NOTE) as u64;

/// The most time of one run that an entry may ask for, unless the operator says otherwise.
pub const MODEL_TIME: Duration = Duration::from_secs(60);

/// How long one bundle may take from the first byte fetched to serving.
pub const LOAD: Duration = Duration::from_secs(120);

/// Models that are loaded at once, and those of them that are loaded at the start without having been asked for.
pub const MODELS: usize = 1024;
pub const EAGER_MODELS: usize = 256;

/// Where the system does not say how much memory there is: what all models may take.
pub const MODEL_MEMORY: u64 = 1 << 30;

/// What a bundle takes besides its files (a model of a few bytes with two small plugins: 3 MiB on two lanes), and how often the
/// size of its model.
pub const BUNDLE_BYTES: u64 = 2 << 20;
pub const MODEL_FACTOR: u64 = 3;

/// A bundle that has messages in hand makes no room for another sooner than this after it was loaded: two busy models that
/// fit one at a time would do nothing but make room for each other.
pub const RESIDENCE: Duration = Duration::from_secs(1);
/// How often a load looks whether the memory that it was promised is free by now.
pub const VACANCY_LOOK: Duration = Duration::from_millis(5);

/// How often the use of a cached artifact is noted, for the order in which they are evicted.
pub const ARTIFACT_TOUCH: Duration = Duration::from_secs(60 * 60);
/// A cached artifact larger than this is hashed by a second thread, this many bytes behind the one that reads it.
pub const HASHED_AT_ONCE: usize = 1 << 20;
/// Artifacts that are kept on disk.
pub const CACHED_ARTIFACTS: usize = 10_000;

/// Models that are looked at one by one after a change; of more, only the list of names is read.
pub const LOOKS: usize = 64;

/// How long the series of a version stay in the metrics after its bundle, and of how many: their last numbers must be read.
pub const SERIES_AFTER: Duration = Duration::from_secs(300);
pub const GONE_VERSIONS: usize = 128;

/// How often a worker asks itself whether it still follows the catalog.
pub const LOOK_AROUND: Duration = Duration::from_secs(1);

/// The first and the longest pause before a load is tried again after a fault that may pass.
pub const RETRY_FIRST: Duration = Duration::from_millis(250);
pub const RETRY_LONGEST: Duration = Duration::from_secs(30);

/// How long a stopping worker waits for the messages in hand.
pub const DRAIN: Duration = Duration::from_secs(20);

/// How long the last round trip to the server may take before the worker leaves.
pub const FAREWELL: Duration = Duration::from_secs(2);

/// How long the server may take to confirm a subscription before the worker goes on without.
pub const SUBSCRIBE: Duration = Duration::from_secs(2);

/// How long the server may take to confirm that a subscription has ended before the worker leaves it behind.
pub const UNSUBSCRIBE: Duration = Duration::from_secs(2);

/// How long a command waits for the server, unless `--timeout` says otherwise.
pub const COMMAND: Duration = Duration::from_secs(5);

/// How long `status` listens for workers after the last one has answered.
pub const STATUS_QUIET: Duration = Duration::from_millis(300);

/// What a server's monitoring may answer.
pub const MONITOR_BYTES: u64 = 4 << 20;

/// How long the server may take to say what a connection may do, before it is taken for a secret.
pub const USER_INFO: Duration = Duration::from_secs(1);

/// Streams, and consumers over all of them, that `doctor` looks at.
pub const DOCTOR_OBJECTS: usize = 10_000;

/// Versions that `doctor` looks for at once.
pub const DOCTOR_READS: usize = 16;

/// Workers that one `status` call lists.
pub const STATUS_WORKERS: usize = 10_000;

/// Models that a worker tells of in its status, cold ones besides, and reasons why it is not ready: an answer must fit
/// into a message of NATS.
pub const STATUS_MODELS: usize = 500;
pub const STATUS_COLD: usize = 100;
pub const STATUS_PROBLEMS: usize = 100;

/// Routes that one worker follows.
pub const ROUTES: usize = 4096;

/// Messages that one `inferbus replay` or `inferbus dlq` takes: what it remembers of each stays in memory to the end.
pub const OFFLINE_MESSAGES: u64 = 1_000_000;

/// Messages and payload bytes that such a command has in hand at once.
pub const OFFLINE_IN_HAND: usize = 512;
pub const OFFLINE_BYTES: usize = IN_FLIGHT_BYTES;

/// How long such a command waits for the next stored message.
pub const OFFLINE_READ: Duration = Duration::from_secs(10);

/// How long no message may come to its end before such a command gives up.
pub const OFFLINE_SILENCE: Duration = Duration::from_secs(600);

/// How long the last round trip of such a command may take.
pub const OFFLINE_FAREWELL: Duration = Duration::from_secs(10);

/// Dead letters that are fetched at the same time.
pub const LETTER_READS: usize = 16;

/// Dead letters that `inferbus dlq ls` shows, unless `--limit` says otherwise.
pub const LETTERS_SHOWN: usize = 50;

/// Messages of which a replay tells how their results differ, and failures that it quotes.
pub const EXAMPLES: usize = 5;

/// Characters of a result, or of an error in a table.
pub const EXCERPT: usize = 100;

/// The time a child process (`inferbus dev`'s server) gets to start.
pub const SERVER_START: Duration = Duration::from_secs(10);

const _: () = {
    assert!(IN_FLIGHT + STREAM_PLACES <= CLIENT_COMMANDS, "every message in hand must be able to hand over its result");
    assert!(PAYLOAD + HEADER_ROOM <= STREAM_BYTES, "the largest payload must fit into an idle worker");
    assert!(STREAM_BYTES / BYTES_PER_PERMIT <= u32::MAX as usize, "permits are counted in u32");
    assert!(PULL <= PULL_WINDOW && PULL_WINDOW <= STREAM_PLACES, "a route must be able to have what it asks for");
    assert!(PULL_HEARTBEAT.as_nanos() * 2 < PULL_EXPIRES.as_nanos(), "the server refuses other heartbeats");
    assert!(PULL_EXPIRES.as_nanos() < PIN.as_nanos(), "a waiting worker must not lose its turn");
    assert!(PING.as_nanos() * 3 <= CLOCK_SKEW.as_nanos(), "what is sent must arrive before the server has forgotten");
    assert!(CLOCK_SKEW.as_nanos() < DUPLICATE_WINDOW.as_nanos(), "clocks must not hide the whole window");
    assert!(DUPLICATE_WINDOW.as_nanos() <= RESULTS_AGE.as_nanos(), "the server knows duplicates from stored messages");
    assert!(RETRY_FIRST.as_nanos() <= RETRY_STORE.as_nanos(), "the pause must be able to grow");
    assert!(IN_FLIGHT <= SUBSCRIPTION, "a full worker must still be able to refuse what arrives");
    assert!(IN_FLIGHT <= CLIENT_COMMANDS, "every message in hand must be able to hand over its reply");
    assert!(PAYLOAD <= HTTP_BYTES, "the largest body must fit into an idle worker");
    assert!(HTTP_BYTES / BYTES_PER_PERMIT <= u32::MAX as usize, "permits are counted in u32");
    assert!(PAYLOAD <= IN_FLIGHT_BYTES, "the largest payload must fit into an idle worker");
    assert!(IN_FLIGHT_BYTES.is_multiple_of(BYTES_PER_PERMIT), "bytes are counted in whole permits");
    assert!(IN_FLIGHT_BYTES / BYTES_PER_PERMIT <= u32::MAX as usize, "permits are counted in u32");
    assert!(4 * ERROR_TEXT + 2 * TRACE_HEADER + 1024 <= HEADER_ROOM, "an error's text must fit into the headers");
    assert!(
        inferbus_sandbox::limits::COMPILE_TIME.as_millis() < LOAD.as_millis(),
        "a load must hear how its compiler ended"
    );
    assert!((LANES + LOADS) * BATCH * 512 <= JOURNAL_BYTES, "a dead worker's journal must be read whole");
    assert!(BATCH <= IN_FLIGHT && BATCH_BYTES <= IN_FLIGHT_BYTES, "a batch is of messages in hand");
    assert!(
        inferbus_engine::limits::TRIAL_TIME.as_millis() < LOAD.as_millis(),
        "a load must hear how its model's trial ended"
    );
    assert!(
        inferbus_engine::limits::RUN_TIME.as_millis() <= MODEL_TIME.as_millis(),
        "an entry must be able to ask for what it gets without asking"
    );
    assert!(LANES <= OFFLINE_IN_HAND, "every lane of a command must be able to have a message");
    assert!(EAGER_MODELS <= MODELS, "what is loaded at the start must find room");
    assert!(RETRY_FIRST.as_millis() < RETRY_LONGEST.as_millis(), "the pause must be able to grow");
};
