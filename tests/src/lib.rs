//! The base of the end-to-end tests: a real nats-server for each, real worker processes, real bundles. README.md has
//! a map.
//!
//! Guarantees: no test waits by sleeping. It waits for a server's port, or for a worker's log line, and each wait has
//! a bound; after it the test fails with the log. A chaos test sleeps for the length of its fault.
#![forbid(unsafe_code)]

mod admin;
pub mod audit;
mod background;
mod bundle;
pub mod cluster;
mod command;
mod credentials;
pub mod http;
pub mod node;
pub mod plugin;
pub mod proxy;
pub mod publisher;
mod request;
pub mod roles;
pub mod sensor_bundle;
mod site;
pub mod stored;
pub mod stream_site;
pub mod tolerance;
mod worker;
pub mod workers;

pub use background::Background;
pub use bundle::{BundleFolder, IDENTITY_MODEL, digits};
pub use command::{Ran, inferbus, nats_cli, python, run};
pub use credentials::{credentials, tls, token};
pub use request::{Answer, Heldout, answer, ask, heldout};
pub use site::{FIRST, SECOND, Site, connect};

pub use worker::{Worker, WorkerOptions, has_message};

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The bound of every wait.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Prints to the output of `make test`, past the capture of a passing test.
pub fn say(text: &str) {
    use std::io::Write as _;
    // A closed pipe must not fail the test.
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Polls a state without an announcement.
#[track_caller]
pub fn until(what: &str, fits: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !fits() {
        assert!(Instant::now() < deadline, "it never came about that {what}");
        std::thread::sleep(BETWEEN_POLLS);
    }
}

/// The time between two polls.
pub(crate) async fn pause() {
    tokio::time::sleep(BETWEEN_POLLS).await;
}

const BETWEEN_POLLS: Duration = Duration::from_millis(10);

/// [`until`], for asynchronous polls.
pub async fn until_async(what: &str, mut fits: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !fits().await {
        assert!(Instant::now() < deadline, "it never came about that {what}");
        pause().await;
    }
}

/// The repository's root.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests lie in the repository")
}

/// The cache of compiled plugins, shared by all programs under test because most tests are not about compilation. It
/// is beside the build, apart from the user's own.
pub fn plugin_cache() -> PathBuf {
    root().join("target/plugin-cache")
}

/// The program under test: `tools/test` has just built it and names it; under plain `cargo test` it is built here.
pub fn program() -> PathBuf {
    static BUILT: std::sync::OnceLock<PathBuf> = std::sync::OnceLock::new();
    BUILT.get_or_init(|| std::env::var_os(PROGRAM).map_or_else(build, PathBuf::from)).clone()
}

const PROGRAM: &str = "INFERBUS_TEST_PROGRAM";

fn build() -> PathBuf {
    // A test runs from target/<profile>/deps.
    let test = std::env::current_exe().expect("a test knows its own path");
    let profile = test.parent().and_then(Path::parent).expect("target/<profile>");
    let name = profile.file_name().expect("a profile's folder").to_string_lossy().into_owned();
    let name = if name == "debug" { "dev".to_owned() } else { name };
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = std::process::Command::new(cargo);
    // With cargo's variables of the test's package, build scripts would run again here and in the next `cargo test`.
    for (name, _) in std::env::vars_os().filter(|(name, _)| is_of_a_package(&name.to_string_lossy())) {
        command.env_remove(name);
    }
    let features = "inferbus-engine/fake,inferbus/failpoints";
    let features = if cfg!(feature = "tract") { &format!("{features},inferbus/tract") } else { features };
    let built = command
        .current_dir(root())
        .args(["build", "--quiet", "--locked", "--offline", "--workspace", "--bin", "inferbus", "--profile", &name])
        // The features of `cargo test --workspace`, so that no crate is built twice.
        .args(["--features", features])
        .status()
        .expect("cargo runs");
    assert!(built.success(), "the worker does not build");
    profile.join("inferbus")
}

fn is_of_a_package(name: &str) -> bool {
    ["CARGO_MANIFEST_", "CARGO_PKG_", "CARGO_BIN_", "CARGO_CRATE_", "RUSTC_BOOTSTRAP"]
        .iter()
        .any(|start| name.starts_with(start))
}
