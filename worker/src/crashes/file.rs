//! The text format shared by the journal and the history, and atomic replacement of a file.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// A slot's line while a bundle is loaded.
pub const LOADING: &str = "loading";
/// A slot's line for requests. They are never redelivered, so their names are not recorded.
pub const REQUEST: &str = "request";

/// Microseconds since the Unix epoch.
pub fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

/// Replaces a file atomically.
pub fn replace(path: &Path, text: &str) -> io::Result<()> {
    let next = path.with_extension("next");
    let mut file = File::create(&next)?;
    file.write_all(text.as_bytes())?;
    std::fs::rename(next, path)
}
