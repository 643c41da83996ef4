//! Payloads and errors as one short, printable line.

use crate::limits;

/// A payload as one short line: its text, or its first bytes in hexadecimal.
pub fn excerpt(payload: &[u8]) -> String {
    let text =
        std::str::from_utf8(payload).ok().filter(|text| !text.contains(|c: char| c.is_control() && !c.is_whitespace()));
    match text {
        Some(text) => shortened(&text.split_whitespace().collect::<Vec<_>>().join(" ")),
        None => {
            let bytes: String = payload.iter().take(limits::EXCERPT / 4).map(|byte| format!("{byte:02x}")).collect();
            format!("{bytes}{} ({} bytes)", if payload.len() > limits::EXCERPT / 4 { "…" } else { "" }, payload.len())
        }
    }
}

/// Foreign text without control characters.
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
