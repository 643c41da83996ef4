//! The pause before a retry.

use std::time::Duration;

use crate::limits;

/// Doubles with each try, within bounds.
pub fn pause(tries: u64) -> Duration {
    let doublings = u32::try_from(tries.saturating_sub(1)).unwrap_or(u32::MAX).min(16);
    limits::RETRY_FIRST.saturating_mul(1 << doublings).min(limits::RETRY_LONGEST)
}
