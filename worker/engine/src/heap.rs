//! The process's heap. ONNX Runtime is its largest user.

/// Returns free heap memory to the system. The C library would retain it for reuse, after a large model most of it.
/// Meanwhile, allocations on other threads wait, some milliseconds at most.
pub fn give_back_memory() {
    // SAFETY: it may be called from any thread at any time, and only affects free memory.
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    unsafe {
        libc::malloc_trim(0);
    }
}
