//! A plugin's time: what it used of the processor, however long a busy machine kept it waiting.
//!
//! Promises: a call that needs no more than its limit is never stopped, and one that needs more is stopped within two ticks
//! of it. Counting elapsed time instead would blame a plugin for its neighbours: on two busy processors a call of 50 µs
//! was seen to take longer than 50 ms.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use wasmtime::{Store, StoreContextMut, UpdateDeadline};

use super::state::HostState;
use crate::limits::TICK;

/// Starts a plugin's time anew.
pub(crate) fn start(store: &mut Store<HostState>) {
    store.data_mut().busy_since = None;
    // Most calls end before the first tick, and never ask the operating system for the time.
    store.set_epoch_deadline(1);
}

/// What happens when a deadline has come.
pub(crate) fn on_deadline(mut store: StoreContextMut<'_, HostState>) -> wasmtime::Result<UpdateDeadline> {
    let state = store.data_mut();
    let limit = state.bounds.time;
    let now = processor_time();
    let used = now.saturating_sub(*state.busy_since.get_or_insert(now));
    Ok(match limit.checked_sub(used) {
        Some(left) if !left.is_zero() => UpdateDeadline::Continue(ticks(left)),
        _ => UpdateDeadline::Interrupt,
    })
}

fn ticks(time: Duration) -> u64 {
    u64::try_from(time.as_nanos().div_ceil(TICK.as_nanos())).unwrap_or(u64::MAX / 2).max(1)
}

/// The processor time of this thread so far.
fn processor_time() -> Duration {
    // The clock starts at zero with the thread, so it is never negative.
    Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap_or_default()
}
