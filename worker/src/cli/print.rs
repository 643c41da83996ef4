//! Output of commands: lines and tables as text, or JSON. A closed pipe does not end a command early.

use serde::Serialize;
use std::fmt::Arguments;
use std::io::Write as _;

use clap::ValueEnum;

/// The output format of a command.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    #[default]
    Text,
    Json,
}

/// Like `println!`, for the output of a command.
macro_rules! line {
    ($($text:tt)*) => { $crate::cli::print::write_line(format_args!($($text)*)) };
}
pub(crate) use line;

/// Writes one line to standard output. `println!` would panic on a closed pipe.
pub fn write_line(text: Arguments<'_>) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// Prints columns as wide as their widest cell. The last column is not padded.
pub fn table(header: &[&str], rows: &[Vec<String>]) {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        cells.chain(header.get(column).map(|title| title.len())).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..header.len()).map(width).collect();
    table_row(&widths, header.iter().copied());
    for row in rows {
        table_row(&widths, row.iter().map(String::as_str));
    }
}

fn table_row<'a>(widths: &[usize], cells: impl Iterator<Item = &'a str>) {
    let padded: String = widths.iter().zip(cells).map(|(&width, cell)| format!("{cell:width$}  ")).collect();
    line!("{}", padded.trim_end());
}

pub fn json<T: Serialize>(value: &T) -> anyhow::Result<()> {
    line!("{}", serde_json::to_string_pretty(value)?);
    Ok(())
}

pub fn or_dash(text: Option<impl ToString>) -> String {
    text.map_or_else(|| "-".into(), |text| text.to_string())
}
