//! The origin of figures: machine, command, revision, build profile and versions.

use std::path::Path;
use std::process::Command;

use inferbus::dev_server::SERVER_PROGRAM;

use crate::floors::bare_ort;
use crate::project::root;

/// Crates that influence every figure.
const CRATES: [&str; 5] = ["async-nats", "ort", "tokio", "wasmtime", "serde_json"];
/// Packages of the contestants in Python, by folder name.
const PACKAGES: [&str; 3] = ["nats_py", "numpy", "onnxruntime"];
const UNKNOWN: &str = "unknown";

/// Names and values in display order. Missing values are `unknown`.
pub fn settings() -> Vec<(&'static str, String)> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let server = std::env::var(SERVER_PROGRAM).unwrap_or_else(|_| "nats-server".into());
    vec![
        ("date", first_line_of("date", &["-u", "+%Y-%m-%d %H:%M UTC"])),
        ("command", format!("inferbus-bench {}", arguments.join(" ")).trim_end().to_owned()),
        ("revision", revision()),
        ("profile", profile()),
        ("processor", value_of("/proc/cpuinfo", "model name")),
        ("cores", std::thread::available_parallelism().map_or(UNKNOWN.into(), |cores| cores.to_string())),
        ("memory", value_of("/proc/meminfo", "MemTotal")),
        ("kernel", first_line_of("uname", &["-srm"])),
        ("Rust", first_line_of("rustc", &["--version"])),
        ("nats-server", first_line_of(&server, &["--version"])),
        ("ONNX Runtime", bare_ort::runtime().map_or(UNKNOWN.into(), |runtime| runtime.version)),
        ("crates", crates()),
        ("Python packages", packages()),
    ]
}

/// The first line of a program's output.
fn first_line_of(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).current_dir(root()).output();
    let succeeded = output.ok().filter(|output| output.status.success());
    let text = succeeded.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    text.lines().next().map_or(UNKNOWN.into(), |line| line.trim().to_owned())
}

/// The profile by the program's folder, `target/<profile>`, and whether debug assertions are on.
fn profile() -> String {
    let program = std::env::current_exe().unwrap_or_default();
    let folder = program.parent().and_then(Path::file_name).unwrap_or_default();
    let assertions = if cfg!(debug_assertions) { "with" } else { "without" };
    format!("{}, {assertions} debug assertions", folder.to_string_lossy())
}

fn revision() -> String {
    let revision = first_line_of("git", &["rev-parse", "--short=12", "HEAD"]);
    // Empty output means an unchanged tree.
    let changed = first_line_of("git", &["status", "--porcelain", "--untracked-files=no"]);
    if changed == UNKNOWN { revision } else { format!("{revision} with uncommitted changes") }
}

/// From a file with lines such as `name : value`.
fn value_of(file: &str, name: &str) -> String {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let found = text.lines().filter_map(|line| line.split_once(':')).find(|(key, _)| key.trim() == name);
    found.map_or(UNKNOWN.into(), |(_, value)| value.trim().to_owned())
}

fn crates() -> String {
    let lock = std::fs::read_to_string(root().join("Cargo.lock")).unwrap_or_default();
    let version = |name: &str| {
        let (_, after) = lock.split_once(&format!("name = \"{name}\"\nversion = \""))?;
        Some(format!("{name} {}", after.split_once('"')?.0))
    };
    CRATES.into_iter().filter_map(version).collect::<Vec<_>>().join(", ")
}

fn packages() -> String {
    let found = folders(&root().join(".tools/venv/lib"))
        .into_iter()
        .flat_map(|python| folders(&root().join(".tools/venv/lib").join(python).join("site-packages")));
    let mut names: Vec<String> = found
        .filter_map(|name| name.strip_suffix(".dist-info").and_then(|name| name.split_once('-')).map(pair))
        .filter(|(name, _)| PACKAGES.contains(&name.as_str()))
        .map(|(name, version)| format!("{name} {version}"))
        .collect();
    names.sort_unstable();
    if names.is_empty() { UNKNOWN.into() } else { names.join(", ") }
}

fn pair((name, version): (&str, &str)) -> (String, String) {
    (name.to_owned(), version.to_owned())
}

fn folders(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_and_the_libraries_are_known() {
        let settings = settings();
        // Builds may lack Python or the repository.
        let needed = settings.iter().filter(|(name, _)| !["Python packages", "revision"].contains(name));
        let unknown: Vec<_> = needed.filter(|(_, value)| value == UNKNOWN || value.is_empty()).collect();
        assert!(unknown.is_empty(), "{unknown:?}");
        let crates = crates();
        assert!(CRATES.iter().all(|name| crates.contains(&format!("{name} "))), "{crates}");
    }
}
