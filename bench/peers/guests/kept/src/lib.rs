//! The benchmark's two functions for a reused instance. Buffers are reused, because memory is not reset between calls.
//! The signatures are those of the plugin contract.

use std::cell::RefCell;

use bench_kernels::{image, tiny};

thread_local! {
    static INPUT: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    static TURNED: RefCell<Vec<u8>> = RefCell::new(vec![0; tiny::LEN]);
    static PLANES: RefCell<Vec<f32>> = RefCell::new(vec![0.0; image::LEN]);
}

#[unsafe(no_mangle)]
pub extern "C" fn alloc(len: usize) -> *mut u8 {
    INPUT.with_borrow_mut(|input| {
        input.resize(len, 0);
        input.as_mut_ptr()
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn turned(_: usize, _: usize) -> i64 {
    INPUT.with_borrow(|input| {
        TURNED.with_borrow_mut(|output| {
            let Ok(input) = input.as_slice().try_into() else { return 0 };
            tiny::turn(input, output);
            packed(output)
        })
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn planes(_: usize, _: usize) -> i64 {
    INPUT.with_borrow(|input| {
        PLANES.with_borrow_mut(|output| match image::normalise(input, output) {
            Ok(()) => packed(output),
            Err(_) => 0,
        })
    })
}

/// Address and length, packed by the contract.
fn packed<T>(output: &[T]) -> i64 {
    (output.as_ptr().addr() as i64) << 32 | size_of_val(output) as i64
}
