//! Every fault of the engine, as a sentence with a remedy.

use std::{path::PathBuf, time::Duration};

use inferbus_abi::frame::DataType;

use crate::limits::{MAX_MESSAGE, MAX_MODEL, MAX_NESTING, MAX_PORTS, MAX_THREADS, MIN_RUNTIME_MINOR};

const REMEDY: &str =
    "set ORT_DYLIB_PATH to the file of an ONNX Runtime library, or run `make setup`, or do without by --engine tract";

const SMALLER: &str = "make it smaller, or fold its constants when you export it";

/// A runtime or a session cannot be created. The operator or the model's author can repair it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EngineFault {
    #[error("there is no ONNX Runtime library at {}; {REMEDY}", path.display())]
    LibraryMissing { path: PathBuf },
    #[error("{} does not load as a library ({why}); {REMEDY}", path.display())]
    LibraryUnusable { path: PathBuf, why: String },
    #[error("{} is a library, but not ONNX Runtime; {REMEDY}", path.display())]
    NotOnnxRuntime { path: PathBuf },
    #[error(
        "{} is ONNX Runtime {version}, but 1.{MIN_RUNTIME_MINOR} or a newer 1.x is needed; {REMEDY}",
        path.display()
    )]
    WrongVersion { path: PathBuf, version: String },
    #[error("ONNX Runtime from {} did not start ({why}); {REMEDY}", path.display())]
    DidNotStart { path: PathBuf, why: String },
    #[error(
        "this process already runs ONNX Runtime from {} and can load only one; restart it to use {}",
        loaded.display(),
        asked.display()
    )]
    AlreadyLoaded { loaded: PathBuf, asked: PathBuf },
    #[error("the option threads is {threads}; a session takes 1 to {MAX_THREADS}")]
    BadThreads { threads: usize },
    #[error("the model has {len} bytes; ONNX files have at most {MAX_MODEL}")]
    ModelTooLarge { len: usize },
    #[error("the model is not an ONNX file: {what} at byte {at}; is it truncated, or in another format?")]
    NotOnnx { what: &'static str, at: usize },
    #[error("the model's graphs are nested deeper than {MAX_NESTING} messages; flatten its control flow")]
    TooDeep,
    #[error("the model keeps {tensor:?} in a separate file; save it as one file, without external data")]
    ExternalData { tensor: String },
    #[error("the model's {name:?} has a shape with a negative size, or with more than 2^40 elements")]
    AbsurdShape { name: String },
    #[error(
        "the model's {tensor:?} has {found} bytes of data, but its shape and type need {expected}; is it truncated?"
    )]
    WrongLength { tensor: String, found: u64, expected: u64 },
    #[error(
        "the model's operator {operator:?} is from {domain:?}, a domain unknown to ONNX Runtime; \
         export the model with standard operators"
    )]
    UnknownDomain { operator: String, domain: String },
    #[error(
        "the model contains a part compiled for one device (EPContext) and cannot be checked; \
         export it without that part, or start workers with --allow ep-context"
    )]
    EpContext,
    #[error(
        "the model is in ONNX Runtime's own format and cannot be checked; \
         export it as ONNX, or start workers with --allow ort-format"
    )]
    OrtFormat,
    #[error("the model's {port:?} is not a tensor; all inputs and outputs must be tensors")]
    NotATensor { port: String },
    #[error("the model has {ports} inputs or outputs; a frame holds at most {MAX_PORTS}")]
    TooManyPorts { ports: usize },
    #[error("the thread for time limits of models cannot be started: {why}")]
    NoClock { why: String },
    #[error(
        "this ONNX Runtime lacks the provider {asked:?}; it has {has}: \
         change engine.provider, or use a library with this provider"
    )]
    NoProvider { asked: &'static str, has: String },
    #[error("ONNX Runtime rejected the model: {0}")]
    Refused(String),
    #[error(
        "this program was built without tract: build it with `cargo build --release --features tract`, \
         or use ONNX Runtime (--engine onnxruntime)"
    )]
    NoTract,
    #[error("tract rejected the model: {0}; ONNX Runtime supports more models (--engine onnxruntime)")]
    TractRefused(String),
    #[error("tract does not support the type {dtype} of the model's {port:?}; use ONNX Runtime (--engine onnxruntime)")]
    TractLacks { port: String, dtype: DataType },
    #[error("{0}")]
    InTrial(String),
    #[error("the trial process for new models failed to run ({why}); check this program's file, the worker starts it")]
    NoTrial { why: String },
    #[error("loading the model and running it once took longer than {limit:?}; {SMALLER}")]
    TrialTooSlow { limit: Duration },
    #[error("loading the model and running it once needs more than {limit:?} of processor time; {SMALLER}")]
    TrialOutOfTime { limit: Duration },
    #[error("one run of the model on zeros does not end within {limit:?}; {SMALLER}")]
    EndlessOnZeros { limit: Duration },
    #[error(
        "loading the model and running it once needs more than {} MiB; {SMALLER}, or raise --trial-memory",
        limit >> 20
    )]
    TrialOutOfMemory { limit: u64 },
    #[error(
        "the model ended the process that tried it ({how}: {words}) and is not served; \
         check where it comes from, or export it again"
    )]
    TrialDied { how: String, words: String },
}

impl EngineFault {
    /// Whether a later attempt with the same model may succeed.
    pub const fn may_pass(&self) -> bool {
        matches!(self, Self::NoTrial { .. } | Self::TrialTooSlow { .. })
    }
}

/// A run failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ModelFault {
    #[error("unknown input {input:?}; the model takes {known}")]
    UnknownInput { input: String, known: String },
    #[error("the model's input {input:?} was not given")]
    MissingInput { input: String },
    #[error("the model's input {input:?} was given twice")]
    RepeatedInput { input: String },
    #[error("the model's input {input:?} takes {expected}, not {got}")]
    WrongType { input: String, expected: DataType, got: DataType },
    #[error("the model's input {input:?} takes the shape {expected}, not {got}")]
    WrongShape { input: String, expected: String, got: String },
    #[error("the data for the model's input {input:?} does not match its type and shape: {what}")]
    BadData { input: String, what: String },
    #[error("it ran longer than {limit:?} and was stopped; raise engine.time, or make the model or its input smaller")]
    OutOfTime { limit: Duration },
    #[error("ONNX Runtime: {0}")]
    Failed(String),
    #[error("tract: {0}")]
    TractFailed(String),
}

impl ModelFault {
    /// Whether the inputs are at fault. The client gets such a fault as its answer.
    pub const fn is_callers(&self) -> bool {
        !matches!(self, Self::OutOfTime { .. } | Self::Failed(_) | Self::TractFailed(_))
    }

    pub(crate) fn failed(why: impl ToString) -> Self {
        Self::Failed(one_line(&why.to_string()))
    }

    pub(crate) fn bad_data(input: &str, what: impl ToString) -> Self {
        Self::BadData { input: input.into(), what: what.to_string() }
    }
}

/// A message as one bounded line, for headers and logs. It quotes untrusted names.
pub(crate) fn one_line(message: &str) -> String {
    let mut line = String::new();
    for character in message.trim().chars() {
        if line.len() + character.len_utf8() > MAX_MESSAGE {
            line.push('…');
            break;
        }
        line.push(if character.is_control() { ' ' } else { character });
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_becomes_one_bounded_line() {
        assert_eq!(one_line(" two\nlines\u{1b}[31m \n"), "two lines [31m");
        let long = one_line(&"ä".repeat(MAX_MESSAGE));
        assert_eq!(long, format!("{}…", "ä".repeat(MAX_MESSAGE / 2)));
    }

    #[test]
    fn only_a_failed_run_is_not_the_callers_fault() {
        assert!(!ModelFault::OutOfTime { limit: Duration::from_secs(1) }.is_callers());
        assert!(ModelFault::MissingInput { input: "x".into() }.is_callers());
        assert!(!ModelFault::failed("out of memory").is_callers());
    }
}
