//! The boundary of the guest's memory: everything unsafe in the SDK is here, and nothing else is.
//!
//! Memory that crosses it is never freed: the worker puts the guest's memory back to what `init` left after every message.

use inferbus_abi::Returned;

/// The unit in which room for the worker is made.
#[derive(Clone, Copy)]
#[repr(align(16))]
struct Block(#[expect(dead_code, reason = "only its size and alignment count")] [u8; 16]);

const _: () = assert!(align_of::<Block>() == inferbus_abi::ALIGNMENT);
// Frames are little endian, and `bytes_of` shows numbers as they lie in memory.
const _: () = assert!(cfg!(target_endian = "little"));

/// Room for the worker to write into, aligned; null if there is none.
#[must_use]
pub fn alloc(len: usize) -> *mut u8 {
    let mut room = Vec::<Block>::new();
    match room.try_reserve_exact(len.div_ceil(size_of::<Block>())) {
        Ok(()) => std::mem::ManuallyDrop::new(room).as_mut_ptr().cast(),
        Err(_) => std::ptr::null_mut(),
    }
}

/// What the worker wrote into room that [`alloc`] made.
pub(crate) fn received(ptr: *const u8, len: usize) -> &'static [u8] {
    // SAFETY: the worker calls an export only with the pointer that `alloc(len)` returned, after it has written `len` bytes
    // there. That memory is never freed and nobody writes to it again.
    unsafe { std::slice::from_raw_parts(ptr, len) }
}

/// Bytes handed over to the worker, as the contract packs them.
fn place(bytes: &'static [u8]) -> (u32, u32) {
    // A guest's addresses have 32 bits. The packed form has room for 31, so 2 GiB is the end of what can be returned.
    let ptr = u32::try_from(bytes.as_ptr().addr()).unwrap_or(u32::MAX);
    let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    (ptr, len)
}

/// The same, as one number.
pub(crate) fn packed(result: Result<Option<&'static [u8]>, &'static [u8]>) -> i64 {
    let returned = match result.map(|output| output.map(place)).map_err(place) {
        Ok(None) => Returned::Nothing,
        Ok(Some((ptr, len))) => Returned::Output { ptr, len },
        Err((ptr, len)) => Returned::Error { ptr, len },
    };
    returned.to_packed()
}

/// Numbers whose every byte is initialised, so that they can be shown as bytes, and that any bytes make.
///
/// # Safety
/// The type has no padding, no invisible state and no bits that it must not have.
pub unsafe trait Plain: Copy {}

macro_rules! plain {
    ($($number:ty),*) => {
        $(
            // SAFETY: a primitive number is its bytes and nothing else, whatever they are.
            unsafe impl Plain for $number {}
        )*
    };
}

plain!(u8, i8, u16, i16, u32, i32, u64, i64, f32, f64);

pub(crate) fn bytes_of<T: Plain>(numbers: &[T]) -> &[u8] {
    // SAFETY: `Plain` says that all bytes of the slice are initialised; a byte needs no alignment; the borrow is kept.
    unsafe { std::slice::from_raw_parts(numbers.as_ptr().cast(), size_of_val(numbers)) }
}

/// Bytes as the numbers that they make; `None` where they do not lie or end as numbers do.
pub(crate) fn numbers_in<T: Plain>(bytes: &mut [u8]) -> Option<&mut [T]> {
    // SAFETY: `Plain` says that any bytes are numbers and that any numbers are bytes, so either view may write.
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
    // SAFETY: the worker reads the text during the call and keeps nothing.
    unsafe { host::log(level, text.as_ptr(), text.len()) }
}

#[cfg(target_family = "wasm")]
pub(crate) fn emit(topic: &str, payload: &[u8]) -> u32 {
    // SAFETY: the worker copies both during the call and keeps no pointer.
    unsafe { host::emit(topic.as_ptr(), topic.len(), payload.as_ptr(), payload.len()) }
}

/// Off WebAssembly, in an author's tests, there is no worker: what it would get is shown.
#[cfg(not(target_family = "wasm"))]
pub(crate) fn log(level: u32, text: &str) {
    eprintln!("log {level}: {text}");
}

#[cfg(not(target_family = "wasm"))]
pub(crate) fn emit(topic: &str, payload: &[u8]) -> u32 {
    eprintln!("emit {topic}: {}", payload.escape_ascii());
    0
}
