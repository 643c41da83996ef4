//! Gives any bytes to a plugin that does what they say: the sandbox keeps its promises. Run: `make fuzz`.

#![no_main]

use std::cell::RefCell;

use inferbus_sandbox::oracle::{GUEST, Guest};

thread_local! {
    static GUEST_OF_ALL: RefCell<Guest> = RefCell::new(Guest::load(&wat::parse_str(GUEST).expect("a module")));
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    GUEST_OF_ALL.with_borrow_mut(|guest| guest.call(bytes));
});
