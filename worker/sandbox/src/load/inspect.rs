//! Inspection without compilation: the size of a module, its validity, its imports and its exports.

use std::fmt::Write;

use wasmtime::wasmparser::types::TypesRef;
use wasmtime::wasmparser::{
    self, CompositeInnerType, ExternalKind, FuncType, Import as ImportEntry, Parser, Payload, TypeRef, ValType,
    Validator,
};

use super::load_fault::LoadFault;
use crate::host::functions::{self, Grants};
use crate::limits;
use crate::settings::FEATURES;
use crate::text::printable;

/// The facts about a valid plugin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inspection {
    pub bytes: usize,
    pub functions: u32,
    /// Bytes of memory at the start of an instance.
    pub initial_memory: u64,
    /// The maximum of memory in the module, in bytes.
    pub maximum_memory: Option<u64>,
    pub has_init: bool,
    pub has_start: bool,
    pub imports: Vec<Import>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Import {
    Log,
    Emit,
}

/// A function type of the contract, for the check and for its fault.
struct Signature {
    params: &'static [ValType],
    results: &'static [ValType],
    text: &'static str,
}

use ValType::{I32, I64};
const ALLOC: Signature = Signature { params: &[I32], results: &[I32], text: "a function (i32) -> i32" };
const TRANSFORM: Signature = Signature { params: &[I32, I32], results: &[I64], text: "a function (i32, i32) -> i64" };
const INIT: Signature = Signature { params: &[I32, I32], results: &[I32], text: "a function (i32, i32) -> i32" };
const LOG: Signature = Signature { params: &[I32; 3], results: &[], text: "a function (i32, i32, i32)" };
const EMIT: Signature =
    Signature { params: &[I32; 4], results: &[I32], text: "a function (i32, i32, i32, i32) -> i32" };

const PAGE: u64 = 64 << 10;

/// Checks a module against the contract and the entry's grants.
pub fn inspect(wasm: &[u8], grants: Grants) -> Result<Inspection, LoadFault> {
    check_kind(wasm)?;
    let functions = check_sizes(wasm)?;
    let types = Validator::new_with_features(FEATURES).validate_all(wasm).map_err(invalid)?;
    let imports = check_imports(wasm, grants, types.as_ref())?;
    let memory = check_exports(wasm, types.as_ref())?;
    let has_start = payloads(wasm).any(|payload| matches!(payload, Ok(Payload::StartSection { .. })));
    Ok(Inspection {
        bytes: wasm.len(),
        functions,
        initial_memory: memory.initial.saturating_mul(PAGE),
        maximum_memory: memory.maximum.map(|pages| pages.saturating_mul(PAGE)),
        has_init: memory.has_init,
        has_start,
        imports,
    })
}

fn check_kind(wasm: &[u8]) -> Result<(), LoadFault> {
    if wasm.len() > limits::MODULE_BYTES {
        return Err(LoadFault::ModuleTooLarge { bytes: wasm.len() });
    }
    if wasm.starts_with(b"\x7fELF") {
        return Err(LoadFault::MachineCode);
    }
    if Parser::is_component(wasm) {
        return Err(LoadFault::Component);
    }
    if !Parser::is_core_wasm(wasm) {
        return Err(LoadFault::NotWasm);
    }
    Ok(())
}

/// Rejects modules with a long validation or compilation. Reads section headers only.
fn check_sizes(wasm: &[u8]) -> Result<u32, LoadFault> {
    let mut functions = 0;
    for payload in payloads(wasm) {
        match payload.map_err(invalid)? {
            Payload::FunctionSection(section) => {
                functions = section.count();
                if functions > limits::FUNCTIONS {
                    return Err(LoadFault::TooManyFunctions { count: functions });
                }
            }
            Payload::CodeSectionEntry(body) if body.range().len() > limits::FUNCTION_BYTES => {
                return Err(LoadFault::FunctionTooLarge { bytes: body.range().len() });
            }
            Payload::TableSection(section) => {
                if section.count() > limits::TABLES {
                    return Err(LoadFault::TooManyTables { count: section.count() });
                }
                for table in section {
                    let elements = table.map_err(invalid)?.ty.initial;
                    if elements > u64::from(limits::TABLE_ELEMENTS) {
                        return Err(LoadFault::TableTooLarge { elements });
                    }
                }
            }
            _ => {}
        }
    }
    Ok(functions)
}

fn check_imports(wasm: &[u8], grants: Grants, types: TypesRef<'_>) -> Result<Vec<Import>, LoadFault> {
    let mut found = Vec::new();
    let mut function = 0;
    for payload in payloads(wasm) {
        let Payload::ImportSection(section) = payload.map_err(invalid)? else {
            continue;
        };
        for import in section.into_imports() {
            let import = check_import(import.map_err(invalid)?, grants, types, function)?;
            // The check rejects all other imports, so functions are numbered in order.
            function += 1;
            if !found.contains(&import) {
                found.push(import);
            }
        }
    }
    Ok(found)
}

fn check_import(
    entry: ImportEntry<'_>,
    grants: Grants,
    types: TypesRef<'_>,
    function: u32,
) -> Result<Import, LoadFault> {
    let (import, name, granted, expected) = match (entry.module, entry.name, entry.ty) {
        (functions::MODULE, functions::LOG, TypeRef::Func(_)) => (Import::Log, functions::LOG, grants.log, LOG),
        (functions::MODULE, functions::EMIT, TypeRef::Func(_)) => (Import::Emit, functions::EMIT, grants.emit, EMIT),
        (module, name, _) => {
            let import = printable(format!("{module}.{name}").as_bytes(), limits::QUOTED_BYTES);
            return Err(LoadFault::ForbiddenImport { import });
        }
    };
    if !granted {
        return Err(LoadFault::NotGranted { import: name });
    }
    match mismatch(types, function, &expected) {
        Some(found) => Err(LoadFault::WrongImport { import: name, expected: expected.text, found }),
        None => Ok(import),
    }
}

struct ContractExports {
    initial: u64,
    maximum: Option<u64>,
    has_init: bool,
}

fn check_exports(wasm: &[u8], types: TypesRef<'_>) -> Result<ContractExports, LoadFault> {
    let (mut memory, mut alloc, mut transform, mut init) = (None, None, None, None);
    for payload in payloads(wasm) {
        let Payload::ExportSection(section) = payload.map_err(invalid)? else {
            continue;
        };
        for export in section {
            let export = export.map_err(invalid)?;
            match export.name {
                "memory" => memory = Some((export.kind, export.index)),
                "alloc" => alloc = Some((export.kind, export.index)),
                "transform" => transform = Some((export.kind, export.index)),
                "init" => init = Some((export.kind, export.index)),
                _ => {}
            }
        }
    }
    let (kind, index) = memory.ok_or(LoadFault::MissingExport { export: "memory" })?;
    if kind != ExternalKind::Memory {
        return Err(LoadFault::WrongExport { export: "memory", expected: "a memory", found: kind_name(kind).into() });
    }
    let memory = types.memory_at(index);
    check_function("alloc", alloc, &ALLOC, types)?;
    check_function("transform", transform, &TRANSFORM, types)?;
    if init.is_some() {
        check_function("init", init, &INIT, types)?;
    }
    Ok(ContractExports { initial: memory.initial, maximum: memory.maximum, has_init: init.is_some() })
}

fn check_function(
    export: &'static str,
    found: Option<(ExternalKind, u32)>,
    expected: &Signature,
    types: TypesRef<'_>,
) -> Result<(), LoadFault> {
    let (kind, index) = found.ok_or(LoadFault::MissingExport { export })?;
    let found = match kind {
        ExternalKind::Func => mismatch(types, index, expected),
        other => Some(kind_name(other).to_owned()),
    };
    found.map_or(Ok(()), |found| Err(LoadFault::WrongExport { export, expected: expected.text, found }))
}

/// The text of the function's type, if it differs from the expected one.
fn mismatch(types: TypesRef<'_>, function: u32, expected: &Signature) -> Option<String> {
    match &types[types.core_function_at(function)].composite_type.inner {
        CompositeInnerType::Func(ty) if ty.params() == expected.params && ty.results() == expected.results => None,
        CompositeInnerType::Func(ty) => Some(describe(ty)),
        _ => Some("another kind of function".into()),
    }
}

fn describe(ty: &FuncType) -> String {
    let list = |types: &[ValType]| types.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let mut text = format!("a function ({})", list(ty.params()));
    if !ty.results().is_empty() {
        let _ = write!(text, " -> {}", list(ty.results()));
    }
    printable(text.as_bytes(), limits::QUOTED_BYTES)
}

fn kind_name(kind: ExternalKind) -> &'static str {
    match kind {
        ExternalKind::Func | ExternalKind::FuncExact => "a function",
        ExternalKind::Table => "a table",
        ExternalKind::Memory => "a memory",
        ExternalKind::Global => "a global",
        ExternalKind::Tag => "a tag",
    }
}

pub(crate) fn payloads(wasm: &[u8]) -> impl Iterator<Item = wasmparser::Result<Payload<'_>>> {
    let mut parser = Parser::new(0);
    parser.set_features(FEATURES);
    parser.parse_all(wasm)
}

pub(crate) fn invalid(error: wasmparser::Error) -> LoadFault {
    LoadFault::Invalid(printable(error.to_string().as_bytes(), limits::QUOTED_BYTES))
}
