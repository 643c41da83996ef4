//! Prints a switch of the active version.

use inferbus_catalog::{Activated, ModelName};

use super::print;

pub fn report(model: &ModelName, activated: &Activated) {
    let Activated { from, to, revision } = activated;
    match from {
        Some(from) => print::line!("{model}: {} → {} (revision {revision})", from.version, to.version),
        None => print::line!("{model}: {} (revision {revision})", to.version),
    }
}
