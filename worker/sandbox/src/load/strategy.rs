//! How a plugin's next message gets the state that `init` left: by putting back what the last one changed, or by an
//! instance of its own. Decided from what the module is made of, before it is compiled.
//!
//! Promises: a rewind is chosen only where memory and numeric globals are all that a message can change. What
//! cannot be told or put back gets a fresh instance, because correct is worth more than fast.

use std::fmt;

use wasmtime::wasmparser::{FunctionBody, GlobalSectionReader, Operator, Payload, Result};

use super::inspect::payloads;
use super::rewrite::PREFIX;
use crate::limits;
use crate::text::Size;

/// What happens between two messages of a lane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Strategy {
    /// The instance stays and this much of it is put back; `init` ran once, when the plugin was loaded. A call that
    /// grew memory or failed costs the instance, and the next one starts from a new one with the same contents.
    Rewind { memory: usize, globals: usize },
    /// Every message gets an instance of its own, and `init` runs in it.
    Fresh { because: Because },
}

/// Why a plugin's instances cannot be used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Because {
    #[error("it writes to tables ({0})")]
    WritesTables(&'static str),
    #[error("it drops segments ({0})")]
    DropsSegments(&'static str),
    #[error("it has a mutable global that holds a reference")]
    HoldsReferences,
    #[error("it has {0} mutable globals, more than {max}", max = limits::REWIND_GLOBALS)]
    ManyGlobals(usize),
    #[error("it exports names that begin with {PREFIX}")]
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
                write!(f, "rewind: what a message wrote to {memory} of memory, and {globals}, are put back after it")
            }
            Self::Fresh { because } => write!(f, "fresh instance for each message: {because}"),
        }
    }
}

/// What the module allows, as far as it can be told before `init` has run.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Plan {
    /// With the indices of the globals to put back.
    Rewind(Vec<u32>),
    Fresh(Because),
}

impl Plan {
    /// What a rewritten module exports; `None` where the module stays as it is.
    pub(crate) fn globals(&self) -> Option<&[u32]> {
        match self {
            Self::Rewind(globals) => Some(globals),
            Self::Fresh(_) => None,
        }
    }
}

/// Plans for a module that inspection found valid.
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

/// Collects the mutable globals. None is imported, so they are numbered in their order.
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
/// What the codes of instructions on whole segments, tables and memories begin with.
const BULK: u8 = 0xfc;

/// The first instruction whose effect no copy of memory and globals undoes. One that never runs counts too.
fn irreversible(body: &FunctionBody<'_>) -> Result<Option<Because>> {
    // Reading instructions is slow, and each one sought is or begins with one of these bytes.
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
