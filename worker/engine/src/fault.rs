//! Everything that can go wrong, as sentences for the one who can mend it.

use std::{path::PathBuf, time::Duration};

use inferbus_abi::frame::DataType;

use crate::limits::{MAX_MESSAGE, MAX_MODEL, MAX_NESTING, MAX_PORTS, MAX_THREADS, MIN_RUNTIME_MINOR};

const REMEDY: &str =
    "set ORT_DYLIB_PATH to the file of an ONNX Runtime library, or run `make setup`, or do without by --engine tract";

const SMALLER: &str = "make it smaller, or fold its constants when you export it";

/// Why there is no runtime, or no session: the operator's or the model author's business.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EngineFault {
    #[error("there is no ONNX Runtime library at {}; {REMEDY}", path.display())]
    LibraryMissing { path: PathBuf },
    #[error("{} does not load as a library ({why}); {REMEDY}", path.display())]
    LibraryUnusable { path: PathBuf, why: String },
    #[error("{} is a library, but not ONNX Runtime; {REMEDY}", path.display())]
    NotOnnxRuntime { path: PathBuf },
    #[error("{} is ONNX Runtime {version}, and 1.{MIN_RUNTIME_MINOR} or a newer 1.x is needed; {REMEDY}", path.display())]
    WrongVersion { path: PathBuf, version: String },
    #[error("ONNX Runtime from {} did not start ({why}); {REMEDY}", path.display())]
    DidNotStart { path: PathBuf, why: String },
    #[error(
        "this process already runs ONNX Runtime from {} and can load only one; restart it to use {}",
        loaded.display(),
        asked.display()
    )]
    AlreadyLoaded { loaded: PathBuf, asked: PathBuf },
    #[error("{threads} threads were asked for; a session takes 1 to {MAX_THREADS}")]
    BadThreads { threads: usize },
    #[error("the model has {len} bytes, and ONNX files end at {MAX_MODEL}")]
    ModelTooLarge { len: usize },
    #[error("the model is not an ONNX file: {what} at byte {at}; was it cut short, or is it another format?")]
    NotOnnx { what: &'static str, at: usize },
    #[error("the model nests its graphs deeper than {MAX_NESTING} messages; flatten its control flow")]
    TooDeep,
    #[error("the model keeps {tensor:?} in a file of its own; save it again as one file, without external data")]
    ExternalData { tensor: String },
    #[error("the model's {name:?} has a shape of a negative size, or of more elements than 2^40")]
    AbsurdShape { name: String },
    #[error(
        "the model's {tensor:?} has {found} bytes of data, and its shape and type make {expected}; was it cut short?"
    )]
    WrongLength { tensor: String, found: u64, expected: u64 },
    #[error(
        "the model's operator {operator:?} is of {domain:?}, which ONNX Runtime does not ship; export it with standard operators"
    )]
    UnknownDomain { operator: String, domain: String },
    #[error(
        "the model holds a part compiled for one device (EPContext), which nothing here can check; export it without, or let workers take it with --allow ep-context"
    )]
    EpContext,
    #[error(
        "the model is in ONNX Runtime's own format, which nothing here can check; export it as ONNX, or let workers take it with --allow ort-format"
    )]
    OrtFormat,
    #[error("the model's {port:?} is not a tensor; only models whose inputs and outputs are tensors can be served")]
    NotATensor { port: String },
    #[error("the model has {ports} inputs or outputs, and a frame holds {MAX_PORTS}")]
    TooManyPorts { ports: usize },
    #[error("the thread that ends models which run too long cannot be started: {why}")]
    NoClock { why: String },
    #[error(
        "this ONNX Runtime has no provider {asked:?}; it has {has}: change engine.provider, or give it a library that has it"
    )]
    NoProvider { asked: &'static str, has: String },
    #[error("ONNX Runtime refused the model: {0}")]
    Refused(String),
    #[error(
        "this program was built without tract: build it with `cargo build --release --features tract`, or use ONNX Runtime (--engine onnxruntime)"
    )]
    NoTract,
    #[error("tract refused the model: {0}; ONNX Runtime knows more (--engine onnxruntime)")]
    TractRefused(String),
    #[error(
        "the model's {port:?} is of type {dtype}, which tract cannot be given; use ONNX Runtime (--engine onnxruntime)"
    )]
    TractLacks { port: String, dtype: DataType },
    #[error("{0}")]
    InTrial(String),
    #[error("the process that tries new models cannot be used ({why}); it is started from this program's own file")]
    NoTrial { why: String },
    #[error("the model was not loaded and run once within {limit:?}; {SMALLER}")]
    TrialTooSlow { limit: Duration },
    #[error("the model needs more than {limit:?} of processor time to be loaded and run once; {SMALLER}")]
    TrialOutOfTime { limit: Duration },
    #[error("one run of the model on zeros does not end within {limit:?}; {SMALLER}")]
    EndlessOnZeros { limit: Duration },
    #[error("the model needs more than {} MiB to be loaded and run once; {SMALLER}, or raise --max-model-memory", limit >> 20)]
    TrialOutOfMemory { limit: u64 },
    #[error(
        "the model ended the process that tried it ({how}: {words}): it is not served; do not trust where it comes from, or export it again"
    )]
    TrialDied { how: String, words: String },
}

impl EngineFault {
    /// Whether the same model may be loaded at another time.
    pub const fn may_pass(&self) -> bool {
        matches!(self, Self::NoTrial { .. } | Self::TrialTooSlow { .. })
    }
}

/// Why a run has no outputs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ModelFault {
    #[error("the model has no input {input:?}; it takes {known}")]
    UnknownInput { input: String, known: String },
    #[error("the model's input {input:?} was not given")]
    MissingInput { input: String },
    #[error("the model's input {input:?} was given twice")]
    RepeatedInput { input: String },
    #[error("the model's input {input:?} takes {expected}, not {got}")]
    WrongType { input: String, expected: DataType, got: DataType },
    #[error("the model's input {input:?} takes the shape {expected}, not {got}")]
    WrongShape { input: String, expected: String, got: String },
    #[error("the data for the model's input {input:?} does not fit its type and shape: {what}")]
    BadData { input: String, what: String },
    #[error("it ran longer than {limit:?} and was stopped; raise engine.time, or make the model or its input smaller")]
    OutOfTime { limit: Duration },
    #[error("ONNX Runtime: {0}")]
    Failed(String),
    #[error("tract: {0}")]
    TractFailed(String),
}

impl ModelFault {
    /// Whether other inputs could have gone well: then it is told to whoever made them.
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

/// A message as one bounded line: it goes into headers and logs, and quotes names that a stranger chose.
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
