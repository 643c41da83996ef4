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

/// What a message's headers may take of the server's max_payload.
pub const HEADER_ROOM: usize = 8 << 10;

/// Bytes of one trace header that is passed on; the standard asks for 512 at least.
pub const TRACE_HEADER: usize = 512;

/// Messages that the client holds for one subscription before the bus has looked at them.
pub const SUBSCRIPTION: usize = 8 * IN_FLIGHT;

/// Commands that wait for the client's connection task.
pub const CLIENT_COMMANDS: usize = 2 * IN_FLIGHT;

/// Compute threads of one worker.
pub const LANES: usize = 256;

/// Bundles that are fetched, compiled and warmed up at the same time.
pub const LOADS: usize = 2;

/// How long one bundle may take from the first byte fetched to serving.
pub const LOAD: Duration = Duration::from_secs(120);

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

/// Workers that one `status` call lists.
pub const STATUS_WORKERS: usize = 10_000;

/// Routes that one worker follows.
pub const ROUTES: usize = 4096;

/// Characters of an error message in a reply header: some clients refuse longer header lines.
pub const ERROR_TEXT: usize = 1024;

/// The time a child process (`inferbus dev`'s server) gets to start.
pub const SERVER_START: Duration = Duration::from_secs(10);

const _: () = {
    assert!(IN_FLIGHT <= SUBSCRIPTION, "a full worker must still be able to refuse what arrives");
    assert!(IN_FLIGHT <= CLIENT_COMMANDS, "every message in hand must be able to hand over its reply");
    assert!(PAYLOAD <= IN_FLIGHT_BYTES, "the largest payload must fit into an idle worker");
    assert!(IN_FLIGHT_BYTES.is_multiple_of(BYTES_PER_PERMIT), "bytes are counted in whole permits");
    assert!(IN_FLIGHT_BYTES / BYTES_PER_PERMIT <= u32::MAX as usize, "permits are counted in u32");
    assert!(4 * ERROR_TEXT + 2 * TRACE_HEADER + 1024 <= HEADER_ROOM, "an error's text must fit into the headers");
    assert!(
        inferbus_sandbox::limits::COMPILE_TIME.as_millis() < LOAD.as_millis(),
        "a load must hear how its compiler ended"
    );
    assert!(RETRY_FIRST.as_millis() < RETRY_LONGEST.as_millis(), "the pause must be able to grow");
};
