//! Printable forms of text from plugins, and of sizes.

use std::fmt;

use crate::limits;

/// A plugin's bytes as one printable line of at most `limit` bytes. Invalid UTF-8 is replaced. Characters with an
/// effect on a terminal are escaped: control characters, line breaks and changes of direction.
pub(crate) fn printable(bytes: &[u8], limit: usize) -> String {
    const CUT: char = '…';
    // Escaping never shortens, so bytes beyond the limit cannot appear.
    let head = bytes.get(..limit).unwrap_or(bytes);
    let mut out = String::with_capacity(head.len());
    for c in String::from_utf8_lossy(head).chars() {
        let start = out.len();
        if is_unsafe(c) {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
        if out.len() > limit {
            out.truncate(start);
            out.push(CUT);
            return out;
        }
    }
    if head.len() < bytes.len() {
        out.push(CUT);
    }
    out
}

/// The text of a Wasmtime error. It may quote names from the module, so it is escaped, too.
pub(crate) fn host_text(error: &wasmtime::Error) -> String {
    printable(format!("{error:#}").as_bytes(), limits::QUOTED_BYTES)
}

fn is_unsafe(c: char) -> bool {
    let reorders = matches!(c, '\u{200e}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let breaks_line = matches!(c, '\u{2028}' | '\u{2029}');
    c.is_control() || reorders || breaks_line
}

/// A number of bytes in the largest unit that divides it: `64 MiB`, `1000 bytes`.
#[derive(Clone, Copy)]
pub(crate) struct Size(pub(crate) u64);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (unit, name) in [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")] {
            if self.0 > 0 && self.0.is_multiple_of(unit) {
                return write!(f, "{} {name}", self.0 / unit);
            }
        }
        write!(f, "{} bytes", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_disturb_a_terminal_is_escaped() {
        assert_eq!(printable(b"\x1b[31mred\x1b[0m\r\n\0", 100), r"\u{1b}[31mred\u{1b}[0m\r\n\u{0}");
        assert_eq!(printable("a\u{202e}b\u{9b}c".as_bytes(), 100), r"a\u{202e}b\u{9b}c");
    }

    #[test]
    fn invalid_utf8_is_replaced_and_valid_text_kept() {
        assert_eq!(printable(b"caf\xc3\xa9 \xff\xfe", 100), "café \u{fffd}\u{fffd}");
    }

    #[test]
    fn the_limit_holds_for_plain_and_for_escaped_text() {
        assert_eq!(printable(b"abcdef", 3), "abc…");
        assert_eq!(printable(b"abc", 3), "abc");
        assert_eq!(printable(b"\0\0\0", 8), r"\u{0}…");
    }

    #[test]
    fn sizes_read_like_an_entry() {
        assert_eq!(Size(64 << 20).to_string(), "64 MiB");
        assert_eq!(Size(1000).to_string(), "1000 bytes");
        assert_eq!(Size(0).to_string(), "0 bytes");
    }
}
