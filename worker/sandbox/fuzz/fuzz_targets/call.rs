//! Sends arbitrary bytes to a plugin and checks the guarantees of the sandbox. Run: `make fuzz`.

#![no_main]

use std::cell::RefCell;

use inferbus_sandbox::oracle::{GUEST, Guest};

thread_local! {
    static SHARED_GUEST: RefCell<Guest> = RefCell::new(Guest::load(&wat::parse_str(GUEST).expect("a module")));
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    SHARED_GUEST.with_borrow_mut(|guest| guest.call(bytes));
});
