//! A progress bar, shown on a terminal only.

use indicatif::{ProgressBar, ProgressStyle};

pub fn bar(count: u64) -> anyhow::Result<ProgressBar> {
    let style = ProgressStyle::with_template("{bar:30} {human_pos}/{human_len} {per_sec} {eta}")?;
    Ok(ProgressBar::new(count).with_style(style))
}
