//! The checks of a plugin before compilation.

use super::inspect::{Inspection, inspect};
use super::load_fault::LoadFault;
use crate::bounds::{Bounds, Ceilings};
use crate::host::functions::Grants;
use crate::text::Size;

/// Checks a plugin without compiling it: its bounds, its module, its contract and its config.
pub fn examine(
    wasm: &[u8],
    grants: Grants,
    bounds: &Bounds,
    ceilings: &Ceilings,
    has_config: bool,
) -> Result<Inspection, LoadFault> {
    check_ceilings(bounds, &ceilings.bounds)?;
    let inspection = inspect(wasm, grants)?;
    if inspection.initial_memory > bounds.memory as u64 {
        return Err(LoadFault::MemoryOverLimit { initial: inspection.initial_memory, limit: bounds.memory });
    }
    if has_config && !inspection.has_init {
        return Err(LoadFault::UnusedConfig);
    }
    Ok(inspection)
}

fn check_ceilings(bounds: &Bounds, ceiling: &Bounds) -> Result<(), LoadFault> {
    let size = |bytes: usize| Size(bytes as u64).to_string();
    let over = |key, asked: String, ceiling: String| Err(LoadFault::OverCeiling { key, asked, ceiling });
    if bounds.memory > ceiling.memory {
        return over("limits.memory", size(bounds.memory), size(ceiling.memory));
    }
    if bounds.time > ceiling.time {
        return over("limits.time", format!("{:?}", bounds.time), format!("{:?}", ceiling.time));
    }
    if bounds.output > ceiling.output {
        return over("limits.output", size(bounds.output), size(ceiling.output));
    }
    if bounds.emits > ceiling.emits {
        return over("limits.emits", bounds.emits.to_string(), ceiling.emits.to_string());
    }
    if bounds.emit_bytes > ceiling.emit_bytes {
        return over("limits.emit_bytes", size(bounds.emit_bytes), size(ceiling.emit_bytes));
    }
    if bounds.log_lines > ceiling.log_lines {
        return over("limits.log_lines", bounds.log_lines.to_string(), ceiling.log_lines.to_string());
    }
    if bounds.log_bytes > ceiling.log_bytes {
        return over("limits.log_bytes", size(bounds.log_bytes), size(ceiling.log_bytes));
    }
    Ok(())
}
