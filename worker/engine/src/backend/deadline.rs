//! Ends runs that take too long: one thread for the whole process, which tells ONNX Runtime to stop them.
//!
//! Promises: a run is never told to stop before its time, nor for the time of the run before it. Below its limit it pays
//! for two atomic operations and asks neither the clock nor the operating system for anything. A run that does not end
//! although it was told to is counted for as long as it lasts.

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
    /// Whether runs take their memory from an arena, which keeps it.
    arena: bool,
    /// Whether the next run gives back what a stopped one has left there.
    cleaning: bool,
}

/// What the lane and the watching thread share.
struct Slot {
    /// Whose run it is, for the log.
    label: Arc<str>,
    options: RunOptions,
    /// The tick at which the run is over its time; [`IDLE`] when nothing runs. With [`TOLD`], the tick at which it was told.
    due: AtomicU64,
    /// Held while the run is told, so that the next one is not.
    telling: Mutex<()>,
    stuck: AtomicBool,
}

const IDLE: u64 = 0;
const TOLD: u64 = 1 << 63;

/// Ticks so far. They are counted, not measured: while the whole process stands still, no run grows older.
static TICKS: AtomicU64 = AtomicU64::new(1);
static STUCK_RUNS: AtomicUsize = AtomicUsize::new(0);

/// How many runs do not end although they were told to: each holds a lane.
pub fn stuck_runs() -> usize {
    STUCK_RUNS.load(Ordering::Relaxed)
}

impl Timer {
    pub(crate) fn new(limit: Duration, arena: bool, label: Arc<str>) -> Result<Self, EngineFault> {
        let options = RunOptions::new().map_err(|fault| EngineFault::Refused(fault.to_string()))?;
        let slot =
            Slot { label, options, due: AtomicU64::new(IDLE), telling: Mutex::new(()), stuck: AtomicBool::new(false) };
        let slot = Arc::new(slot);
        watched()?.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&slot));
        Ok(Self { slot, limit, arena, cleaning: false })
    }

    /// Times one run, which is handed the options that it must run with. `&mut self`: a timer has one hand.
    pub(crate) fn time(
        &mut self,
        run: impl FnOnce(*const sys::OrtRunOptions) -> Result<(), ModelFault>,
    ) -> Result<(), ModelFault> {
        // The tick that has begun does not count.
        let due = TICKS.load(Ordering::Relaxed) + ticks(self.limit) + 1;
        self.slot.due.store(due, Ordering::Release);
        let ran = run(self.slot.options.0.as_ptr());
        let told = self.slot.due.swap(IDLE, Ordering::AcqRel) & TOLD != 0;
        if self.cleaning {
            self.cleaning = false;
            self.slot.options.shrink_arena(false);
        }
        if !told {
            return ran;
        }
        self.slot.forgive();
        // A loop without an end collected 200 MB in 0.2 s, which the arena would keep for as long as the session lives.
        self.cleaning = self.arena && self.slot.options.shrink_arena(true);
        ran.map_err(|_| ModelFault::OutOfTime { limit: self.limit })
    }
}

fn ticks(time: Duration) -> u64 {
    // Far below the bit that says that a run was told.
    u64::try_from(time.as_nanos().div_ceil(TICK.as_nanos())).unwrap_or(u64::MAX).min(u64::MAX >> 8)
}

impl Slot {
    /// Looks at the run from the watching thread.
    fn look(&self, now: u64) {
        let due = self.due.load(Ordering::Acquire);
        if due & TOLD == 0 {
            if due != IDLE && due <= now {
                self.tell(due, now);
            }
        } else if now.saturating_sub(due & !TOLD) > ticks(STUCK) && !self.stuck.swap(true, Ordering::Relaxed) {
            STUCK_RUNS.fetch_add(1, Ordering::Relaxed);
            tracing::error!(
                model = &*self.label,
                "a model does not end although its time is over and ONNX Runtime was told to stop it: its lane is lost until it does; restart this worker, and activate another version"
            );
        }
    }

    fn tell(&self, due: u64, now: u64) {
        let _telling = self.telling.lock().unwrap_or_else(PoisonError::into_inner);
        // It may have ended meanwhile, and the next one begun.
        if self.due.compare_exchange(due, TOLD | now, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
            self.options.terminate();
        }
    }

    /// Readies the options for the next run.
    fn forgive(&self) {
        let _telling = self.telling.lock().unwrap_or_else(PoisonError::into_inner);
        self.options.go_on();
        if self.stuck.swap(false, Ordering::Relaxed) {
            STUCK_RUNS.fetch_sub(1, Ordering::Relaxed);
            tracing::warn!(model = &*self.label, "a model that was long over its time has ended after all");
        }
    }
}

type Watched = Mutex<Vec<Arc<Slot>>>;

/// The timers that are looked at. Starts the thread that does it with the first of them.
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
        // A slot that only we hold belongs to no timer any more.
        slots.retain(|slot| Arc::strong_count(slot) > 1);
        slots.iter().for_each(|slot| slot.look(now));
    }
}

/// ONNX Runtime's options of a run, of which only its flag to stop is ever changed.
struct RunOptions(NonNull<sys::OrtRunOptions>);

// SAFETY: the flag is all that is changed while another thread has it, and ONNX Runtime documents that it is set from
// other threads during a run.
unsafe impl Send for RunOptions {}
// SAFETY: as above.
unsafe impl Sync for RunOptions {}

impl RunOptions {
    fn new() -> Result<Self, ModelFault> {
        let mut options = ptr::null_mut();
        // SAFETY: the place is ours to be written to.
        unsafe { check((api().CreateRunOptions)(&mut options)) }?;
        NonNull::new(options).map(Self).ok_or_else(|| ModelFault::failed("it gave no run options and no reason"))
    }

    fn terminate(&self) {
        // SAFETY: the options live. Setting the flag cannot fail.
        let _ = unsafe { check((api().RunOptionsSetTerminate)(self.0.as_ptr())) };
    }

    fn go_on(&self) {
        // SAFETY: as above.
        let _ = unsafe { check((api().RunOptionsUnsetTerminate)(self.0.as_ptr())) };
    }
}

impl RunOptions {
    /// Has the next runs give unused memory of the arena back at their end, or not.
    fn shrink_arena(&self, shrink: bool) -> bool {
        let value = if shrink { c"cpu:0" } else { c"" };
        let key = c"memory.enable_memory_arena_shrinkage";
        // SAFETY: the options live, and no run has them now; both texts are constants.
        unsafe { check((api().AddRunConfigEntry)(self.0.as_ptr(), key.as_ptr(), value.as_ptr())) }.is_ok()
    }
}

impl Drop for RunOptions {
    fn drop(&mut self) {
        // SAFETY: we own the options, and no run has them any more: a timer outlives its runs.
        unsafe { (api().ReleaseRunOptions)(self.0.as_ptr()) }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    /// Stands in for an operator that does not look whether it is to stop.
    #[test]
    fn a_run_that_does_not_listen_is_counted_for_as_long_as_it_lasts() {
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
            Err(ModelFault::failed("it was told to stop"))
        });
        assert_eq!(ended, Err(ModelFault::OutOfTime { limit }));
        assert_eq!(stuck_runs(), 0);
        assert_eq!(timer.time(|_| Ok(())), Ok(()));
    }
}
