//! Asks the linker for memory in which the stack, a second of sound, its samples and its features have room, so that no message grows it.

const PAGES: usize = 5;

fn main() {
    if std::env::var("CARGO_CFG_TARGET_FAMILY").is_ok_and(|family| family == "wasm") {
        println!("cargo::rustc-link-arg=--initial-memory={}", PAGES << 16);
    }
    println!("cargo::rerun-if-changed=build.rs");
}
