//! Which ONNX Runtime this machine has, and what it can run on.

use std::path::Path;

use inferbus_engine::load_runtime;

use super::finding::{Finding, Level};

const CHECK: &str = "library";

/// Where no worker is to run, a missing library is nobody's business.
pub fn look(library: Option<&Path>, as_worker: bool) -> Finding {
    match load_runtime(library) {
        Ok(runtime) => {
            let (path, providers) = (runtime.path.display(), runtime.providers.join(", "));
            let what = format!("ONNX Runtime {} from {path} runs models on: {providers}", runtime.version);
            Finding { check: CHECK, level: Level::Ok, what, todo: String::new() }
        }
        Err(fault) => {
            let level = if as_worker { Level::Danger } else { Level::Unknown };
            let todo = "name the library with --ort-library where workers run".into();
            Finding { check: CHECK, level, what: fault.to_string(), todo }
        }
    }
}
