//! What the operating system says of a process.

use std::collections::HashSet;
use std::time::Duration;

use anyhow::Context as _;

/// Ticks per second in /proc: fixed by the kernel's interface on every architecture that Linux has today.
const TICKS: u64 = 100;

/// The processor time that a process has used so far, over all its threads.
pub fn cpu(process: u32) -> anyhow::Result<Duration> {
    Ok(Stat::of(process)?.own)
}

/// A process and all that came from it and still run: its children, theirs, and whoever is in its group without a parent there.
pub fn tree(process: u32) -> anyhow::Result<Vec<u32>> {
    Ok(family(process)?.into_iter().map(|stat| stat.process).collect())
}

/// The processor time of [`tree`], with that of children that have ended and were waited for.
pub fn tree_cpu(process: u32) -> anyhow::Result<Duration> {
    Ok(family(process)?.iter().map(|stat| stat.own + stat.ended).sum())
}

fn family(process: u32) -> anyhow::Result<Vec<Stat>> {
    let processes = std::fs::read_dir("/proc").context("/proc cannot be read")?.filter_map(Result::ok);
    // A process may end while it is looked at.
    let mut others: Vec<Stat> = processes
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|&other| other != process)
        .filter_map(|other| Stat::of(other).ok())
        .collect();
    let mut found = vec![Stat::of(process)?];
    // Each turn finds the children of all that the one before found; no process is found twice.
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
    /// Of children that ended and were waited for.
    ended: Duration,
}

impl Stat {
    fn of(process: u32) -> anyhow::Result<Self> {
        let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).context("the process is gone")?;
        // The name, in parentheses, may hold anything; what follows it does not.
        let (_, fields) = stat.rsplit_once(')').context("an unknown format of /proc")?;
        let fields: Vec<u64> = fields.split_whitespace().map(|field| field.parse().unwrap_or(0)).collect();
        let field = |at: usize| fields.get(at).copied().context("an unknown format of /proc");
        let time = |at| Ok::<_, anyhow::Error>(Duration::from_millis((field(at)? + field(at + 1)?) * 1000 / TICKS));
        let (parent, group) = (u32::try_from(field(1)?)?, u32::try_from(field(2)?)?);
        Ok(Self { process, parent, group, own: time(11)?, ended: time(13)? })
    }
}

/// The processor time of a process's threads that run, to the nanosecond, as of when each last left a processor.
pub fn fine_cpu(process: u32) -> anyhow::Result<Duration> {
    let threads = std::fs::read_dir(format!("/proc/{process}/task")).context("the process is gone")?;
    let times = threads.map(|thread| {
        let told = std::fs::read_to_string(thread?.path().join("schedstat")).context("this kernel has no schedstat")?;
        let time = told.split_whitespace().next().and_then(|time| time.parse().ok());
        Ok(Duration::from_nanos(time.context("an unknown format of /proc")?))
    });
    times.sum::<anyhow::Result<Duration>>()
}

/// The memory of a process that is in RAM, in bytes.
pub fn resident(process: u32) -> anyhow::Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).context("the process is gone")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("an unknown format of /proc")?;
    let kilobytes = line.split_whitespace().next().and_then(|number| number.parse::<u64>().ok());
    Ok(kilobytes.context("an unknown format of /proc")? << 10)
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader};
    use std::os::unix::process::CommandExt as _;
    use std::process::{Child, Command, Stdio};
    use std::time::Instant;

    use rustix::process::{Pid, Signal, kill_process_group};

    use super::*;

    const BOUND: Duration = Duration::from_secs(60);
    const SOME: Duration = Duration::from_millis(50);

    /// A shell that ends with the test, and all that it started with it.
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
    fn the_time_of_children_that_ended_counts() {
        let work = "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done";
        let mut shell = Shell::run(&format!("sh -c '{work}'; echo done; read line"));
        let child = &mut shell.0;
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "done\n");
        let (all, own) = (tree_cpu(child.id()).unwrap(), cpu(child.id()).unwrap());
        assert!(all > own, "{all:?} with the child that has ended, {own:?} without");
        assert_eq!(tree(child.id()).unwrap().len(), 1);
    }
}
