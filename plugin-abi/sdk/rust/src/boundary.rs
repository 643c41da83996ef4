//! The boundary between plugin and worker: all unsafe code of the SDK, except for the heap.
//!
//! Memory that crosses the boundary is never freed: after every message the worker restores the memory left by `init`.

use inferbus_abi::Returned;

/// The unit of memory for the worker.
#[derive(Clone, Copy)]
#[repr(align(16))]
struct Block(#[expect(dead_code, reason = "only its size and alignment count")] [u8; 16]);

const _: () = assert!(align_of::<Block>() == inferbus_abi::ALIGNMENT);
// Frames are little endian, and `bytes_of` exposes numbers in memory order.
const _: () = assert!(cfg!(target_endian = "little"));

/// Aligned memory for the worker to write into; null if memory is exhausted.
#[must_use]
pub fn alloc(len: usize) -> *mut u8 {
    let mut room = Vec::<Block>::new();
    match room.try_reserve_exact(len.div_ceil(size_of::<Block>())) {
        Ok(()) => std::mem::ManuallyDrop::new(room).as_mut_ptr().cast(),
        Err(_) => std::ptr::null_mut(),
    }
}

/// The worker's bytes in memory from [`alloc`].
pub(crate) fn received(ptr: *const u8, len: usize) -> &'static [u8] {
    // SAFETY: the worker calls an export only with a pointer from `alloc(len)`, after writing `len` bytes there.
    // That memory is never freed or written again.
    unsafe { std::slice::from_raw_parts(ptr, len) }
}

/// Address and length of bytes for the worker.
fn place(bytes: &'static [u8]) -> (u32, u32) {
    // Addresses have 32 bits, but a packed result has only 31: results must be below 2 GiB.
    let ptr = u32::try_from(bytes.as_ptr().addr()).unwrap_or(u32::MAX);
    let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    (ptr, len)
}

/// Packs a result as the contract requires.
pub(crate) fn packed(result: Result<Option<&'static [u8]>, &'static [u8]>) -> i64 {
    let returned = match result.map(|output| output.map(place)).map_err(place) {
        Ok(None) => Returned::Nothing,
        Ok(Some((ptr, len))) => Returned::Output { ptr, len },
        Err((ptr, len)) => Returned::Error { ptr, len },
    };
    returned.to_packed()
}

/// Numbers that convert from and to bytes without checks.
///
/// # Safety
/// The type must not have padding, hidden state or invalid bit patterns.
pub unsafe trait Plain: Copy {}

macro_rules! plain {
    ($($number:ty),*) => {
        $(
            // SAFETY: a primitive number consists of its bytes, and all bytes are valid.
            unsafe impl Plain for $number {}
        )*
    };
}

plain!(u8, i8, u16, i16, u32, i32, u64, i64, f32, f64);

pub(crate) fn bytes_of<T: Plain>(numbers: &[T]) -> &[u8] {
    // SAFETY: `Plain` guarantees initialised bytes; a byte is always aligned; the borrow is kept.
    unsafe { std::slice::from_raw_parts(numbers.as_ptr().cast(), size_of_val(numbers)) }
}

/// Bytes as numbers; `None` if their address or length does not fit.
pub(crate) fn numbers_in<T: Plain>(bytes: &mut [u8]) -> Option<&mut [T]> {
    // SAFETY: `Plain` guarantees that any bytes are valid numbers and vice versa, so either view may write.
    let (before, numbers, after) = unsafe { bytes.align_to_mut() };
    (before.is_empty() && after.is_empty()).then_some(numbers)
}

#[cfg(target_family = "wasm")]
mod host {
    #[link(wasm_import_module = "inferbus")]
    unsafe extern "C" {
        pub(super) fn log(level: u32, ptr: *const u8, len: usize);
        pub(super) fn emit(topic_ptr: *const u8, topic_len: usize, ptr: *const u8, len: usize) -> u32;
    }
}

#[cfg(target_family = "wasm")]
pub(crate) fn log(level: u32, text: &str) {
    // SAFETY: the worker only reads the text during the call.
    unsafe { host::log(level, text.as_ptr(), text.len()) }
}

#[cfg(target_family = "wasm")]
pub(crate) fn emit(topic: &str, payload: &[u8]) -> u32 {
    // SAFETY: the worker copies both during the call and does not keep the pointers.
    unsafe { host::emit(topic.as_ptr(), topic.len(), payload.as_ptr(), payload.len()) }
}

/// In an author's native tests there is no worker, so the line is printed.
#[cfg(not(target_family = "wasm"))]
pub(crate) fn log(level: u32, text: &str) {
    eprintln!("log {level}: {text}");
}

#[cfg(not(target_family = "wasm"))]
pub(crate) fn emit(topic: &str, payload: &[u8]) -> u32 {
    eprintln!("emit {topic}: {}", payload.escape_ascii());
    0
}
