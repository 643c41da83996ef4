//! The faults of loading.

use std::time::Duration;

use crate::host::fault::Fault;
use crate::limits;
use crate::text::Size;

/// The reason to reject a module. The text addresses the author of the plugin or of the entry.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoadFault {
    #[error("is not WebAssembly: a core module starts with the bytes 00 61 73 6d 01 00 00 00")]
    NotWasm,
    #[error("is a WebAssembly component: build a core module (for Rust the target wasm32-unknown-unknown)")]
    Component,
    #[error("is compiled machine code, which is never loaded: use the WebAssembly module instead")]
    MachineCode,
    #[error("has {bytes} bytes, more than {}", Size(limits::MODULE_BYTES as u64))]
    ModuleTooLarge { bytes: usize },
    #[error("has {count} functions, more than {}", limits::FUNCTIONS)]
    TooManyFunctions { count: u32 },
    #[error("has a function of {bytes} bytes, more than {}: split it", Size(limits::FUNCTION_BYTES as u64))]
    FunctionTooLarge { bytes: usize },
    #[error("has {count} tables, more than {}", limits::TABLES)]
    TooManyTables { count: u32 },
    #[error("has a table of {elements} elements, more than {}", limits::TABLE_ELEMENTS)]
    TableTooLarge { elements: u64 },
    #[error("is not a valid module of the features that plugins may use: {0}")]
    Invalid(String),
    #[error("imports {import}: a plugin may import only the functions inferbus.log and inferbus.emit")]
    ForbiddenImport { import: String },
    #[error("imports inferbus.{import} without the grant: add \"{import}\" to the plugin's grants")]
    NotGranted { import: &'static str },
    #[error("imports inferbus.{import} as {found}, but it is {expected}")]
    WrongImport { import: &'static str, expected: &'static str, found: String },
    #[error("exports no {export}: a plugin must export memory, alloc and transform")]
    MissingExport { export: &'static str },
    #[error("exports {export} as {found}, but it must be {expected}")]
    WrongExport { export: &'static str, expected: &'static str, found: String },
    #[error("starts with {initial} bytes of memory, more than {} (limits.memory)", Size(*limit as u64))]
    MemoryOverLimit { initial: u64, limit: usize },
    #[error("asks for {asked} ({key}), more than the {ceiling} that this worker allows")]
    OverCeiling { key: &'static str, asked: String, ceiling: String },
    #[error("has a config in its entry, but exports no init: remove the config or export init")]
    UnusedConfig,
    #[error("could not be compiled: {0}")]
    Compile(String),
    #[error(
        "took more than {} s of processor time to compile: make the module smaller or split its functions",
        limit.as_secs()
    )]
    CompilerOutOfTime { limit: Duration },
    #[error("took more than {} of memory to compile: make the module smaller or split its functions", Size(*limit))]
    CompilerOutOfMemory { limit: u64 },
    #[error("was not compiled within {} s: give the worker more processor time", limit.as_secs())]
    CompilerTooSlow { limit: Duration },
    #[error("becomes more than {} of machine code: make the module smaller", Size(*limit as u64))]
    CompiledTooLarge { limit: usize },
    #[error("ended the compiler by signal {signal}: change the module{}", said_compiler(words))]
    CompilerKilled { signal: i32, words: String },
    #[error("could not be compiled: the compiler process {why}")]
    CompilerBroken { why: String },
    #[error("could not be compiled: the compiler process could not be started: {why}")]
    NoCompiler { why: String },
    #[error("failed during instantiation, in its start function or its data: it {0}")]
    Start(Fault),
    #[error("failed in init: it {fault}{}", said(last_words.as_deref()))]
    Init {
        fault: Fault,
        /// The last log line of the call.
        last_words: Option<String>,
    },
}

impl LoadFault {
    /// Whether a retry of the same module may succeed, because the machine is at fault.
    pub fn may_pass(&self) -> bool {
        // Signals from operators and from the kernel. No module causes them.
        const FROM_OUTSIDE: [i32; 4] = [libc::SIGHUP, libc::SIGINT, libc::SIGKILL, libc::SIGTERM];
        match self {
            Self::NoCompiler { .. } | Self::CompilerTooSlow { .. } => true,
            Self::CompilerKilled { signal, .. } => FROM_OUTSIDE.contains(signal),
            _ => false,
        }
    }
}

fn said(last_words: Option<&str>) -> String {
    last_words.map(|line| format!("; its last log line: {line}")).unwrap_or_default()
}

fn said_compiler(words: &str) -> String {
    if words.is_empty() { String::new() } else { format!("; the compiler said: {words}") }
}
