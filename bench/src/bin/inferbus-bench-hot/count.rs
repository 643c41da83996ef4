//! Counting: each function runs twice under valgrind's callgrind. The difference of the long and the short run is the
//! cost of the calls, without one-time work such as the compilation of a plugin.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Output;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use tokio::process::Command;
use tokio::time::timeout;

use crate::functions::{ALL, Hot};

/// Instructions of one call, by the function's name.
pub type Counts = BTreeMap<String, u64>;

/// The time limit of one run, generous for a busy machine.
const RUN: Duration = Duration::from_secs(120);
/// Concurrent runs. They do not affect each other's counts.
const AT_ONCE: usize = 2;
/// The C library fills and copies more than 2 KiB with one instruction. Callgrind counts it once per byte, which would
/// hide everything else.
const NO_STRING_INSTRUCTIONS: &str =
    "glibc.cpu.x86_rep_stosb_threshold=1073741824:glibc.cpu.x86_rep_movsb_threshold=1073741824";
const NO_START: &str = "bench/guard/valgrind cannot be started: install Python 3.9 or newer";

/// The key of a baseline. Counts depend on the compiler and on the C library.
pub fn toolchain() -> anyhow::Result<String> {
    let rustc = output_of("rustc", "-vV").context("the version of rustc: put rustc on PATH")?;
    let line = |start: &str| rustc.lines().find_map(|line| line.strip_prefix(start)).map(str::trim);
    let version = line("rustc ").context("the version in the output of rustc")?;
    let target = line("host: ").context("the target in the output of rustc")?;
    let library = output_of("getconf", "GNU_LIBC_VERSION").unwrap_or_else(|| "another libc".into());
    Ok(format!("rustc {version}, {target}, {}", library.trim()))
}

fn output_of(program: &str, argument: &str) -> Option<String> {
    let output = std::process::Command::new(program).arg(argument).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Counts the named functions, or all.
pub fn all(names: &[String]) -> anyhow::Result<Counts> {
    let unknown = names.iter().find(|name| ALL.iter().all(|hot| hot.name != **name));
    ensure!(unknown.is_none(), "the function {unknown:?} does not exist");
    let wanted = ALL.iter().filter(|hot| names.is_empty() || names.iter().any(|name| name == hot.name));
    let counts = stream::iter(wanted.map(one)).buffered(AT_ONCE).try_collect();
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(counts)
}

async fn one(hot: &Hot) -> anyhow::Result<(String, u64)> {
    let folder = tempfile::tempdir()?;
    let short = instructions(folder.path(), hot.name, hot.calls).await?;
    let long = instructions(folder.path(), hot.name, 2 * hot.calls).await?;
    let taken = long.checked_sub(short).context("twice the calls took fewer instructions")?;
    Ok((hot.name.to_owned(), (taken + hot.calls / 2) / hot.calls))
}

async fn instructions(folder: &Path, name: &str, calls: u64) -> anyhow::Result<u64> {
    let file = folder.join(calls.to_string());
    let mut command = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/guard/valgrind"));
    command
        // The thread of the sandbox's clock depends on elapsed time.
        .args(["--tool=callgrind", "--separate-threads=yes", "--error-exitcode=1"])
        .arg(format!("--callgrind-out-file={}", file.display()))
        .arg(std::env::current_exe()?)
        .args(["call", name, &calls.to_string()])
        // The environment shifts the start of the stack.
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("GLIBC_TUNABLES", NO_STRING_INSTRUCTIONS)
        .kill_on_drop(true);
    let ended = timeout(RUN, command.output()).await;
    let Output { status, stderr, .. } =
        ended.with_context(|| format!("{name} ran for more than {RUN:?}"))?.context(NO_START)?;
    ensure!(status.success(), "{name} failed under valgrind: {}", String::from_utf8_lossy(&stderr));
    first_thread(&file)
}

/// The count of the main thread.
fn first_thread(file: &Path) -> anyhow::Result<u64> {
    let file = file.display().to_string() + "-01";
    let text = std::fs::read_to_string(&file).with_context(|| format!("{file} of callgrind"))?;
    let Some(total) = text.lines().find_map(|line| line.strip_prefix("totals: ")) else {
        bail!("the totals in callgrind's file are missing");
    };
    total.trim().parse().with_context(|| format!("callgrind's total is {total:?}"))
}
