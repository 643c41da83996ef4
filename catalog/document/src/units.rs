//! Byte sizes and time spans of entries: a whole number directly followed by a unit.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::text::excerpt;

const SIZES: [(&str, u64); 4] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];
const SPANS: [(&str, u64); 3] = [("s", 1_000_000), ("ms", 1_000), ("us", 1)];
const DIGITS: usize = 10;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{shown} is not {what}")]
pub struct UnitFault {
    shown: String,
    what: &'static str,
}

/// A number of bytes: `64MiB`. Units: B, KiB, MiB, GiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(u64);

/// A time span: `50ms`. Units: us, ms, s.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(u64);

impl ByteSize {
    pub const fn new(bytes: u64) -> Self {
        Self(bytes)
    }

    pub fn bytes(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl Span {
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    pub const fn duration(self) -> Duration {
        Duration::from_micros(self.0)
    }
}

impl FromStr for ByteSize {
    type Err = UnitFault;

    fn from_str(text: &str) -> Result<Self, UnitFault> {
        let what = "a size; write a whole number and B, KiB, MiB or GiB, like 64MiB";
        scaled(text, &SIZES).map(Self).ok_or_else(|| UnitFault { shown: excerpt(text), what })
    }
}

impl FromStr for Span {
    type Err = UnitFault;

    fn from_str(text: &str) -> Result<Self, UnitFault> {
        let what = "a time; write a whole number and us, ms or s, like 50ms";
        scaled(text, &SPANS).map(Self).ok_or_else(|| UnitFault { shown: excerpt(text), what })
    }
}

/// Rejects zero and leading zeros: they are probably mistakes, and a value needs few spellings.
fn scaled(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits)?;
    if number.starts_with('0') || digits > DIGITS {
        return None;
    }
    let (_, scale) = units.iter().find(|(name, _)| *name == unit)?;
    number.parse::<u64>().ok()?.checked_mul(*scale)
}

/// Uses the largest unit without a remainder, so equal values have equal texts.
fn written(value: u64, units: &[(&str, u64)], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let fits = |(_, scale): &&(&str, u64)| value.is_multiple_of(*scale);
    let (unit, scale) = units.iter().find(fits).copied().unwrap_or(("", 1));
    write!(f, "{}{unit}", value / scale)
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        written(self.0, &SIZES, f)
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        written(self.0, &SPANS, f)
    }
}

macro_rules! as_text {
    ($name:ident, $pattern:literal) => {
        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl schemars::JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({ "type": "string", "pattern": $pattern })
            }
        }
    };
}

as_text!(ByteSize, "^[1-9][0-9]{0,9}(B|KiB|MiB|GiB)$");
as_text!(Span, "^[1-9][0-9]{0,9}(us|ms|s)$");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_spans_are_read_strictly() {
        assert_eq!("64MiB".parse::<ByteSize>().unwrap().bytes(), 64 << 20);
        assert_eq!("1500us".parse::<Span>().unwrap().duration(), Duration::from_micros(1500));
        for bad in [
            "",
            "64",
            "MiB",
            "64 MiB",
            "64mib",
            "64MB",
            "-1B",
            "+1B",
            "1.5GiB",
            "0B",
            "01B",
            "99999999999B",
            "64MiB ",
            "६B",
        ] {
            assert!(bad.parse::<ByteSize>().is_err(), "{bad:?} was read as a size");
        }
        for bad in ["", "50", "ms", "50 ms", "0ms", "1m", "1h", "1e3ms", "99999999999s"] {
            assert!(bad.parse::<Span>().is_err(), "{bad:?} was read as a time");
        }
    }

    #[test]
    fn equal_values_have_equal_texts() {
        assert_eq!("1024KiB".parse::<ByteSize>().unwrap().to_string(), "1MiB");
        assert_eq!("1025KiB".parse::<ByteSize>().unwrap().to_string(), "1025KiB");
        assert_eq!("1000ms".parse::<Span>().unwrap().to_string(), "1s");
    }
}
