//! Check of the ONNX Runtime library on this machine.

use inferbus_engine::Backend;

use super::finding::{Finding, Level};
use crate::config::EngineSettings;

const CHECK: &str = "library";

/// A missing library is a danger only on a worker's machine.
pub fn check(engine: &EngineSettings, as_worker: bool) -> Finding {
    match engine.backend() {
        Ok(backend) => {
            let message = match &backend {
                Backend::OnnxRuntime(runtime) => {
                    let (path, providers) = (runtime.path.display(), runtime.providers.join(", "));
                    format!("{backend} from {path} runs models on: {providers}")
                }
                #[cfg(feature = "tract")]
                Backend::Tract => format!("{backend} runs models, on the CPU only"),
            };
            Finding { check: CHECK, level: Level::Ok, message, remedy: String::new() }
        }
        Err(fault) => {
            let level = if as_worker { Level::Danger } else { Level::Unknown };
            let remedy = "set --ort-library on the machines of the workers".into();
            Finding { check: CHECK, level, message: fault.to_string(), remedy }
        }
    }
}
