//! The cost of work in this process, in processor time: a busy machine has little effect on it.

use std::sync::Barrier;
use std::thread;
use std::time::Duration;

use anyhow::anyhow;
use rustix::time::{ClockId, clock_gettime};

/// The processor time of this thread so far.
fn thread_time() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap_or_default()
}

/// The processor time of all threads of this process, and the elapsed time.
#[derive(Clone, Copy, Default)]
pub struct Spent {
    pub cpu: Duration,
    pub elapsed: Duration,
}

impl Spent {
    pub fn so_far() -> Self {
        let read = |clock| Duration::try_from(clock_gettime(clock)).unwrap_or_default();
        Self { cpu: read(ClockId::ProcessCPUTime), elapsed: read(ClockId::Monotonic) }
    }

    /// The difference to now.
    pub fn since(self) -> Self {
        let now = Self::so_far();
        Self { cpu: now.cpu.saturating_sub(self.cpu), elapsed: now.elapsed.saturating_sub(self.elapsed) }
    }
}

/// The mean microseconds of one call.
pub fn micros(calls: usize, mut call: impl FnMut() -> anyhow::Result<()>) -> anyhow::Result<f64> {
    let started = thread_time();
    for _ in 0..calls {
        call()?;
    }
    Ok((thread_time() - started).as_secs_f64() * 1e6 / calls as f64)
}

/// [`micros`] on one thread per lane at the same time, as the mean over lanes.
pub fn micros_at_once<L: Send>(
    lanes: &mut [L],
    calls: usize,
    call: impl Fn(&mut L) -> anyhow::Result<()> + Sync,
) -> anyhow::Result<f64> {
    let (count, start) = (lanes.len() as f64, Barrier::new(lanes.len()));
    let (start, call) = (&start, &call);
    let sum = thread::scope(|scope| {
        let threads: Vec<_> = lanes
            .iter_mut()
            .map(|lane| {
                scope.spawn(move || {
                    start.wait();
                    micros(calls, || call(&mut *lane))
                })
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().map_err(|_| anyhow!("a lane panicked"))?)
            .sum::<anyhow::Result<f64>>()
    })?;
    Ok(sum / count)
}
