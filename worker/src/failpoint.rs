//! Failpoints: named points of the message path at which a test kills the worker.
//!
//! They require the feature `failpoints`. `INFERBUS_FAILPOINT=<point>:<n>` kills the process when the n-th message
//! passes the point. `<point>:payload=<hex>` kills it for every message with this start of the payload.

/// In the order of a stream message.
pub const FETCHED: &str = "fetched";
pub const PRE_DONE: &str = "pre_done";
pub const MODEL_DONE: &str = "model_done";
pub const PUBLISHED: &str = "published";
pub const CONFIRMED: &str = "confirmed";
pub const ACKED: &str = "acked";

#[cfg(not(feature = "failpoints"))]
#[inline]
pub fn pass(_point: &str, _payload: &[u8]) {}

#[cfg(feature = "failpoints")]
pub use armed::pass;

#[cfg(feature = "failpoints")]
mod armed {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    enum When {
        Count(AtomicU64),
        Payload(Vec<u8>),
    }

    static SET: OnceLock<Option<(String, When)>> = OnceLock::new();

    pub fn pass(point: &str, payload: &[u8]) {
        let Some((name, when)) = SET.get_or_init(read) else { return };
        let due = name == point
            && match when {
                When::Count(left) => left.fetch_sub(1, Ordering::Relaxed) == 1,
                When::Payload(start) => payload.starts_with(start),
            };
        if due {
            // A crash: without flushes, destructors or a log line.
            let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
        }
    }

    fn read() -> Option<(String, When)> {
        let text = std::env::var("INFERBUS_FAILPOINT").ok()?;
        let (point, when) = text.split_once(':')?;
        let when = match when.strip_prefix("payload=") {
            Some(hex) => When::Payload(
                (0..hex.len())
                    .step_by(2)
                    .map(|at| u8::from_str_radix(hex.get(at..at + 2)?, 16).ok())
                    .collect::<Option<_>>()?,
            ),
            None => When::Count(AtomicU64::new(when.parse().ok()?)),
        };
        Some((point.to_owned(), when))
    }
}
