//! This program as a child process, to compile plugins and try models.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use inferbus::app::Children;
use inferbus_engine::{TrialBounds, TrialProcess};
use inferbus_sandbox::{ChildProcess, CompileBounds, Compiler};

/// The hidden command to compile a plugin.
pub const COMPILE_PLUGIN: &str = "compile-plugin";

/// The hidden command to load a model.
pub const LOAD_MODEL: &str = "load-model";

/// The child processes of a worker.
pub fn children() -> anyhow::Result<Children> {
    Ok(Children { compiler: compiler()?, models: Some(model_trial()?) })
}

pub fn compiler() -> anyhow::Result<Compiler> {
    let (program, arguments) = (this_program()?, vec![COMPILE_PLUGIN.into()]);
    Ok(Compiler::Child(ChildProcess { program, arguments, bounds: CompileBounds::default() }))
}

pub fn model_trial() -> anyhow::Result<TrialProcess> {
    let (program, arguments) = (this_program()?, vec![LOAD_MODEL.into()]);
    Ok(TrialProcess { program, arguments, bounds: TrialBounds::default() })
}

/// The running executable, even after an update replaced its file.
fn this_program() -> anyhow::Result<PathBuf> {
    let running = Path::new("/proc/self/exe");
    if running.exists() {
        return Ok(PathBuf::from(running));
    }
    std::env::current_exe()
        .context("cannot find the executable of this program, needed to compile plugins and try models")
}
