//! Loading the library: a process can do it once, so each case is a new process.
//!
//! This executable without a harness is its own child: with arguments it loads their paths and prints the outcomes.

#![allow(clippy::unwrap_used, reason = "a test without a harness")]

use std::{
    path::Path,
    process::{Command, ExitCode},
};

use inferbus_engine::{EngineFault, Runtime, load_runtime};

fn main() -> ExitCode {
    match std::env::args().nth(1).as_deref() {
        Some("load") => child(),
        // The listing of a test harness: this executable is one test.
        Some("--list") => println!("every_library_is_loaded_or_refused_with_a_sentence: test"),
        _ => {
            every_library_is_loaded_or_refused_with_a_sentence();
            println!("test every_library_is_loaded_or_refused_with_a_sentence ... ok");
        }
    }
    ExitCode::SUCCESS
}

/// Loads the paths in the further arguments, one after another; `-` is no path.
fn child() {
    for path in std::env::args().skip(2) {
        let path = Some(Path::new(&path)).filter(|path| *path != Path::new("-"));
        println!("{}", describe(load_runtime(path)));
    }
}

fn describe(loaded: Result<Runtime, EngineFault>) -> String {
    match loaded {
        Ok(runtime) => format!("loaded {} with {}", runtime.version, runtime.providers.join(" ")),
        Err(fault) => fault.to_string(),
    }
}

/// A child's outcomes for these paths. It must exit without a panic or a signal.
fn load(paths: &[&str]) -> Vec<String> {
    let program = std::env::current_exe().unwrap();
    let ended = Command::new(program).arg("load").args(paths).output().unwrap();
    let errors = String::from_utf8_lossy(&ended.stderr);
    assert!(ended.status.success(), "{paths:?}: {} {errors}", ended.status);
    assert!(!errors.contains("panicked"), "{paths:?}: {errors}");
    String::from_utf8(ended.stdout).unwrap().lines().map(str::to_owned).collect()
}

fn every_library_is_loaded_or_refused_with_a_sentence() {
    const REMEDY: &str = "set ORT_DYLIB_PATH to the file of an ONNX Runtime library, \
        or run `make setup`, or do without by --engine tract";
    let refused = |path: &str, what: &str| {
        let [said] = load(&[path]).try_into().unwrap();
        assert!(said.contains(path) && said.contains(what) && said.ends_with(REMEDY), "{path}: {said}");
    };
    refused("/nowhere/libonnxruntime.so", "there is no ONNX Runtime library at");
    refused("libonnxruntime-that-nobody-has.so", "does not load as a library");
    refused(env!("CARGO_MANIFEST_DIR"), "does not load as a library");
    // The loader's own reason is part of the sentence.
    refused(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"), "invalid ELF header");
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    refused("libc.so.6", "is a library, but not ONNX Runtime");

    let Some(library) = std::env::var("ORT_DYLIB_PATH").ok() else {
        panic!("these tests need ONNX Runtime: {REMEDY}");
    };
    let [failed, first, again, other] = load(&["/nowhere.so", &library, &library, "/nowhere.so"]).try_into().unwrap();
    assert!(failed.starts_with("there is no"), "{failed}");
    assert!(first.starts_with("loaded 1.") && first.contains("CPUExecutionProvider"), "{first}");
    assert_eq!(first, again, "a second load gives the same");
    assert!(other.contains("can load only one"), "{other}");
}
