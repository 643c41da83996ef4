//! The settings of an entry for running its model, for every backend.

use std::time::Duration;

use crate::limits::RUN_TIME;

/// How the sessions of a network run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Options {
    /// Threads inside one operator. With one, a run stays on the calling thread.
    pub threads: usize,
    /// The time limit of one run.
    pub time: Duration,
    /// Whether ONNX Runtime keeps the memory of a run for the next one.
    pub arena: bool,
    pub provider: Provider,
    pub sharing: Sharing,
    /// Whether messages will share runs. The trial then tests that, too.
    pub together: bool,
    pub allow: Allow,
}

/// Model formats accepted without a check: the operator vouches for the source of the models.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Allow {
    /// Models in ONNX Runtime's own format.
    pub ort_format: bool,
    /// Models with parts compiled for one device.
    pub ep_context: bool,
}

/// ONNX Runtime's execution provider for a model. The processor runs the operators that it lacks.
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

    /// ONNX Runtime's name for it.
    pub const fn long_name(self) -> &'static str {
        match self {
            Self::Cpu => "CPUExecutionProvider",
            Self::Cuda => "CUDAExecutionProvider",
            Self::TensorRt => "TensorrtExecutionProvider",
            Self::OpenVino => "OpenVINOExecutionProvider",
        }
    }
}

/// Whether lanes share one session or have one each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Sharing {
    /// Depending on the model's size.
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
