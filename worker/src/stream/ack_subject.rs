//! The acknowledgement subject of a delivery: the server's description of a stored message.

use std::time::Duration;

/// A delivery as its acknowledgement subject describes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredMessage {
    pub sequence: u64,
    /// The consumer's count of all its deliveries.
    pub consumer_sequence: u64,
    /// Deliveries of this message, including this one.
    pub deliveries: u64,
    /// The time of storage, since the Unix epoch.
    pub at: Duration,
    /// Messages of the consumer without a delivery.
    pub pending: u64,
}

impl StoredMessage {
    /// Reads `$JS.ACK.<domain>.<account>.<stream>.<consumer>.<numbers>.<token>`. The numbers are
    /// `<deliveries>.<sequence>.<consumer sequence>.<time>.<pending>`. Old servers omit domain, account and token.
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
        let (deliveries, sequence, consumer_sequence) = (next()?, next()?, next()?);
        Some(Self { sequence, consumer_sequence, deliveries, at: Duration::from_nanos(next()?), pending: next()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const READ: StoredMessage = StoredMessage {
        sequence: 70,
        consumer_sequence: 90,
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
            assert_eq!(StoredMessage::read(ack), Some(READ), "{ack}");
        }
    }

    #[test]
    fn other_subjects_are_rejected() {
        for ack in ["", "_INBOX.a", "$JS.ACK.S.c.2.70.90.17", "$JS.ACK.S.c.x.70.90.17.5", "$JS.ACK._.h.S.c.2.70.90.17"]
        {
            assert_eq!(StoredMessage::read(ack), None, "{ack}");
        }
    }
}
