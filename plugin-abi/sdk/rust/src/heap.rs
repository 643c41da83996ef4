//! The guest's heap: a pointer that moves on, within the memory that the module begins with for as long as that lasts.
//!
//! Nothing outlives a message, so what is freed is not collected, but for the last block: a vector that grows stays in its place.
//! A general allocator never uses the memory that a module begins with, and grows it at the first allocation of every message. The
//! worker cannot shrink a memory, only replace its instance, and that makes a small call three times as dear. A plugin that
//! frees and allocates more than its memory limit in one message turns the feature `heap` off, and has Rust's allocator back.

use std::alloc::{GlobalAlloc, Layout};
use std::arch::wasm32::{memory_grow, memory_size};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

const PAGE: usize = 64 << 10;

#[global_allocator]
static HEAP: Heap = Heap { top: AtomicUsize::new(0), used: AtomicUsize::new(0) };

/// Guests have one thread, so relaxed order is all there is.
struct Heap {
    /// The first free address; zero before the first allocation.
    top: AtomicUsize,
    /// Where memory begins that was never given away, and that is therefore all zeros; zero before the first allocation.
    used: AtomicUsize,
}

unsafe extern "C" {
    /// Where the linker says that data and stack end.
    static __heap_base: u8;
}

impl Heap {
    fn top(&self) -> usize {
        match self.top.load(Relaxed) {
            0 => (&raw const __heap_base).addr(),
            top => top,
        }
    }

    /// Moves the top to `end`, with memory beneath it. False if there is none to be had.
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

// SAFETY: blocks lie one after another above `__heap_base`, where the linker puts nothing, and below the memory's end. A block is
// given away again only after it was the last one and was freed, so no two live blocks overlap. Sizes are checked for overflow.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let start = self.top().checked_next_multiple_of(layout.align());
        match start.and_then(|start| Some((start, start.checked_add(layout.size())?))) {
            Some((start, end)) if self.reach(end) => std::ptr::with_exposed_provenance_mut(start),
            _ => std::ptr::null_mut(),
        }
    }

    /// A large block of zeros costs nothing where nobody has written yet.
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        let used = self.used.load(Relaxed);
        // SAFETY: the caller's promise is `alloc`'s own.
        let block = unsafe { self.alloc(layout) };
        let dirty = used.saturating_sub(block.addr()).min(layout.size());
        if !block.is_null() {
            // SAFETY: this is the beginning of a block that was just given away. Beyond it lies memory that never was: it is
            // above the linker's data and stack, so that a module begins with zeros there, as it does in pages that it grows by.
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
        // SAFETY: the caller promises that `new_size` does not overflow at this alignment.
        let moved = unsafe { self.alloc(Layout::from_size_align_unchecked(new_size, layout.align())) };
        if !moved.is_null() {
            // SAFETY: both blocks are live and hold that many bytes, and live blocks do not overlap.
            unsafe { std::ptr::copy_nonoverlapping(block, moved, layout.size().min(new_size)) };
        }
        moved
    }
}
