//! Exports the mutable globals of a module under private names, so the host can restore them.
//!
//! Guarantees: every other section is copied byte for byte, so the behaviour of the module does not change.

use wasm_encoder::{ExportKind, ExportSection, Module, RawSection};
use wasmtime::wasmparser::{ExportSectionReader, ExternalKind, Payload, Result};

use super::inspect::payloads;

/// Raise this with every change to the rewriting. It is part of the cache key.
pub(crate) const VERSION: u32 = 1;

/// The prefix of private names. Modules with such exports are not rewritten.
pub(crate) const PREFIX: &str = "inferbus.rewind.";

/// The private name of the global with this index.
pub(crate) fn name(global: u32) -> String {
    format!("{PREFIX}{global}")
}

/// Exports these globals of a valid module that has exports.
pub(crate) fn export(wasm: &[u8], globals: &[u32]) -> Result<Vec<u8>> {
    let mut module = Module::new();
    for payload in payloads(wasm) {
        let payload = payload?;
        if let Payload::ExportSection(section) = payload {
            module.section(&extended(section, globals)?);
        } else if let Some((id, range)) = payload.as_section() {
            let data = wasm.get(range).unwrap_or_default();
            module.section(&RawSection { id, data });
        }
    }
    Ok(module.finish())
}

fn extended(section: ExportSectionReader<'_>, globals: &[u32]) -> Result<ExportSection> {
    let mut exports = ExportSection::new();
    for export in section {
        let export = export?;
        exports.export(export.name, kind(export.kind), export.index);
    }
    for &global in globals {
        exports.export(&name(global), ExportKind::Global, global);
    }
    Ok(exports)
}

fn kind(kind: ExternalKind) -> ExportKind {
    match kind {
        ExternalKind::Func | ExternalKind::FuncExact => ExportKind::Func,
        ExternalKind::Table => ExportKind::Table,
        ExternalKind::Memory => ExportKind::Memory,
        ExternalKind::Global => ExportKind::Global,
        ExternalKind::Tag => ExportKind::Tag,
    }
}
