//! The plugin's heap: a bump allocator that starts in the module's initial memory.
//!
//! Memory does not outlive a message, so freed memory is not reused, except for the last block.
//! A growing vector stays in place.
//!
//! Rust's own allocator never uses the initial memory and grows it at the first allocation of every message. The worker
//! cannot shrink a memory. It must replace the instance, and a small call then costs three times as much.
//!
//! If a plugin frees and allocates more than its memory limit in one message, turn off the feature `heap`. It then uses
//! Rust's allocator.

use std::alloc::{GlobalAlloc, Layout};
use std::arch::wasm32::{memory_grow, memory_size};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

const PAGE: usize = 64 << 10;

#[global_allocator]
static HEAP: Heap = Heap { top: AtomicUsize::new(0), used: AtomicUsize::new(0) };

/// Plugins have one thread, so relaxed order suffices.
struct Heap {
    /// The first free address; zero before the first allocation.
    top: AtomicUsize,
    /// The start of never allocated memory, all zeros; zero before the first allocation.
    used: AtomicUsize,
}

unsafe extern "C" {
    /// The end of data and stack, set by the linker.
    static __heap_base: u8;
}

impl Heap {
    fn top(&self) -> usize {
        match self.top.load(Relaxed) {
            0 => (&raw const __heap_base).addr(),
            top => top,
        }
    }

    /// Moves the top to `end` and grows memory if needed. False if memory is exhausted.
    fn reach(&self, end: usize) -> bool {
        let missing = end.div_ceil(PAGE).saturating_sub(memory_size(0));
        let reached = missing == 0 || memory_grow(0, missing) != usize::MAX;
        if reached {
            self.top.store(end, Relaxed);
            self.used.fetch_max(end, Relaxed);
        }
        reached
    }
}

// SAFETY: blocks follow each other between `__heap_base` and the end of memory, and the linker places nothing there.
// Only the last block is reused, after it was freed, so live blocks never overlap. Sizes are checked for overflow.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let start = self.top().checked_next_multiple_of(layout.align());
        match start.and_then(|start| Some((start, start.checked_add(layout.size())?))) {
            Some((start, end)) if self.reach(end) => std::ptr::with_exposed_provenance_mut(start),
            _ => std::ptr::null_mut(),
        }
    }

    /// Only writes zeros over used memory, so a large block is cheap in fresh memory.
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        let used = self.used.load(Relaxed);
        // SAFETY: the caller fulfils the contract of `alloc`.
        let block = unsafe { self.alloc(layout) };
        let dirty = used.saturating_sub(block.addr()).min(layout.size());
        if !block.is_null() {
            // SAFETY: these bytes are inside the new block. The bytes after them were never allocated. Those are above
            // the linker's data and stack, so they are zeros: in the initial memory, and in grown pages.
            unsafe { block.write_bytes(0, dirty) };
        }
        block
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if block.addr() + layout.size() == self.top() {
            self.top.store(block.addr(), Relaxed);
        }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        let is_last = block.addr() + layout.size() == self.top();
        if is_last && block.addr().checked_add(new_size).is_some_and(|end| self.reach(end)) {
            return block;
        }
        // SAFETY: the caller guarantees that `new_size` does not overflow at this alignment.
        let moved = unsafe { self.alloc(Layout::from_size_align_unchecked(new_size, layout.align())) };
        if !moved.is_null() {
            // SAFETY: both blocks are live and large enough, and live blocks do not overlap.
            unsafe { std::ptr::copy_nonoverlapping(block, moved, layout.size().min(new_size)) };
        }
        moved
    }
}
