//! The exports: decode the input, call the author's function, encode its return value.

use crate::boundary;
use crate::{FromInput, InitOutput, IntoOutput, Level};

/// The return values of `init`.
const ACCEPTED: i32 = 0;
const REFUSED: i32 = 1;

/// Runs the author's function on one message.
pub fn transform<I: FromInput, O: IntoOutput>(ptr: *const u8, len: usize, function: impl FnOnce(I) -> O) -> i64 {
    report_panics();
    let input = I::from_input(boundary::received(ptr, len));
    let output = input.and_then(|input| function(input).into_output());
    boundary::packed(match output {
        Ok(output) => Ok(output.map(crate::Output::leak)),
        Err(message) => Err(message.leak().as_bytes()),
    })
}

/// Runs the author's function on the entry's config. The reason for a rejection is logged, as the contract requires.
pub fn init<I: FromInput, O: InitOutput>(ptr: *const u8, len: usize, function: impl FnOnce(I) -> O) -> i32 {
    report_panics();
    let input = I::from_input(boundary::received(ptr, len));
    match input.and_then(|input| function(input).into_result()) {
        Ok(()) => ACCEPTED,
        Err(message) => {
            crate::host_functions::log(Level::Error, &message);
            REFUSED
        }
    }
}

#[cfg(all(target_family = "wasm", feature = "panic-log"))]
fn report_panics() {
    std::panic::set_hook(Box::new(|panic| crate::host_functions::log(Level::Error, &panic.to_string())));
}

#[cfg(not(all(target_family = "wasm", feature = "panic-log")))]
fn report_panics() {}
