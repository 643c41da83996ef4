//! The process's heap, of which ONNX Runtime uses most.

/// Gives the system the memory that is free in the heap. The C library keeps what it may need again, which after a
/// large model is most of it. Threads that allocate meanwhile wait for it, some milliseconds at most.
pub fn give_back_memory() {
    // SAFETY: it may be called from any thread at any time, and touches nothing but what is free.
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    unsafe {
        libc::malloc_trim(0);
    }
}
