//! Excerpts of invalid values for error messages.

/// The number of characters of an invalid value in an error message.
const EXCERPT_CHARS: usize = 60;

/// A shortened, quoted value. Control characters are escaped, so a terminal does not interpret them.
pub(crate) fn excerpt(text: &str) -> String {
    let mut shown: String = text.chars().take(EXCERPT_CHARS).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    format!("{shown:?}")
}
