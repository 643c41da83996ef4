//! The memory available to this process: the machine's memory or its control group's limit.

use std::fs;
use std::path::{Path, PathBuf};

/// In bytes, or `None` if the system does not report it.
pub fn available() -> Option<u64> {
    let machine = fs::read_to_string("/proc/meminfo").ok().and_then(|text| total(&text));
    let group = fs::read_to_string("/proc/self/cgroup").ok().and_then(|text| limit_of_groups(&text));
    machine.into_iter().chain(group).min()
}

fn total(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.split_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1024)
}

/// The parent groups' limits apply too.
fn limit_of_groups(own: &str) -> Option<u64> {
    let files = own.lines().filter_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, path) = (parts.next()?, parts.next()?);
        let (root, file) = match controllers {
            "" => ("/sys/fs/cgroup", "memory.max"),
            controllers if controllers.split(',').any(|one| one == "memory") => {
                ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")
            }
            _ => return None,
        };
        Some((PathBuf::from(root), path.trim_start_matches('/').to_owned(), file))
    });
    let limits = files.flat_map(|(root, path, file)| {
        let folders: Vec<PathBuf> = Path::new(&path).ancestors().map(|folder| root.join(folder)).collect();
        // Inside a container the group's folder is the root, independent of its path on the host.
        folders.into_iter().filter_map(move |folder| fs::read_to_string(folder.join(file)).ok()?.trim().parse().ok())
    });
    limits.min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machines_memory_is_read_in_bytes() {
        assert_eq!(total("MemFree: 1 kB\nMemTotal:       24 kB\n"), Some(24 * 1024));
        assert_eq!(total("MemTotal: nonsense"), None);
    }

    #[test]
    fn this_process_may_use_something() {
        assert!(available().is_none_or(|bytes| bytes > 1 << 20));
        assert_eq!(limit_of_groups("nonsense"), None);
    }
}
