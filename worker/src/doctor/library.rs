//! What models run on here: which ONNX Runtime this machine has, and what that can run on.

use inferbus_engine::Backend;

use super::finding::{Finding, Level};
use crate::config::EngineSettings;

const CHECK: &str = "library";

/// Where no worker is to run, a missing library is nobody's business.
pub fn look(engine: &EngineSettings, as_worker: bool) -> Finding {
    match engine.backend() {
        Ok(backend) => {
            let what = match &backend {
                Backend::OnnxRuntime(runtime) => {
                    let (path, providers) = (runtime.path.display(), runtime.providers.join(", "));
                    format!("{backend} from {path} runs models on: {providers}")
                }
                #[cfg(feature = "tract")]
                Backend::Tract => format!("{backend} runs models, on the processor only"),
            };
            Finding { check: CHECK, level: Level::Ok, what, todo: String::new() }
        }
        Err(fault) => {
            let level = if as_worker { Level::Danger } else { Level::Unknown };
            let todo = "name the library with --ort-library where workers run".into();
            Finding { check: CHECK, level, what: fault.to_string(), todo }
        }
    }
}
