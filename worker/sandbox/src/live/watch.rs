//! Which pages of a live memory its plugin writes to, told by the processor: a page is read-only until the first write.
//!
//! Promises: a page that [`Watch::written`] does not name holds what it held when the watch began. The first write to a
//! page costs a signal and a system call; later ones, and reads, cost nothing, so that a lane's steady work has none of
//! either. When the watch ends, all of the memory can be written again.
//!
//! The memory's owner must do two things: [`Watch::open`] what the host itself is about to write, and end the watch before
//! the memory goes back to Wasmtime.
#![allow(unsafe_code, reason = "page protection and the signal that tells of it; each use has its argument")]

use std::ffi::c_void;
use std::ops::Range;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use rustix::mm::{MprotectFlags, mprotect};
use rustix::process::{Resource, getrlimit};
use wasmtime::{Memory, Store};

use crate::host::state::HostState;
use crate::limits::{WATCH_CUTS, WATCH_MESSAGES, WATCH_RANGES, WATCH_SMALL, WATCH_TRIPS, WATCH_TRIPS_PER_SIZE};

const READ_WRITE: MprotectFlags = MprotectFlags::READ.union(MprotectFlags::WRITE);

/// The watch over one memory.
pub(crate) struct Watch {
    pages: Arc<WatchedPages>,
    /// What [`Watch::written`] said when there had been this many trips.
    ranges: Vec<Range<usize>>,
    trips: u32,
    /// Put back since it began.
    messages: u32,
}

/// What the messages of one plugin have written so far, on any lane: where a new watch begins.
#[derive(Default)]
pub(crate) struct LearnedPages(Mutex<Vec<u64>>);

/// How often the memories of this process are cut into one more mapping just now, as far as watches do that.
static CUTS: AtomicUsize = AtomicUsize::new(0);

/// One bit per page, set before the page is written to. The signal's handler reads and writes it too.
struct WatchedPages {
    start: usize,
    count: usize,
    size: usize,
    open: Box<[AtomicU64]>,
    trips: AtomicU32,
    /// Its share of [`CUTS`].
    cuts: AtomicUsize,
}

impl Watch {
    /// Makes the memory read-only but for what the plugin is known to write. `None` where the system does not let us: then
    /// every page counts as written.
    pub(crate) fn begin(store: &mut Store<HostState>, memory: Memory, learned: &LearnedPages) -> Option<Self> {
        may_watch().then_some(())?;
        let pages = Arc::new(WatchedPages::closed(memory.data_ptr(&*store) as usize, memory.data_size(&*store))?);
        let mut watch = Watch { pages: Arc::clone(&pages), ranges: Vec::new(), trips: 0, messages: 0 };
        let known = learned.ranges(pages.count);
        // Before the first system call, so that a process with too many cuts pays for none.
        known.iter().all(|_| pages.cut()).then_some(())?;
        pages.protect(0..pages.count, MprotectFlags::READ).then_some(())?;
        for range in known {
            pages.unlock(range).then_some(())?;
        }
        watch.ranges = pages.ranges();
        notice(store, pages);
        Some(watch)
    }

    /// Must come before the host writes there, who must not if the answer is no. What lies beyond the watched pages, because
    /// memory has grown, is not read-only.
    pub(crate) fn open(&self, bytes: Range<usize>) -> bool {
        let pages = &self.pages;
        let end = bytes.end.div_ceil(pages.size).min(pages.count);
        (bytes.start / pages.size..end).all(|page| pages.is_open(page) || pages.trip(page))
    }

    /// Whether what is known may hold far more than messages still write: it only ever grows.
    pub(crate) fn is_stale(&self) -> bool {
        self.messages >= WATCH_MESSAGES && self.ranges.iter().map(Range::len).sum::<usize>() > WATCH_SMALL
    }

    /// Every byte that may have been written to, in whole pages.
    pub(crate) fn written(&mut self, learned: &LearnedPages) -> &[Range<usize>] {
        self.messages = self.messages.saturating_add(1);
        let trips = self.pages.trips.load(Ordering::Relaxed);
        if trips != self.trips {
            self.trips = trips;
            self.ranges = self.pages.ranges();
            learned.add(&self.pages);
        }
        &self.ranges
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let pages = &self.pages;
        // Wasmtime writes to a memory that it takes back. Opening all of it splits no mapping, and where memory itself could
        // be refused there is no watch (see `may_watch`), so this does not fail; a process in which it does all the same must
        // not go on.
        if !pages.unlock_all() {
            std::process::abort();
        }
    }
}

/// Elsewhere Wasmtime may learn of a fault by other means than a signal. And with a limit on data, or where the kernel promises
/// no more memory than it has, making a page writable again could be refused.
fn may_watch() -> bool {
    static MAY: OnceLock<bool> = OnceLock::new();
    *MAY.get_or_init(|| {
        let strict = std::fs::read_to_string("/proc/sys/vm/overcommit_memory").is_ok_and(|mode| mode.trim() == "2");
        cfg!(target_os = "linux") && !strict && getrlimit(Resource::Data).current.is_none()
    })
}

impl LearnedPages {
    /// Lets the plugin be learned anew.
    pub(crate) fn forget(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn add(&self, pages: &WatchedPages) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.resize(pages.open.len(), 0);
        for (known, open) in known.iter_mut().zip(&pages.open) {
            *known |= open.load(Ordering::Relaxed);
        }
    }

    /// What is known, in few enough ranges that no memory is cut into too many mappings.
    fn ranges(&self, count: usize) -> Vec<Range<usize>> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut gap = 1;
        loop {
            let ranges =
                ranges(count, gap, |page| known.get(page / 64).is_some_and(|word| word >> (page % 64) & 1 == 1));
            if ranges.len() <= WATCH_RANGES {
                return ranges;
            }
            gap *= 2;
        }
    }
}

impl WatchedPages {
    /// `None` where the memory is not made of whole pages.
    fn closed(start: usize, bytes: usize) -> Option<Self> {
        let size = rustix::param::page_size();
        let whole = bytes > 0 && start.is_multiple_of(size) && bytes.is_multiple_of(size);
        let count = bytes / size;
        let open = (0..count.div_ceil(64)).map(|_| AtomicU64::new(0)).collect();
        whole.then(|| Self { start, count, size, open, trips: AtomicU32::new(0), cuts: AtomicUsize::new(0) })
    }

    fn is_open(&self, page: usize) -> bool {
        self.open.get(page / 64).is_some_and(|word| word.load(Ordering::Relaxed) >> (page % 64) & 1 == 1)
    }

    /// The page with this address, where it is one that may not be written to.
    fn closed_at(&self, address: usize) -> Option<usize> {
        let page = address.checked_sub(self.start)? / self.size;
        (page < self.count && !self.is_open(page)).then_some(page)
    }

    /// Opens a page, and the more of its neighbours the more often it happens: a plugin that writes everywhere is not
    /// stopped at every page, nor may it cut its memory into ever more mappings.
    ///
    /// Runs in a signal's handler: it must not allocate, lock or panic.
    fn trip(&self, page: usize) -> bool {
        let trips = self.trips.fetch_add(1, Ordering::Relaxed);
        let block = 1_usize << (trips / WATCH_TRIPS_PER_SIZE).min(usize::BITS - 1);
        let first = page - page % block;
        let few = first..first.saturating_add(block).min(self.count);
        (trips < WATCH_TRIPS && self.cut() && self.unlock(few)) || self.unlock_all()
    }

    /// Takes leave to open some pages between closed ones.
    fn cut(&self) -> bool {
        const BOTH_ENDS: usize = 2;
        let allowed = CUTS.fetch_add(BOTH_ENDS, Ordering::Relaxed) < WATCH_CUTS;
        if allowed {
            self.cuts.fetch_add(BOTH_ENDS, Ordering::Relaxed);
        } else {
            CUTS.fetch_sub(BOTH_ENDS, Ordering::Relaxed);
        }
        allowed
    }

    /// Makes one mapping of it again, and gives its cuts back.
    fn unlock_all(&self) -> bool {
        let unlocked = self.unlock(0..self.count);
        if unlocked {
            CUTS.fetch_sub(self.cuts.swap(0, Ordering::Relaxed), Ordering::Relaxed);
        }
        unlocked
    }

    fn unlock(&self, pages: Range<usize>) -> bool {
        let unlocked = self.protect(pages.clone(), READ_WRITE);
        for page in pages.filter(|_| unlocked) {
            if let Some(word) = self.open.get(page / 64) {
                word.fetch_or(1 << (page % 64), Ordering::Relaxed);
            }
        }
        unlocked
    }

    fn protect(&self, pages: Range<usize>, how: MprotectFlags) -> bool {
        let start = (self.start + pages.start * self.size) as *mut c_void;
        // SAFETY: every caller's range lies within `0..self.count`, so these are pages of a memory that its owner keeps alive
        // as long as the watch, see the module's promise. Changing between read-only and read-write takes no access away from
        // anybody but writers, who are the guest, whose writes the handler lets through, and the host, which opens first.
        unsafe { mprotect(start, pages.len() * self.size, how) }.is_ok()
    }

    /// The open pages as ranges of bytes.
    fn ranges(&self) -> Vec<Range<usize>> {
        let ranges = ranges(self.count, 1, |page| self.is_open(page));
        ranges.into_iter().map(|range| range.start * self.size..range.end * self.size).collect()
    }
}

/// Ranges of the pages for which `is` holds; those with less than `gap` pages between them are one.
fn ranges(count: usize, gap: usize, is: impl Fn(usize) -> bool) -> Vec<Range<usize>> {
    let mut ranges: Vec<Range<usize>> = Vec::new();
    for page in (0..count).filter(|&page| is(page)) {
        match ranges.last_mut() {
            Some(last) if page < last.end + gap => last.end = page + 1,
            _ => ranges.push(page..page + 1),
        }
    }
    ranges
}

/// Has a write to a closed page open it and go on, whether the guest's own code writes or a host function for it.
fn notice(store: &mut Store<HostState>, pages: Arc<WatchedPages>) {
    use wasmtime::unix::StoreExt as _;
    let handler = move |signal, info: *const libc::siginfo_t, _: *const c_void| {
        // SAFETY: the kernel hands a valid `siginfo_t` to the handler of a SIGSEGV, whose address field is set.
        let address = || unsafe { (*info).si_addr() } as usize;
        signal == libc::SIGSEGV && pages.closed_at(address()).is_some_and(|page| pages.trip(page))
    };
    // SAFETY: the handler is async-signal-safe: it reads its arguments and atomics and makes one or two `mprotect` system
    // calls. It says that it dealt with the signal only where it made a closed page of its own store's memory writable, so
    // the instruction that comes again goes through.
    unsafe { store.set_signal_handler(handler) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_joined_over_gaps_that_are_small_enough() {
        let open = [1, 2, 5, 9];
        assert_eq!(ranges(10, 1, |page| open.contains(&page)), [1..3, 5..6, 9..10]);
        assert_eq!(ranges(10, 3, |page| open.contains(&page)), [1..6, 9..10]);
        assert_eq!(ranges(12, 4, |page| [1, 5, 11].contains(&page)), [1..6, 11..12]);
    }

    #[test]
    fn a_new_watch_begins_with_few_pieces_that_hold_all_that_is_known() {
        let learned = LearnedPages::default();
        // Every second page of 640.
        *learned.0.lock().unwrap() = vec![0x5555_5555_5555_5555; 10];
        let ranges = learned.ranges(640);
        assert!(ranges.len() <= WATCH_RANGES);
        assert!((0..640).step_by(2).all(|page| ranges.iter().any(|range| range.contains(&page))));
    }
}
