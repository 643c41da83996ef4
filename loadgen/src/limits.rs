//! The bounds of a load test.

use std::time::Duration;

/// Outstanding requests: the default and the maximum. Requests above the bound are counted instead of sent.
pub const OUTSTANDING: usize = 16_384;
pub const MAX_OUTSTANDING: usize = 262_144;

pub const CONNECTIONS: usize = 64;
/// Requests per second, and in one run.
pub const RATE: f64 = 10_000_000.0;
pub const REQUESTS: u64 = 1_000_000_000;
/// The length of a run.
pub const LENGTH: Duration = Duration::from_secs(24 * 3600);
/// The wait for an answer.
pub const MAX_WAIT: Duration = Duration::from_secs(600);
/// The wait for the server's confirmation of the subscriptions.
pub const SUBSCRIBE: Duration = Duration::from_secs(2);

/// The interval of checks for late answers.
pub const CHECK: Duration = Duration::from_millis(50);
/// Listening continues this long after a stream's last result.
pub const LINGER: Duration = Duration::from_millis(500);

/// Payloads of a target: files and their total size.
pub const PAYLOADS: usize = 100_000;
pub const PAYLOAD_BYTES: usize = 1 << 30;
/// Generated payloads.
pub const RANDOM: usize = 64;
/// Bytes of stored first answers.
pub const ANSWER_BYTES: usize = 256 << 20;

/// Stored messages of one run, and results of one message.
pub const STORED: usize = 4_000_000;
pub const RESULTS: u32 = 64;
/// Results waiting for the publish ack of their message.
pub const EARLY: usize = 65_536;

/// Error codes with a separate count.
pub const CODES: usize = 64;
/// Examples of each kind of failure.
pub const EXAMPLES: usize = 5;
/// Bytes of an answer in an example.
pub const EXCERPT: usize = 100;

/// Rates of one sweep.
pub const STEPS: usize = 64;

const _: () = assert!(OUTSTANDING <= MAX_OUTSTANDING, "the default must be a permitted value");
