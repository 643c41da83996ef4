//! A position in a stream, as written on the command line: a sequence, a time, or a span before now.

use std::str::FromStr;
use std::time::Duration;

use async_nats::datetime::{self, DateTime};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Position {
    Sequence(u64),
    Time(DateTime),
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "write a sequence number, a time such as 2026-11-21T14:00:00Z, or a span before now such as 90s, 15m, 2h or 7d"
)]
pub struct PositionFault;

const SPANS: [(&str, u64); 4] = [("s", 1), ("m", 60), ("h", 3600), ("d", 24 * 3600)];

impl Position {
    /// Parses a position. A span counts back from `now`.
    pub fn parse(text: &str, now: DateTime) -> Result<Self, PositionFault> {
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        if digits > 0
            && let Some((number, unit)) = text.split_at_checked(digits)
        {
            if unit.is_empty() {
                return number.parse().map(Self::Sequence).map_err(|_| PositionFault);
            }
            if let Some((_, seconds)) = SPANS.iter().find(|(name, _)| *name == unit) {
                let seconds = number.parse::<u64>().ok().and_then(|number| number.checked_mul(*seconds));
                let span = Duration::from_secs(seconds.ok_or(PositionFault)?);
                return before(now, span).map(Self::Time).ok_or(PositionFault);
            }
        }
        datetime::parse_rfc3339(text).map(Self::Time).map_err(|_| PositionFault)
    }
}

/// The time `span` earlier, if not before 1970.
pub fn before(time: DateTime, span: Duration) -> Option<DateTime> {
    let nanos = time.unix_timestamp_nanos().checked_sub(i128::try_from(span.as_nanos()).ok()?)?;
    datetime::from_nanos(nanos).ok().filter(|time| time.unix_timestamp_nanos() >= 0)
}

impl FromStr for Position {
    type Err = PositionFault;

    fn from_str(text: &str) -> Result<Self, PositionFault> {
        Self::parse(text, datetime::now())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> DateTime {
        datetime::parse_rfc3339(text).unwrap()
    }

    #[test]
    fn parses_sequences_times_and_spans() {
        let now = at("2026-11-21T14:00:00Z");
        let read = |text| Position::parse(text, now).unwrap();
        assert_eq!(read("17"), Position::Sequence(17));
        assert_eq!(read("0"), Position::Sequence(0));
        assert_eq!(read("18446744073709551615"), Position::Sequence(u64::MAX));
        assert_eq!(read("2h"), Position::Time(at("2026-11-21T12:00:00Z")));
        assert_eq!(read("90s"), Position::Time(at("2026-11-21T13:58:30Z")));
        assert_eq!(read("15m"), Position::Time(at("2026-11-21T13:45:00Z")));
        assert_eq!(read("7d"), Position::Time(at("2026-11-14T14:00:00Z")));
        assert_eq!(read("2026-11-20T10:00:00.5Z"), Position::Time(at("2026-11-20T10:00:00.5Z")));
        assert_eq!(read("2026-11-20T10:00:00+02:00"), Position::Time(at("2026-11-20T08:00:00Z")));
    }

    #[test]
    fn rejects_all_other_text() {
        let now = at("2026-11-21T14:00:00Z");
        for bad in [
            "",
            "-1",
            "+1",
            "2 h",
            "2w",
            "h",
            "1.5h",
            "yesterday",
            "2026-11-21",
            "18446744073709551616",
            "99999999999d",
        ] {
            assert_eq!(Position::parse(bad, now), Err(PositionFault), "{bad:?}");
        }
    }
}
