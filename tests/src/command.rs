//! A user's programs: `inferbus`, the real `nats`, Python with real client libraries.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::Command;

use crate::plugin_cache;
use crate::program;
use crate::root;

/// The output and the exit code of a program.
#[derive(Debug)]
pub struct Ran {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Ran {
    /// The output of a successful program; else the test fails.
    #[track_caller]
    pub fn ok(self) -> String {
        assert_eq!(self.code, Some(0), "stdout: {}\nstderr: {}", self.stdout, self.stderr);
        self.stdout
    }

    #[track_caller]
    pub fn json(self) -> serde_json::Value {
        let text = self.ok();
        serde_json::from_str(&text).unwrap_or_else(|fault| panic!("{fault} in: {text}"))
    }
}

pub fn run(command: &mut Command) -> Ran {
    let output = command.output().unwrap_or_else(|fault| panic!("{command:?}: {fault}"));
    Ran {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Runs `inferbus` against a server.
pub fn inferbus<S: AsRef<OsStr>>(url: &str, arguments: &[S]) -> Ran {
    run(Command::new(program()).args(arguments).env("NATS_URL", url).env("INFERBUS_CACHE", plugin_cache()))
}

/// A command for the real `nats` program, or `None` if it is not installed.
pub fn nats_cli(url: &str) -> Option<Command> {
    let program = root().join(".tools/bin/nats");
    if !program.exists() {
        return None;
    }
    let mut command = Command::new(program);
    command.env("NATS_URL", url).env("XDG_CONFIG_HOME", root().join("target/no-nats-contexts"));
    Some(command)
}

/// A command for a script in tests/python, with the client libraries installed.
pub fn python(script: &str) -> Command {
    let python: PathBuf = root().join(".tools/venv/bin/python");
    assert!(python.exists(), "{} is missing: run `make test`, which brings it", python.display());
    let mut command = Command::new(python);
    command.arg(root().join("tests/python").join(script));
    command
}
