//! The runtimes for models: ONNX Runtime, and tract with the feature `tract`.

mod convert;
mod deadline;
#[cfg(any(test, feature = "fake"))]
mod fake;
mod library;
mod onnx_runtime;
#[cfg(feature = "tract")]
mod tract;

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::sync::Arc;

pub(crate) use convert::byte_len;
pub use deadline::stuck_runs;
#[cfg(feature = "fake")]
pub use fake::FakeNetwork;
pub use library::{Runtime, load_runtime};
pub use onnx_runtime::OnnxNetwork;
#[cfg(feature = "tract")]
pub use tract::TractNetwork;

use crate::{EngineFault, Network, Options, Provider};

/// A loaded runtime. Cheap to clone.
#[derive(Clone, Debug)]
pub enum Backend {
    OnnxRuntime(Runtime),
    #[cfg(feature = "tract")]
    Tract,
}

/// The trial process's argument for tract. No library has an empty path.
const NO_LIBRARY: &str = "";

impl Backend {
    /// ONNX Runtime from `library`, or from its usual place.
    pub fn onnx_runtime(library: Option<&Path>) -> Result<Self, EngineFault> {
        load_runtime(library).map(Self::OnnxRuntime)
    }

    #[cfg(feature = "tract")]
    pub const fn tract() -> Result<Self, EngineFault> {
        Ok(Self::Tract)
    }

    #[cfg(not(feature = "tract"))]
    pub const fn tract() -> Result<Self, EngineFault> {
        Err(EngineFault::NoTract)
    }

    /// Loads a model. The log names it `label`.
    pub fn load(
        &self,
        bytes: &[u8],
        options: Options,
        label: impl Into<Arc<str>>,
    ) -> Result<Box<dyn Network>, EngineFault> {
        match self {
            Self::OnnxRuntime(runtime) => Ok(Box::new(OnnxNetwork::load(runtime, bytes, options)?.named(label))),
            #[cfg(feature = "tract")]
            Self::Tract => Ok(Box::new(TractNetwork::load(bytes, options)?)),
        }
    }

    pub fn has(&self, provider: Provider) -> bool {
        match self {
            Self::OnnxRuntime(runtime) => runtime.has(provider),
            #[cfg(feature = "tract")]
            Self::Tract => provider.is_cpu(),
        }
    }

    /// Identifies the library, and distinguishes it from a newer one at the same path.
    pub fn identity(&self) -> String {
        match self {
            Self::OnnxRuntime(runtime) => {
                let file = std::fs::metadata(&runtime.path).ok();
                let written = file.map(|file| (file.len(), file.modified().ok()));
                format!("{self} {} {written:?}", runtime.path.display())
            }
            #[cfg(feature = "tract")]
            Self::Tract => self.to_string(),
        }
    }

    pub(crate) fn argument(&self) -> OsString {
        match self {
            Self::OnnxRuntime(runtime) => runtime.path.clone().into(),
            #[cfg(feature = "tract")]
            Self::Tract => NO_LIBRARY.into(),
        }
    }

    pub(crate) fn of_argument(argument: &OsStr) -> Result<Self, EngineFault> {
        if argument == NO_LIBRARY { Self::tract() } else { Self::onnx_runtime(Some(Path::new(argument))) }
    }
}

impl From<&Runtime> for Backend {
    fn from(runtime: &Runtime) -> Self {
        Self::OnnxRuntime(runtime.clone())
    }
}

impl From<&Self> for Backend {
    fn from(backend: &Self) -> Self {
        backend.clone()
    }
}

/// `ONNX Runtime 1.31.1`.
impl std::fmt::Display for Backend {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::OnnxRuntime(runtime) => write!(f, "ONNX Runtime {}", runtime.version),
            #[cfg(feature = "tract")]
            Self::Tract => f.write_str("tract"),
        }
    }
}
