//! How a model is run: the settings of an entry, for every backend.

use std::time::Duration;

use crate::limits::RUN_TIME;

/// How the sessions of a network run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Options {
    /// Threads inside one operator. With one, a run stays on the thread that asked for it.
    pub threads: usize,
    /// What one run may take, from its begin to its end.
    pub time: Duration,
    /// Whether ONNX Runtime keeps the memory of a run for the next one.
    pub arena: bool,
    pub provider: Provider,
    pub sharing: Sharing,
    /// Whether messages will share runs, so that a trial tries that, too.
    pub together: bool,
    pub allow: Allow,
}

/// What is taken though nothing here can check it: the operator vouches for where models come from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Allow {
    /// Models in ONNX Runtime's own format.
    pub ort_format: bool,
    /// Models with parts compiled for one device.
    pub ep_context: bool,
}

/// What ONNX Runtime runs a model on. What that cannot run, the processor does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Provider {
    Cpu,
    Cuda,
    TensorRt,
    OpenVino,
}

impl Provider {
    pub const ALL: [Self; 4] = [Self::Cpu, Self::Cuda, Self::TensorRt, Self::OpenVino];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Cuda => "cuda",
            Self::TensorRt => "tensorrt",
            Self::OpenVino => "openvino",
        }
    }

    pub(crate) fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|provider| provider.name() == name)
    }

    pub(crate) const fn is_cpu(self) -> bool {
        matches!(self, Self::Cpu)
    }

    /// As ONNX Runtime calls it.
    pub const fn long_name(self) -> &'static str {
        match self {
            Self::Cpu => "CPUExecutionProvider",
            Self::Cuda => "CUDAExecutionProvider",
            Self::TensorRt => "TensorrtExecutionProvider",
            Self::OpenVino => "OpenVINOExecutionProvider",
        }
    }
}

/// Whether lanes run one session or have one each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Sharing {
    /// What suits the model's size.
    BySize,
    One,
    Each,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            threads: 1,
            time: RUN_TIME,
            arena: true,
            provider: Provider::Cpu,
            sharing: Sharing::BySize,
            together: false,
            allow: Allow::default(),
        }
    }
}
