//! Tables for people, JSON for programs. A reader that went away ends no command half-way.

use serde::Serialize;
use std::fmt::Arguments;
use std::io::Write as _;

/// `println!` for a command's output.
macro_rules! say {
    ($($text:tt)*) => { $crate::commands::print::say_line(format_args!($($text)*)) };
}
pub(super) use say;

/// Writes a line of output. `println!` would panic where the reader has closed the pipe.
pub fn say_line(text: Arguments<'_>) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// Prints columns as wide as their widest cell; the last column runs free.
pub fn table(header: &[&str], rows: &[Vec<String>]) {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        cells.chain(header.get(column).map(|title| title.len())).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..header.len()).map(width).collect();
    line(&widths, header.iter().copied());
    for row in rows {
        line(&widths, row.iter().map(String::as_str));
    }
}

fn line<'a>(widths: &[usize], cells: impl Iterator<Item = &'a str>) {
    let padded: String = widths.iter().zip(cells).map(|(&width, cell)| format!("{cell:width$}  ")).collect();
    say!("{}", padded.trim_end());
}

pub fn json<T: Serialize>(value: &T) -> anyhow::Result<()> {
    say!("{}", serde_json::to_string_pretty(value)?);
    Ok(())
}

pub fn or_dash(text: Option<impl ToString>) -> String {
    text.map_or_else(|| "-".into(), |text| text.to_string())
}
