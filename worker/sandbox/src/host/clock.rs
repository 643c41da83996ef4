//! The time limit of calls, in processor time. Waits on a busy machine do not count.
//!
//! Guarantees: a call within its limit is never stopped. A longer call is stopped within two ticks after its limit.
//! Elapsed time would charge a plugin for its neighbours: on two busy processors a call of 50 µs took 50 ms.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use wasmtime::{Store, StoreContextMut, UpdateDeadline};

use super::state::HostState;
use crate::limits::TICK;

/// Restarts the time of a plugin.
pub(crate) fn start(store: &mut Store<HostState>) {
    store.data_mut().busy_since = None;
    // Most calls end before the first tick, without a system call for the time.
    store.set_epoch_deadline(1);
}

/// Called at each deadline: interrupts the guest or sets the next deadline.
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
    // The clock starts at zero with the thread, so it cannot be negative.
    Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap_or_default()
}
