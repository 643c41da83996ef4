//! Processor time, memory and children of a process, from /proc.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};

/// Ticks per second in /proc, fixed by the kernel's interface.
const TICKS: u64 = 100;

/// The processor time of a process, over all its threads.
pub fn cpu(process: u32) -> anyhow::Result<Duration> {
    Ok(Stat::of(process)?.own)
}

/// A process, its running descendants, and orphans in its process group.
pub fn tree(process: u32) -> anyhow::Result<Vec<u32>> {
    Ok(family(process)?.into_iter().map(|stat| stat.process).collect())
}

/// The processor time of [`tree`], including reaped children.
pub fn tree_cpu(process: u32) -> anyhow::Result<Duration> {
    Ok(family(process)?.iter().map(|stat| stat.own + stat.ended).sum())
}

fn family(process: u32) -> anyhow::Result<Vec<Stat>> {
    let processes = std::fs::read_dir("/proc").context("/proc cannot be read")?.filter_map(Result::ok);
    // A process may end meanwhile.
    let mut others: Vec<Stat> = processes
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|&other| other != process)
        .filter_map(|other| Stat::of(other).ok())
        .collect();
    let mut found = vec![Stat::of(process)?];
    // Each iteration finds the children of the previous one. No process is found twice.
    loop {
        let known: HashSet<u32> = found.iter().map(|stat| stat.process).collect();
        let (more, rest): (Vec<_>, Vec<_>) =
            others.into_iter().partition(|stat| known.contains(&stat.parent) || stat.group == process);
        if more.is_empty() {
            return Ok(found);
        }
        found.extend(more);
        others = rest;
    }
}

/// A line of /proc.
struct Stat {
    process: u32,
    parent: u32,
    group: u32,
    own: Duration,
    /// Of reaped children.
    ended: Duration,
}

impl Stat {
    fn of(process: u32) -> anyhow::Result<Self> {
        let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).context("the process is gone")?;
        // The name in parentheses may contain any character. Later fields are numbers.
        let (_, fields) = stat.rsplit_once(')').context("an unknown format of /proc")?;
        let fields: Vec<u64> = fields.split_whitespace().map(|field| field.parse().unwrap_or(0)).collect();
        let field = |at: usize| fields.get(at).copied().context("an unknown format of /proc");
        let time = |at| Ok::<_, anyhow::Error>(Duration::from_millis((field(at)? + field(at + 1)?) * 1000 / TICKS));
        let (parent, group) = (u32::try_from(field(1)?)?, u32::try_from(field(2)?)?);
        Ok(Self { process, parent, group, own: time(11)?, ended: time(13)? })
    }
}

/// The processor time of running threads in nanoseconds, updated when a thread leaves its processor.
pub fn fine_cpu(process: u32) -> anyhow::Result<Duration> {
    let threads = std::fs::read_dir(format!("/proc/{process}/task")).context("the process is gone")?;
    let times = threads.map(|thread| {
        let text = std::fs::read_to_string(thread?.path().join("schedstat")).context("this kernel lacks schedstat")?;
        let time = text.split_whitespace().next().and_then(|time| time.parse().ok());
        Ok(Duration::from_nanos(time.context("an unknown format of /proc")?))
    });
    times.sum::<anyhow::Result<Duration>>()
}

/// The resident memory of a process in bytes.
pub fn resident(process: u32) -> anyhow::Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).context("the process is gone")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("an unknown format of /proc")?;
    let kilobytes = line.split_whitespace().next().and_then(|number| number.parse::<u64>().ok());
    Ok(kilobytes.context("an unknown format of /proc")? << 10)
}

/// Memory is settled after this many equal readings, up to `SAME` bytes. A worker frees memory every second.
const READINGS: usize = 15;
const READ_EVERY: Duration = Duration::from_millis(100);
const SAME: u64 = 1 << 20;

/// The resident bytes of a process, once they are stable.
pub async fn settled_resident(process: u32, bound: Duration) -> anyhow::Result<u64> {
    let started = Instant::now();
    let (mut last, mut same) = (resident(process)?, 0);
    while same < READINGS {
        ensure!(started.elapsed() < bound, "the memory of process {process} does not settle");
        tokio::time::sleep(READ_EVERY).await;
        let now = resident(process)?;
        same = if now.abs_diff(last) < SAME { same + 1 } else { 0 };
        last = now;
    }
    Ok(last)
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader};
    use std::os::unix::process::CommandExt as _;
    use std::process::{Child, Command, Stdio};

    use rustix::process::{Pid, Signal, kill_process_group};

    use super::*;

    const BOUND: Duration = Duration::from_secs(60);
    const SOME: Duration = Duration::from_millis(50);

    /// A shell and its children. They end with the test.
    struct Shell(Child);

    impl Shell {
        fn run(script: &str) -> Self {
            let mut command = Command::new("sh");
            command.args(["-c", script]).stdin(Stdio::piped()).stdout(Stdio::piped()).process_group(0);
            Self(command.spawn().unwrap())
        }
    }

    impl Drop for Shell {
        fn drop(&mut self) {
            let group = Pid::from_raw(self.0.id().cast_signed()).unwrap();
            kill_process_group(group, Signal::KILL).unwrap();
            self.0.wait().unwrap();
        }
    }

    #[test]
    fn the_time_of_a_grandchild_counts() {
        let shell = Shell::run("sh -c 'while :; do :; done; true' & wait");
        let child = &shell.0;
        let started = Instant::now();
        while tree_cpu(child.id()).unwrap() < SOME {
            assert!(started.elapsed() < BOUND, "the grandchild's time does not count");
        }
        assert!(cpu(child.id()).unwrap() < SOME, "the root only waits");
        assert!(tree(child.id()).unwrap().len() > 1);
    }

    #[test]
    fn the_time_of_ended_children_counts() {
        let work = "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done";
        let mut shell = Shell::run(&format!("sh -c '{work}'; echo done; read line"));
        let child = &mut shell.0;
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "done\n");
        let (all, own) = (tree_cpu(child.id()).unwrap(), cpu(child.id()).unwrap());
        assert!(all > own, "{all:?} with the ended child, {own:?} without");
        assert_eq!(tree(child.id()).unwrap().len(), 1);
    }
}
