//! Any bytes, taken for a module.

use crate::host::functions::Grants;
use crate::load::inspect::{Inspection, inspect};
use crate::load::rewrite;
use crate::load::strategy::{Because, Plan, plan};

/// Panics if inspecting, planning or rewriting breaks a promise for these bytes. Says whether they were a plugin.
pub fn module(wasm: &[u8]) -> bool {
    let grants = Grants { log: true, emit: true };
    let Ok(inspection) = inspect(wasm, grants) else {
        return false;
    };
    let Ok(plan) = plan(wasm) else { panic!("what inspection accepts can be planned for") };
    if let Plan::Rewind(globals) = plan {
        let Ok(rewritten) = rewrite::export(wasm, &globals) else { panic!("what is to be rewound can be rewritten") };
        let again = inspect(&rewritten, grants);
        let expected = Inspection { bytes: rewritten.len(), ..inspection };
        assert_eq!(again, Ok(expected), "the rewritten module is valid and keeps the contract");
        let taken = crate::load::strategy::plan(&rewritten).ok() == Some(Plan::Fresh(Because::ReservedExport));
        assert_eq!(taken, !globals.is_empty(), "exactly the globals to put back have private names");
    }
    true
}
