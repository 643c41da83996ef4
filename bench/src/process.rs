//! What the operating system says of a process.

use std::time::Duration;

use anyhow::Context as _;

/// Ticks per second in /proc: fixed by the kernel's interface on every architecture that Linux has today.
const TICKS: u64 = 100;

/// The processor time that a process has used so far, over all its threads.
pub fn cpu(process: u32) -> anyhow::Result<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).context("the process is gone")?;
    // The name, in parentheses, may hold anything; what follows it does not.
    let (_, fields) = stat.rsplit_once(')').context("an unknown format of /proc")?;
    let field = |at: usize| fields.split_whitespace().nth(at).and_then(|field| field.parse::<u64>().ok());
    let (user, system) = field(11).zip(field(12)).context("an unknown format of /proc")?;
    Ok(Duration::from_millis((user + system) * 1000 / TICKS))
}

/// The memory of a process that is in RAM, in bytes.
pub fn resident(process: u32) -> anyhow::Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).context("the process is gone")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("an unknown format of /proc")?;
    let kilobytes = line.split_whitespace().next().and_then(|number| number.parse::<u64>().ok());
    Ok(kilobytes.context("an unknown format of /proc")? << 10)
}
