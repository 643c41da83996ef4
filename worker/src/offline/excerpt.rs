//! Payloads and errors as one short line that a terminal can show.

use crate::limits;

/// A result as one short line: its text, or its first bytes.
pub fn excerpt(result: &[u8]) -> String {
    let text =
        std::str::from_utf8(result).ok().filter(|text| !text.contains(|c: char| c.is_control() && !c.is_whitespace()));
    match text {
        Some(text) => shortened(&text.split_whitespace().collect::<Vec<_>>().join(" ")),
        None => {
            let bytes: String = result.iter().take(limits::EXCERPT / 4).map(|byte| format!("{byte:02x}")).collect();
            format!("{bytes}{} ({} bytes)", if result.len() > limits::EXCERPT / 4 { "…" } else { "" }, result.len())
        }
    }
}

/// Text from elsewhere with nothing in it that a terminal would obey.
pub fn plain(text: &str) -> String {
    text.replace(|c: char| c.is_control(), " ")
}

/// At most [`limits::EXCERPT`] characters of a line.
pub fn shortened(text: &str) -> String {
    let mut shown: String = text.chars().take(limits::EXCERPT).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_excerpt_is_one_short_line() {
        assert_eq!(excerpt(b"{\n  \"label\": 7\n}"), r#"{ "label": 7 }"#);
        assert_eq!(excerpt(&[0xff, 0x00, 0x7f]), "ff007f (3 bytes)");
        assert_eq!(excerpt(b"\x1b[31mred"), "1b5b33316d726564 (8 bytes)");
        assert_eq!(excerpt("é".repeat(300).as_bytes()).chars().count(), limits::EXCERPT + 1);
        assert!(excerpt(&[0xff; 300]).ends_with("… (300 bytes)"));
    }
}
