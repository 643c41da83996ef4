//! Exit codes of all commands.

use std::process::ExitCode;

use inferbus::nats::connect::Unreachable;
use inferbus::offline::fault::OfflineFault;
use inferbus_catalog::CatalogFault;

/// Printed below the help of `inferbus`.
pub const HELP: &str = "Exit codes: 0 done · 1 rejected or failed · 2 wrong usage · \
                        3 NATS or the catalog unreachable · 4 not found · 5 changed concurrently";

pub const FAILED: u8 = 1;
const UNREACHABLE: u8 = 3;
pub const NOT_FOUND: u8 = 4;
const CONFLICT: u8 = 5;

/// A missing object outside the catalog.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct NotFound(pub String);

/// Prints the fault with its causes, and returns its exit code.
pub fn report(fault: &anyhow::Error) -> ExitCode {
    let mut text = fault.to_string();
    for cause in fault.chain().skip(1).map(ToString::to_string) {
        // Many faults already quote their cause.
        if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    eprintln!("inferbus: {text}");
    ExitCode::from(code(fault))
}

fn code(fault: &anyhow::Error) -> u8 {
    if fault.is::<Unreachable>() {
        return UNREACHABLE;
    }
    if fault.is::<NotFound>() {
        return NOT_FOUND;
    }
    let fault = match fault.downcast_ref::<OfflineFault>() {
        Some(OfflineFault::NoStream(_)) => return NOT_FOUND,
        Some(OfflineFault::Catalog(fault)) => Some(&**fault),
        _ => fault.downcast_ref::<CatalogFault>(),
    };
    let Some(fault) = fault else {
        return FAILED;
    };
    match fault {
        fault if fault.is_transient() => UNREACHABLE,
        CatalogFault::NoPointer { .. }
        | CatalogFault::UnknownVersion { .. }
        | CatalogFault::UnknownRoute { .. }
        | CatalogFault::MissingArtifact { .. }
        | CatalogFault::MissingBucket { .. }
        | CatalogFault::NothingToRollBack { .. } => NOT_FOUND,
        CatalogFault::EntryRaced { .. } | CatalogFault::PointerRaced { .. } => CONFLICT,
        _ => FAILED,
    }
}
