//! One delivery of a stored message, and the server's words in the subject on which it is acknowledged.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_nats::{HeaderMap, Subject};
use bytes::Bytes;

use super::intake::Intake;
use super::places::Place;

/// A message in a worker's hands. Dropping it gives its place back, and leaves it to be delivered again.
pub struct Delivery {
    pub intake: Arc<Intake>,
    /// By which the server knows its result.
    pub id: Arc<str>,
    pub subject: Subject,
    /// Where the server wants to hear what became of this delivery.
    pub ack: Subject,
    pub stored: Stored,
    pub headers: Option<HeaderMap>,
    pub payload: Bytes,
    /// Where the result goes, and below which emitted events are published.
    pub output: String,
    pub key: Option<String>,
    /// Not later than the server delivered it. Much earlier only where the worker or its connection stood still.
    pub asked: Instant,
    pub received: Instant,
    pub place: Place,
}

impl Delivery {
    /// When this delivery is given up, whatever its state.
    pub fn deadline(&self) -> Instant {
        self.received + self.intake.options.deadline.duration()
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        self.intake.let_go(self.stored.sequence, self.key.as_deref());
    }
}

/// What the server says of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stored {
    pub sequence: u64,
    /// The consumer's count of its deliveries, of whatever message.
    pub counted: u64,
    /// How often the message has been delivered, this time included.
    pub deliveries: u64,
    /// When the message was stored, since the Unix epoch.
    pub at: Duration,
    /// Messages of the consumer that have never been delivered.
    pub pending: u64,
}

impl Stored {
    /// Reads `$JS.ACK.<domain>.<account>.<stream>.<consumer>.<deliveries>.<sequence>.<consumer sequence>.<time>.<pending>.<token>`,
    /// of which old servers leave out domain, account and token.
    pub fn read(ack: &str) -> Option<Self> {
        const PREFIX: usize = 2;
        const OLD: usize = 9;
        let tokens = ack.split('.').count();
        let skip = PREFIX + if tokens == OLD { 2 } else { 4 };
        if !ack.starts_with("$JS.ACK.") || (tokens != OLD && tokens < OLD + 2) {
            return None;
        }
        let mut numbers = ack.split('.').skip(skip).map(str::parse::<u64>);
        let mut next = || numbers.next()?.ok();
        let (deliveries, sequence, counted) = (next()?, next()?, next()?);
        Some(Self { sequence, counted, deliveries, at: Duration::from_nanos(next()?), pending: next()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const READ: Stored = Stored {
        sequence: 70,
        counted: 90,
        deliveries: 2,
        at: Duration::from_nanos(1_700_000_000_000_000_001),
        pending: 5,
    };

    #[test]
    fn both_forms_are_read() {
        for ack in [
            "$JS.ACK.SENSORS.inferbus-cams.2.70.90.1700000000000000001.5",
            "$JS.ACK._.hash.SENSORS.inferbus-cams.2.70.90.1700000000000000001.5.token",
            "$JS.ACK.leaf.hash.SENSORS.inferbus-cams.2.70.90.1700000000000000001.5.token.more",
        ] {
            assert_eq!(Stored::read(ack), Some(READ), "{ack}");
        }
    }

    #[test]
    fn anything_else_is_not() {
        for ack in ["", "_INBOX.a", "$JS.ACK.S.c.2.70.90.17", "$JS.ACK.S.c.x.70.90.17.5", "$JS.ACK._.h.S.c.2.70.90.17"]
        {
            assert_eq!(Stored::read(ack), None, "{ack}");
        }
    }
}
