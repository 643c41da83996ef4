//! Stops overlong runs: one thread per process asks ONNX Runtime to terminate them.
//!
//! Guarantees: a run is never stopped early, nor because of the previous run. A run within its limit costs two atomic
//! operations, without a clock or a system call. A run is counted as stuck while it ignores its stop request.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;
use std::{ptr, ptr::NonNull, thread};

use ort::{api, sys};

use super::convert::check;
use crate::limits::{STUCK, TICK};
use crate::{EngineFault, ModelFault, fault::one_line};

/// One lane's timer for one model.
pub(crate) struct Timer {
    slot: Arc<Slot>,
    limit: Duration,
    /// Whether runs allocate from an arena, which retains memory.
    arena: bool,
    /// Whether the next run releases the memory of a stopped run.
    cleaning: bool,
}

/// State shared by the lane and the watching thread.
struct Slot {
    /// The model's name for the log.
    label: Arc<str>,
    options: RunOptions,
    /// The tick of the run's deadline, or [`IDLE`] between runs. With [`STOPPED`], the tick of the stop request.
    due: AtomicU64,
    /// Held while the run is stopped, so that the stop cannot reach the next run.
    stopping: Mutex<()>,
    stuck: AtomicBool,
}

const IDLE: u64 = 0;
const STOPPED: u64 = 1 << 63;

/// Ticks so far. They are counted, not measured: while the process is suspended, runs do not age.
static TICKS: AtomicU64 = AtomicU64::new(1);
static STUCK_RUNS: AtomicUsize = AtomicUsize::new(0);

/// The number of runs that ignore their stop request. Each occupies a lane.
pub fn stuck_runs() -> usize {
    STUCK_RUNS.load(Ordering::Relaxed)
}

impl Timer {
    pub(crate) fn new(limit: Duration, arena: bool, label: Arc<str>) -> Result<Self, EngineFault> {
        let options = RunOptions::new().map_err(|fault| EngineFault::Refused(fault.to_string()))?;
        let slot =
            Slot { label, options, due: AtomicU64::new(IDLE), stopping: Mutex::new(()), stuck: AtomicBool::new(false) };
        let slot = Arc::new(slot);
        watched()?.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&slot));
        Ok(Self { slot, limit, arena, cleaning: false })
    }

    /// Times one run, which must use the given options. `&mut self` allows one run at a time.
    pub(crate) fn time(
        &mut self,
        run: impl FnOnce(*const sys::OrtRunOptions) -> Result<(), ModelFault>,
    ) -> Result<(), ModelFault> {
        // The current tick does not count.
        let due = TICKS.load(Ordering::Relaxed) + ticks(self.limit) + 1;
        self.slot.due.store(due, Ordering::Release);
        let ran = run(self.slot.options.0.as_ptr());
        let stopped = self.slot.due.swap(IDLE, Ordering::AcqRel) & STOPPED != 0;
        if self.cleaning {
            self.cleaning = false;
            self.slot.options.shrink_arena(false);
        }
        if !stopped {
            return ran;
        }
        self.slot.reset();
        // An endless loop allocated 200 MB in 0.2 s. The arena would keep them for the life of the session.
        self.cleaning = self.arena && self.slot.options.shrink_arena(true);
        ran.map_err(|_| ModelFault::OutOfTime { limit: self.limit })
    }
}

fn ticks(time: Duration) -> u64 {
    // Far below the bit `STOPPED`.
    u64::try_from(time.as_nanos().div_ceil(TICK.as_nanos())).unwrap_or(u64::MAX).min(u64::MAX >> 8)
}

impl Slot {
    /// Checks the run, on the watching thread.
    fn check(&self, now: u64) {
        let due = self.due.load(Ordering::Acquire);
        if due & STOPPED == 0 {
            if due != IDLE && due <= now {
                self.stop(due, now);
            }
        } else if now.saturating_sub(due & !STOPPED) > ticks(STUCK) && !self.stuck.swap(true, Ordering::Relaxed) {
            STUCK_RUNS.fetch_add(1, Ordering::Relaxed);
            tracing::error!(
                model = &*self.label,
                "a model ignores the request to stop after its time limit and occupies a lane: \
                 restart this worker and activate another version"
            );
        }
    }

    fn stop(&self, due: u64, now: u64) {
        let _stopping = self.stopping.lock().unwrap_or_else(PoisonError::into_inner);
        // Meanwhile it may have ended, and the next run may have started.
        if self.due.compare_exchange(due, STOPPED | now, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
            self.options.terminate();
        }
    }

    /// Prepares the options for the next run.
    fn reset(&self) {
        let _stopping = self.stopping.lock().unwrap_or_else(PoisonError::into_inner);
        self.options.unset_terminate();
        if self.stuck.swap(false, Ordering::Relaxed) {
            STUCK_RUNS.fetch_sub(1, Ordering::Relaxed);
            tracing::warn!(model = &*self.label, "a stuck model has ended");
        }
    }
}

type Watched = Mutex<Vec<Arc<Slot>>>;

/// The watched timers. The first call starts the watching thread.
fn watched() -> Result<&'static Watched, EngineFault> {
    static WATCHED: Watched = Mutex::new(Vec::new());
    static STARTED: OnceLock<Result<(), String>> = OnceLock::new();
    let start = || thread::Builder::new().name("model-clock".into()).spawn(|| watch(&WATCHED)).map(drop);
    let started = STARTED.get_or_init(|| start().map_err(|why| one_line(&why.to_string())));
    started.clone().map(|()| &WATCHED).map_err(|why| EngineFault::NoClock { why })
}

fn watch(watched: &Watched) {
    loop {
        thread::sleep(TICK);
        let now = TICKS.fetch_add(1, Ordering::Relaxed) + 1;
        let mut slots = watched.lock().unwrap_or_else(PoisonError::into_inner);
        // The timer of an unshared slot is gone.
        slots.retain(|slot| Arc::strong_count(slot) > 1);
        slots.iter().for_each(|slot| slot.check(now));
    }
}

/// ONNX Runtime's run options. Other threads only change the terminate flag.
struct RunOptions(NonNull<sys::OrtRunOptions>);

// SAFETY: other threads only change the terminate flag, and ONNX Runtime documents that they may do so during a run.
unsafe impl Send for RunOptions {}
// SAFETY: as above.
unsafe impl Sync for RunOptions {}

impl RunOptions {
    fn new() -> Result<Self, ModelFault> {
        let mut options = ptr::null_mut();
        // SAFETY: `options` is ours to write to.
        unsafe { check((api().CreateRunOptions)(&mut options)) }?;
        NonNull::new(options)
            .map(Self)
            .ok_or_else(|| ModelFault::failed("it returned neither run options nor an error"))
    }

    fn terminate(&self) {
        // SAFETY: the options live. Setting the flag cannot fail.
        let _ = unsafe { check((api().RunOptionsSetTerminate)(self.0.as_ptr())) };
    }

    fn unset_terminate(&self) {
        // SAFETY: as above.
        let _ = unsafe { check((api().RunOptionsUnsetTerminate)(self.0.as_ptr())) };
    }

    /// Sets whether the next runs release the arena's unused memory at their end.
    fn shrink_arena(&self, shrink: bool) -> bool {
        let value = if shrink { c"cpu:0" } else { c"" };
        let key = c"memory.enable_memory_arena_shrinkage";
        // SAFETY: the options live and no run uses them; both texts are constants.
        unsafe { check((api().AddRunConfigEntry)(self.0.as_ptr(), key.as_ptr(), value.as_ptr())) }.is_ok()
    }
}

impl Drop for RunOptions {
    fn drop(&mut self) {
        // SAFETY: we own the options, and no run uses them: a timer outlives its runs.
        unsafe { (api().ReleaseRunOptions)(self.0.as_ptr()) }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    /// Imitates an operator without a check for the terminate flag.
    #[test]
    fn a_run_that_ignores_its_stop_is_counted_until_it_ends() {
        let library = std::env::var_os("ORT_DYLIB_PATH").map(std::path::PathBuf::from);
        crate::load_runtime(library.as_deref()).unwrap();
        let limit = Duration::from_millis(20);
        let mut timer = Timer::new(limit, true, "deaf 1.0.0".into()).unwrap();
        let patience = Instant::now() + 10 * STUCK;
        let ended = timer.time(|_| {
            while stuck_runs() == 0 {
                assert!(Instant::now() < patience, "it was never counted");
                thread::sleep(TICK);
            }
            Err(ModelFault::failed("it was stopped"))
        });
        assert_eq!(ended, Err(ModelFault::OutOfTime { limit }));
        assert_eq!(stuck_runs(), 0);
        assert_eq!(timer.time(|_| Ok(())), Ok(()));
    }
}
