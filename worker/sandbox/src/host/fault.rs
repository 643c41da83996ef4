//! Every way in which a call can fail, and how Wasmtime's errors become one of them.

use std::time::Duration;

use wasmtime::Trap;

use crate::limits;
use crate::text::Size;

/// Why a call gave no reply. The message is meant for the plugin's author and names the entry's key where one
/// can be raised.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    #[error("refused the message: {0}")]
    Refused(String),
    #[error("trapped: {kind}{}", in_functions(functions))]
    Trap {
        kind: TrapKind,
        /// The innermost functions, where the module names them.
        functions: Vec<String>,
    },
    #[error("ran out of time after {limit:?} of processor time (limits.time)")]
    OutOfTime { limit: Duration },
    #[error("ran out of memory: it needs more than {} (limits.memory)", Size(*limit as u64))]
    OutOfMemory { limit: usize },
    #[error("overflowed the stack of {}, which is the same for every plugin: recurse less deeply", Size(limits::STACK as u64))]
    StackOverflow,
    #[error("returned {len} bytes, more than {} (limits.output)", Size(*limit as u64))]
    OutputTooLarge { len: u32, limit: usize },
    #[error("emitted more than {limit} messages (limits.emits)")]
    EmitTooMany { limit: u32 },
    #[error("emitted more than {} in all (limits.emit_bytes)", Size(*limit as u64))]
    EmitTooLarge { limit: usize },
    #[error(
        "emitted to the topic `{0}`: a topic is made of tokens between dots, at most {max} bytes of printable ASCII in all; none \
         may be empty, start with `$`, or hold `*` or `>`",
        max = limits::TOPIC_BYTES
    )]
    BadEmitTopic(String),
    #[error("called emit before there was a message: emit only from transform")]
    EmitOutsideMessage,
    #[error("gave {what} at {ptr}, {len} bytes long, outside its memory of {memory} bytes")]
    BadPointer { what: &'static str, ptr: u32, len: u32, memory: usize },
    #[error("got {ptr} from alloc({len}), {}", bad_alloc(*ptr))]
    BadAlloc { len: u32, ptr: u32 },
    #[error("refused its config with code {code}")]
    InitRefused { code: i32 },
    #[error("found no free instance: all {limit} of this worker are in use")]
    NoInstance { limit: u32 },
    #[error("could not be run by this worker: {0}")]
    Host(String),
}

/// What an outcome depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FaultClass {
    /// The plugin looked at the message and said no.
    Refused,
    /// The plugin is broken, or met a message that breaks it.
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
    #[error("it called through an empty table slot")]
    NullCall,
    #[error("it called a function with the wrong signature")]
    WrongSignature,
    #[error("an integer overflowed")]
    IntegerOverflow,
    #[error("it divided by zero")]
    DivisionByZero,
    #[error("it converted a float that fits no integer")]
    BadConversion,
    #[error("it did what WebAssembly does not allow")]
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
        "which says that there is no room for the input"
    } else if !(ptr as usize).is_multiple_of(inferbus_abi::ALIGNMENT) {
        "which is not a multiple of 16"
    } else {
        "which leaves no room for the input inside its memory"
    }
}
