//! What the exit code of every command means.

use std::process::ExitCode;

use inferbus::nats::connect::Unreachable;
use inferbus::offline::fault::OfflineFault;
use inferbus_catalog::CatalogFault;

/// Printed below the help of `inferbus` itself.
pub const HELP: &str = "Exit codes: 0 done · 1 refused or failed · 2 wrong usage · 3 NATS or the catalog cannot be reached · 4 not found · 5 somebody else changed it first";

pub const FAILED: u8 = 1;
const UNREACHABLE: u8 = 3;
pub const NOT_FOUND: u8 = 4;
const CONFLICT: u8 = 5;

/// What was asked for is not there, where no fault of the catalog says so.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct NotFound(pub String);

/// Prints the fault with what caused it, and says which exit code it is.
pub fn report(fault: &anyhow::Error) -> ExitCode {
    let mut text = fault.to_string();
    for cause in fault.chain().skip(1).map(ToString::to_string) {
        // Many faults already quote what caused them.
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
