//! Counting: each function runs twice under valgrind's callgrind, and the longer run less the shorter one is what its calls
//! took. So whatever happens once, such as compiling a plugin, falls out.

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

/// How long one run may take, on a machine that does many things.
const RUN: Duration = Duration::from_secs(120);
/// Runs at the same time: they do not change one another's counts.
const AT_ONCE: usize = 2;
/// The C library fills and copies more than 2 KiB by one instruction, which callgrind counts once for each byte; that would hide
/// all else.
const NO_STRING_INSTRUCTIONS: &str =
    "glibc.cpu.x86_rep_stosb_threshold=1073741824:glibc.cpu.x86_rep_movsb_threshold=1073741824";
const NO_START: &str = "bench/guard/valgrind cannot be started: it needs Python 3.9 or newer";

/// What a baseline belongs to: another compiler makes other instructions of the same source, and another C library copies and
/// allocates in its own way.
pub fn toolchain() -> anyhow::Result<String> {
    let rustc = said("rustc", "-vV").context("rustc cannot be asked for its version: put it on PATH")?;
    let line = |start: &str| rustc.lines().find_map(|line| line.strip_prefix(start)).map(str::trim);
    let version = line("rustc ").context("rustc does not say its version")?;
    let target = line("host: ").context("rustc does not say its target")?;
    let library = said("getconf", "GNU_LIBC_VERSION").unwrap_or_else(|| "another libc".into());
    Ok(format!("rustc {version}, {target}, {}", library.trim()))
}

fn said(program: &str, argument: &str) -> Option<String> {
    let output = std::process::Command::new(program).arg(argument).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Counts all functions, or those that are named.
pub fn all(names: &[String]) -> anyhow::Result<Counts> {
    let unknown = names.iter().find(|name| ALL.iter().all(|hot| hot.name != **name));
    ensure!(unknown.is_none(), "there is no function {unknown:?}");
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
        // The sandbox's clock has a thread of its own, which ticks as time goes by.
        .args(["--tool=callgrind", "--separate-threads=yes", "--error-exitcode=1"])
        .arg(format!("--callgrind-out-file={}", file.display()))
        .arg(std::env::current_exe()?)
        .args(["call", name, &calls.to_string()])
        // Where the stack begins depends on how long the environment is.
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

/// What the thread that began the program took.
fn first_thread(file: &Path) -> anyhow::Result<u64> {
    let file = file.display().to_string() + "-01";
    let text = std::fs::read_to_string(&file).with_context(|| format!("callgrind has not written {file}"))?;
    let Some(total) = text.lines().find_map(|line| line.strip_prefix("totals: ")) else {
        bail!("callgrind's file has no totals");
    };
    total.trim().parse().with_context(|| format!("callgrind's total is {total:?}"))
}
