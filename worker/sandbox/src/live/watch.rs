//! Tracking of written pages in a live memory, by page protection: a page is read-only until its first write.
//!
//! Guarantees: pages outside of [`Watch::written`] are unchanged since the start of the watch. The first write to a
//! page costs a signal and a system call. Reads and later writes are free. At the end of the watch all of the memory is
//! writable again.
//!
//! The owner of the memory must call [`Watch::open`] before the host writes. It must end the watch before it returns
//! the memory to Wasmtime.
#![allow(unsafe_code, reason = "page protection and its signal handler; each use has its argument")]

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
    /// The result of [`Watch::written`] at this number of trips.
    ranges: Vec<Range<usize>>,
    trips: u32,
    /// Rewinds since the start of the watch.
    messages: u32,
}

/// The pages written by the messages of one plugin so far, on any lane. A new watch opens them from the start.
#[derive(Default)]
pub(crate) struct LearnedPages(Mutex<Vec<u64>>);

/// The number of additional mappings of this process, caused by watches.
static CUTS: AtomicUsize = AtomicUsize::new(0);

/// One bit per page, set before the first write to the page. The signal handler uses it, too.
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
    /// Makes the memory read-only, except for the learned pages. `None` if the system does not permit it; then every
    /// page counts as written.
    pub(crate) fn begin(store: &mut Store<HostState>, memory: Memory, learned: &LearnedPages) -> Option<Self> {
        may_watch().then_some(())?;
        let pages = Arc::new(WatchedPages::closed(memory.data_ptr(&*store) as usize, memory.data_size(&*store))?);
        let mut watch = Watch { pages: Arc::clone(&pages), ranges: Vec::new(), trips: 0, messages: 0 };
        let known = learned.ranges(pages.count);
        // Counted before the first system call, so a process at its limit of cuts skips all of them.
        known.iter().all(|_| pages.cut()).then_some(())?;
        pages.protect(0..pages.count, MprotectFlags::READ).then_some(())?;
        for range in known {
            pages.unlock(range).then_some(())?;
        }
        watch.ranges = pages.ranges();
        resume_writes(store, pages);
        Some(watch)
    }

    /// Call this before the host writes, and do not write if it returns false. Pages beyond the watched ones are
    /// writable: they exist only after a growth of memory.
    pub(crate) fn open(&self, bytes: Range<usize>) -> bool {
        let pages = &self.pages;
        let end = bytes.end.div_ceil(pages.size).min(pages.count);
        (bytes.start / pages.size..end).all(|page| pages.is_open(page) || pages.trip(page))
    }

    /// Whether the learned pages may far exceed the current writes. They only ever grow.
    pub(crate) fn is_stale(&self) -> bool {
        self.messages >= WATCH_MESSAGES && self.ranges.iter().map(Range::len).sum::<usize>() > WATCH_SMALL
    }

    /// The ranges with possible writes, in whole pages.
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
        // Wasmtime writes to a returned memory. Opening all pages does not split a mapping, and `may_watch` excludes
        // systems with a limit on memory, so this call cannot fail. If it fails regardless, the process must not
        // continue.
        if !pages.unlock_all() {
            std::process::abort();
        }
    }
}

/// Only Linux is known to report these faults by a signal. With a limit on data or with strict overcommit, the kernel
/// could refuse to make a page writable again.
fn may_watch() -> bool {
    static MAY: OnceLock<bool> = OnceLock::new();
    *MAY.get_or_init(|| {
        let strict = std::fs::read_to_string("/proc/sys/vm/overcommit_memory").is_ok_and(|mode| mode.trim() == "2");
        cfg!(target_os = "linux") && !strict && getrlimit(Resource::Data).current.is_none()
    })
}

impl LearnedPages {
    /// Restarts learning.
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

    /// The learned pages, merged into at most [`WATCH_RANGES`] ranges to limit the number of mappings.
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
    /// `None` if the memory is not made of whole pages.
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

    /// The page of this address, if it is a read-only page of this memory.
    fn closed_at(&self, address: usize) -> Option<usize> {
        let page = address.checked_sub(self.start)? / self.size;
        (page < self.count && !self.is_open(page)).then_some(page)
    }

    /// Opens a page and a block of its neighbours. The block grows with the number of trips, which bounds both the
    /// stops and the mappings of a plugin with scattered writes.
    ///
    /// Runs in a signal handler: it must not allocate, lock or panic.
    fn trip(&self, page: usize) -> bool {
        let trips = self.trips.fetch_add(1, Ordering::Relaxed);
        let block = 1_usize << (trips / WATCH_TRIPS_PER_SIZE).min(usize::BITS - 1);
        let first = page - page % block;
        let few = first..first.saturating_add(block).min(self.count);
        (trips < WATCH_TRIPS && self.cut() && self.unlock(few)) || self.unlock_all()
    }

    /// Reserves two cuts, for a range of open pages between closed ones.
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

    /// Makes the memory a single mapping again, and releases its cuts.
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
        // SAFETY: every caller's range is within `0..self.count`, so these are pages of the watched memory. Its owner
        // keeps it alive for the whole watch, see the module's documentation. The change affects only writers. Writes
        // of the guest are resumed by the handler, and the host opens pages before it writes.
        unsafe { mprotect(start, pages.len() * self.size, how) }.is_ok()
    }

    /// The open pages as ranges of bytes.
    fn ranges(&self) -> Vec<Range<usize>> {
        let ranges = ranges(self.count, 1, |page| self.is_open(page));
        ranges.into_iter().map(|range| range.start * self.size..range.end * self.size).collect()
    }
}

/// The ranges of pages with `is`. Ranges with fewer than `gap` pages between them are merged.
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

/// Installs the handler for writes to closed pages, by the guest or by a host function: open the page and resume.
fn resume_writes(store: &mut Store<HostState>, pages: Arc<WatchedPages>) {
    use wasmtime::unix::StoreExt as _;
    let handler = move |signal, info: *const libc::siginfo_t, _: *const c_void| {
        // SAFETY: the kernel passes a valid `siginfo_t` to the handler, and SIGSEGV sets its address field.
        let address = || unsafe { (*info).si_addr() } as usize;
        signal == libc::SIGSEGV && pages.closed_at(address()).is_some_and(|page| pages.trip(page))
    };
    // SAFETY: the handler is async-signal-safe. It reads its arguments and atomics, and makes one or two `mprotect`
    // system calls. It returns true only after it made a closed page of its store writable, so the retried instruction
    // succeeds.
    unsafe { store.set_signal_handler(handler) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_merged_over_small_gaps() {
        let open = [1, 2, 5, 9];
        assert_eq!(ranges(10, 1, |page| open.contains(&page)), [1..3, 5..6, 9..10]);
        assert_eq!(ranges(10, 3, |page| open.contains(&page)), [1..6, 9..10]);
        assert_eq!(ranges(12, 4, |page| [1, 5, 11].contains(&page)), [1..6, 11..12]);
    }

    #[test]
    fn a_new_watch_opens_all_learned_pages_in_few_ranges() {
        let learned = LearnedPages::default();
        // Every second page of 640.
        *learned.0.lock().unwrap() = vec![0x5555_5555_5555_5555; 10];
        let ranges = learned.ranges(640);
        assert!(ranges.len() <= WATCH_RANGES);
        assert!((0..640).step_by(2).all(|page| ranges.iter().any(|range| range.contains(&page))));
    }
}
