//! The faults of calls.

use std::time::Duration;

use wasmtime::Trap;

use crate::limits;
use crate::text::Size;

/// The reason for a call without a reply. The text addresses the plugin's author. It names the key of a limit if an
/// entry can raise it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    #[error("refused the message: {0}")]
    Refused(String),
    #[error("trapped: {kind}{}", in_functions(functions))]
    Trap {
        kind: TrapKind,
        /// The innermost functions, if the module has a name section.
        functions: Vec<String>,
    },
    #[error("ran out of time after {limit:?} of processor time (limits.time)")]
    OutOfTime { limit: Duration },
    #[error("ran out of memory: it needs more than {} (limits.memory)", Size(*limit as u64))]
    OutOfMemory { limit: usize },
    #[error("overflowed the stack of {} (the same for every plugin): reduce the recursion", Size(limits::STACK as u64))]
    StackOverflow,
    #[error("returned {len} bytes, more than {} (limits.output)", Size(*limit as u64))]
    OutputTooLarge { len: u32, limit: usize },
    #[error("emitted more than {limit} messages (limits.emits)")]
    EmitTooMany { limit: u32 },
    #[error("emitted more than {} in all (limits.emit_bytes)", Size(*limit as u64))]
    EmitTooLarge { limit: usize },
    #[error(
        "emitted to the topic `{0}`: use tokens of printable ASCII between dots, at most {max} bytes in total; no \
         token may be empty, start with `$`, or contain `*` or `>`",
        max = limits::TOPIC_BYTES
    )]
    BadEmitTopic(String),
    #[error("called emit outside of a message: emit only from transform")]
    EmitOutsideMessage,
    #[error("gave {what} at {ptr} ({len} bytes), outside its memory of {memory} bytes")]
    BadPointer { what: &'static str, ptr: u32, len: u32, memory: usize },
    #[error("returned {ptr} from alloc({len}): {}", bad_alloc(*ptr))]
    BadAlloc { len: u32, ptr: u32 },
    #[error("refused its config with code {code}")]
    InitRefused { code: i32 },
    #[error("found no free instance: all {limit} of this worker are in use")]
    NoInstance { limit: u32 },
    #[error("failed in the worker: {0}")]
    Host(String),
}

/// The class of a fault, for outcomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FaultClass {
    /// The plugin rejected the message.
    Refused,
    /// The plugin is defective, at least for this message.
    Trapped,
    OutOfTime,
    OverLimit,
}

impl Fault {
    pub fn class(&self) -> FaultClass {
        match self {
            Self::Refused(_) => FaultClass::Refused,
            Self::OutOfTime { .. } => FaultClass::OutOfTime,
            Self::OutOfMemory { .. }
            | Self::StackOverflow
            | Self::OutputTooLarge { .. }
            | Self::EmitTooMany { .. }
            | Self::EmitTooLarge { .. }
            | Self::NoInstance { .. } => FaultClass::OverLimit,
            Self::Trap { .. }
            | Self::BadEmitTopic(_)
            | Self::EmitOutsideMessage
            | Self::BadPointer { .. }
            | Self::BadAlloc { .. }
            | Self::InitRefused { .. }
            | Self::Host(_) => FaultClass::Trapped,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum TrapKind {
    #[error("it panicked or gave up (unreachable)")]
    Unreachable,
    #[error("it accessed memory out of bounds")]
    MemoryOutOfBounds,
    #[error("it accessed a table out of bounds")]
    TableOutOfBounds,
    #[error("it called an empty table slot")]
    NullCall,
    #[error("it called a function with the wrong signature")]
    WrongSignature,
    #[error("an integer overflowed")]
    IntegerOverflow,
    #[error("it divided by zero")]
    DivisionByZero,
    #[error("it converted a float outside the range of the integer type")]
    BadConversion,
    #[error("it violated a rule of WebAssembly")]
    Other,
}

impl From<Trap> for TrapKind {
    fn from(trap: Trap) -> Self {
        match trap {
            Trap::UnreachableCodeReached => Self::Unreachable,
            Trap::MemoryOutOfBounds => Self::MemoryOutOfBounds,
            Trap::TableOutOfBounds => Self::TableOutOfBounds,
            Trap::IndirectCallToNull => Self::NullCall,
            Trap::BadSignature => Self::WrongSignature,
            Trap::IntegerOverflow => Self::IntegerOverflow,
            Trap::IntegerDivisionByZero => Self::DivisionByZero,
            Trap::BadConversionToInteger => Self::BadConversion,
            _ => Self::Other,
        }
    }
}

fn in_functions(functions: &[String]) -> String {
    if functions.is_empty() { String::new() } else { format!(", in {}", functions.join(" called by ")) }
}

fn bad_alloc(ptr: u32) -> &'static str {
    if ptr == 0 {
        "there is no memory for the input"
    } else if !(ptr as usize).is_multiple_of(inferbus_abi::ALIGNMENT) {
        "the address is not a multiple of 16"
    } else {
        "the input would not fit into its memory"
    }
}
