//! The return value of a plugin's `transform`: a pointer, a length and an error mark in one 64-bit number.

const ERROR: u64 = 1 << 63;
const POINTER: u64 = 0x7fff_ffff;

/// A plugin's answer to one message. The pointer and length are not yet checked against the plugin's memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Returned {
    /// No result: the message is done and nothing is published.
    Nothing,
    /// The result's bytes.
    Output { ptr: u32, len: u32 },
    /// The message is rejected, with a UTF-8 explanation.
    Error { ptr: u32, len: u32 },
}

impl Returned {
    /// Every 64-bit number has a meaning, so this cannot fail.
    #[must_use]
    pub const fn from_packed(packed: i64) -> Self {
        let bits = packed as u64;
        let ptr = ((bits >> 32) & POINTER) as u32;
        let len = bits as u32;
        match bits {
            0 => Self::Nothing,
            _ if bits & ERROR != 0 => Self::Error { ptr, len },
            _ => Self::Output { ptr, len },
        }
    }

    /// The inverse of [`Returned::from_packed`].
    ///
    /// The error mark takes the pointer's top bit, so bytes at or above 2 GiB cannot be addressed.
    /// An empty output needs a nonzero pointer, or it reads as [`Returned::Nothing`].
    #[must_use]
    pub const fn to_packed(self) -> i64 {
        let bits = match self {
            Self::Nothing => 0,
            Self::Output { ptr, len } => pack(ptr, len),
            Self::Error { ptr, len } => pack(ptr, len) | ERROR,
        };
        bits as i64
    }
}

const fn pack(ptr: u32, len: u32) -> u64 {
    ((ptr as u64 & POINTER) << 32) | len as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn edge_cases_follow_the_contract() {
        assert_eq!(Returned::from_packed(0), Returned::Nothing);
        assert_eq!(Returned::from_packed(i64::MIN), Returned::Error { ptr: 0, len: 0 });
        assert_eq!(Returned::from_packed(-1), Returned::Error { ptr: 0x7fff_ffff, len: u32::MAX });
        assert_eq!(Returned::from_packed(0x0000_0010_0000_0000), Returned::Output { ptr: 16, len: 0 });
    }

    proptest! {
        #[test]
        fn every_number_survives_the_round_trip(packed: i64) {
            prop_assert_eq!(Returned::from_packed(packed).to_packed(), packed);
        }
    }
}
