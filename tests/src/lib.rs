//! What every end-to-end test stands on: a real nats-server of its own, real worker processes, real bundles.
//!
//! Promises: nothing here sleeps and hopes. A server is waited for until it listens, a worker until its log
//! says what is waited for, and every wait has a bound after which the test fails and shows the log.
//! The chaos tests sleep for as long as a fault is to last.
#![forbid(unsafe_code)]

pub mod account;
mod admin;
mod bundle;
pub mod cluster;
mod command;
pub mod contents;
pub mod crew;
mod device;
pub mod http;
mod identity;
pub mod ledger;
pub mod node;
pub mod plugin;
pub mod proxy;
pub mod roles;
pub mod sensor;
mod site;
pub mod stage;
mod stored;
pub mod tolerance;
mod worker;

pub use bundle::{BundleFolder, IDENTITY_MODEL, digits};
pub use command::{Ran, inferbus, nats_cli, python, run};
pub use device::{Answer, Heldout, answer, ask, heldout};
pub use identity::{credentials, tls, token};
pub use site::{FIRST, SECOND, Site, connect};
pub use stored::Stored;
pub use worker::{Worker, WorkerOptions};

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The bound on everything that a test waits for.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Says something in the output of `make test` itself, which keeps what a passing test prints.
pub fn say(text: &str) {
    use std::io::Write as _;
    // A closed pipe must not fail the test.
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Asks again and again, for what announces itself nowhere; the question itself takes the time between.
#[track_caller]
pub fn until(what: &str, fits: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !fits() {
        assert!(Instant::now() < deadline, "it never came about that {what}");
    }
}

/// The time between two questions about something that announces itself nowhere.
pub(crate) async fn pause() {
    tokio::time::sleep(BETWEEN_QUESTIONS).await;
}

const BETWEEN_QUESTIONS: Duration = Duration::from_millis(20);

/// [`until`], for questions that wait themselves.
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

/// Where every program under test keeps compiled plugins, because compiling them is not what most tests are about: beside the
/// build, and not where the user's own are.
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
        // The features that `cargo test --workspace` builds with, so that nothing is built twice.
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
