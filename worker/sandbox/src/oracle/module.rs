//! Arbitrary bytes as a module.

use crate::host::functions::Grants;
use crate::load::inspect::{Inspection, inspect};
use crate::load::rewrite;
use crate::load::strategy::{Because, Plan, plan};

/// Panics if inspection, planning or rewriting violates a guarantee for these bytes. Returns whether they are a plugin.
pub fn module(wasm: &[u8]) -> bool {
    let grants = Grants { log: true, emit: true };
    let Ok(inspection) = inspect(wasm, grants) else {
        return false;
    };
    let Ok(plan) = plan(wasm) else { panic!("planning failed for an inspected module") };
    if let Plan::Rewind(globals) = plan {
        let Ok(rewritten) = rewrite::export(wasm, &globals) else { panic!("rewriting failed for a planned module") };
        let again = inspect(&rewritten, grants);
        let expected = Inspection { bytes: rewritten.len(), ..inspection };
        assert_eq!(again, Ok(expected), "the rewritten module is valid and keeps the contract");
        let taken = crate::load::strategy::plan(&rewritten).ok() == Some(Plan::Fresh(Because::ReservedExport));
        assert_eq!(taken, !globals.is_empty(), "exactly the globals to restore have private names");
    }
    true
}
