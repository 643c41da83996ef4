//! Memory of a process, in bytes, as Linux reports it.

/// Resident memory of this process.
pub fn own_resident() -> u64 {
    resident(std::process::id())
}

/// Resident memory of a process.
pub fn resident(process: u32) -> u64 {
    figure(process, "VmRSS:")
}

/// The most that was ever resident.
pub fn peak(process: u32) -> u64 {
    figure(process, "VmHWM:")
}

fn figure(process: u32, name: &str) -> u64 {
    let path = format!("/proc/{process}/status");
    let status = std::fs::read_to_string(&path).unwrap_or_else(|fault| panic!("{path}: {fault}"));
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kilobytes.unwrap_or_else(|| panic!("{path} lacks {name}")) << 10
}
