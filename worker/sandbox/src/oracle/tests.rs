//! Replays the corpora of the fuzz targets without a fuzzer.

#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

use std::fs;
use std::path::Path;

use super::{GUEST, Guest, module};

fn corpus(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    fs::read_dir(folder).unwrap().map(|file| fs::read(file.unwrap().path()).unwrap()).collect()
}

#[test]
fn the_corpus_of_modules_still_holds() {
    let modules = corpus("module");
    let good = modules.iter().filter(|wasm| module(wasm)).count();
    assert!(good >= 10 && modules.len() - good >= 10, "{good} of {} are plugins", modules.len());
}

#[test]
fn the_corpus_of_messages_still_holds() {
    let mut guest = Guest::load(&wat::parse_str(GUEST).unwrap());
    let messages = corpus("call");
    let answered = messages.iter().filter(|message| guest.call(message)).count();
    assert!(answered >= 5 && messages.len() - answered >= 10, "{answered} of {} are answered", messages.len());
}
