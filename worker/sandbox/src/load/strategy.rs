//! The strategy for a clean state at each message: rewind the instance, or create a new one. The choice depends only on
//! the module and precedes its compilation.
//!
//! Guarantees: a rewind is chosen only if messages can change nothing but memory and numeric globals. All other plugins
//! get fresh instances, because correctness is more important than speed.

use std::fmt;

use wasmtime::wasmparser::{FunctionBody, GlobalSectionReader, Operator, Payload, Result};

use super::inspect::payloads;
use super::rewrite::PREFIX;
use crate::limits;
use crate::text::Size;

/// The work between two messages of a lane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Strategy {
    /// The instance stays, and its memory and globals are restored. `init` runs once, at load. After a failed call or
    /// a growth of memory the next call gets a new instance with the same contents.
    Rewind { memory: usize, globals: usize },
    /// Every message gets a new instance, and `init` runs in it.
    Fresh { because: Because },
}

/// The reason against reuse of a plugin's instances.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Because {
    #[error("it writes to tables ({0})")]
    WritesTables(&'static str),
    #[error("it drops segments ({0})")]
    DropsSegments(&'static str),
    #[error("it has a mutable global of a reference type")]
    HoldsReferences,
    #[error("it has {0} mutable globals, more than {max}", max = limits::REWIND_GLOBALS)]
    ManyGlobals(usize),
    #[error("it exports names with the reserved prefix {PREFIX}")]
    ReservedExport,
}

impl fmt::Display for Strategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rewind { memory, globals } => {
                let memory = Size(*memory as u64);
                let globals = match globals {
                    0 => "no globals".to_owned(),
                    1 => "1 global".to_owned(),
                    many => format!("{many} globals"),
                };
                write!(f, "rewind: {memory} of memory and {globals} are reset after each message")
            }
            Self::Fresh { because } => write!(f, "fresh instance for each message: {because}"),
        }
    }
}

/// The strategy before `init` has run.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Plan {
    /// With the indices of the globals to restore.
    Rewind(Vec<u32>),
    Fresh(Because),
}

impl Plan {
    /// The globals for a rewritten module to export. `None` if the module is not rewritten.
    pub(crate) fn globals(&self) -> Option<&[u32]> {
        match self {
            Self::Rewind(globals) => Some(globals),
            Self::Fresh(_) => None,
        }
    }
}

/// Chooses a strategy for a valid module.
pub(crate) fn plan(wasm: &[u8]) -> Result<Plan> {
    let mut globals = Vec::new();
    let mut obstacle = None;
    for payload in payloads(wasm) {
        let found = match payload? {
            Payload::GlobalSection(section) => mutable_globals(section, &mut globals)?,
            Payload::ExportSection(section) => {
                let mut exports = section.into_iter().filter_map(Result::ok);
                exports.any(|export| export.name.starts_with(PREFIX)).then_some(Because::ReservedExport)
            }
            Payload::CodeSectionEntry(body) => irreversible(&body)?,
            _ => None,
        };
        obstacle = obstacle.or(found);
    }
    if globals.len() > limits::REWIND_GLOBALS {
        obstacle = obstacle.or(Some(Because::ManyGlobals(globals.len())));
    }
    Ok(obstacle.map_or(Plan::Rewind(globals), Plan::Fresh))
}

/// Collects the mutable globals. Imported globals are forbidden, so the section numbers them in order.
fn mutable_globals(section: GlobalSectionReader<'_>, globals: &mut Vec<u32>) -> Result<Option<Because>> {
    for (index, global) in (0..).zip(section) {
        let ty = global?.ty;
        if ty.mutable && ty.content_type.is_reference_type() {
            return Ok(Some(Because::HoldsReferences));
        }
        if ty.mutable {
            globals.push(index);
        }
    }
    Ok(None)
}

const TABLE_SET: u8 = 0x26;
/// The first byte of instructions on whole segments, tables and memories.
const BULK: u8 = 0xfc;

/// The first instruction with effects beyond memory and globals. Unreachable ones count, too.
fn irreversible(body: &FunctionBody<'_>) -> Result<Option<Because>> {
    // Decoding is slow. All instructions in question start with one of these bytes.
    if !body.as_bytes().iter().any(|&byte| byte == TABLE_SET || byte == BULK) {
        return Ok(None);
    }
    for operator in body.get_operators_reader()? {
        let because = match operator? {
            Operator::TableSet { .. } => Because::WritesTables("table.set"),
            Operator::TableGrow { .. } => Because::WritesTables("table.grow"),
            Operator::TableFill { .. } => Because::WritesTables("table.fill"),
            Operator::TableCopy { .. } => Because::WritesTables("table.copy"),
            Operator::TableInit { .. } => Because::WritesTables("table.init"),
            Operator::ElemDrop { .. } => Because::DropsSegments("elem.drop"),
            Operator::DataDrop { .. } => Because::DropsSegments("data.drop"),
            _ => continue,
        };
        return Ok(Some(because));
    }
    Ok(None)
}
