//! Markdown: paragraphs and tables, with code and text in their cells.

/// A table with its empty line below.
pub fn table<const N: usize>(head: [&str; N], rows: impl IntoIterator<Item = [String; N]>) -> String {
    let row = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    let head = row(&head.map(ToOwned::to_owned));
    let rule = row(&[const { "---" }; N].map(ToOwned::to_owned));
    let rows: String = rows.into_iter().map(|cells| row(&cells)).collect();
    format!("{head}{rule}{rows}\n")
}

/// Code in a cell. Empty text stays empty.
pub fn code(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!("`{}`", text.replace('|', "\\|")) }
}

/// A list of code in a cell.
pub fn codes<'a>(texts: impl IntoIterator<Item = &'a str>) -> String {
    let texts: Vec<String> = texts.into_iter().map(code).collect();
    texts.join(", ")
}

/// Plain text in a cell: one line with a full stop, without markup outside of backticks.
pub fn sentence(text: &str) -> String {
    let mut escaped = String::new();
    let mut in_code = false;
    for letter in text.split_whitespace().collect::<Vec<_>>().join(" ").chars() {
        in_code ^= letter == '`';
        if letter == '|' || (!in_code && "<*".contains(letter)) {
            escaped.push('\\');
        }
        escaped.push(letter);
    }
    if !escaped.is_empty() && !escaped.ends_with(['.', ':', '!', '?']) {
        escaped.push('.');
    }
    escaped
}

/// A paragraph with lines of at most 120 characters.
pub fn paragraph(text: &str) -> String {
    let (mut lines, mut line) = (String::new(), String::new());
    for word in sentence(text).split(' ') {
        if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > 120 {
            lines += &format!("{line}\n");
            line.clear();
        }
        line += if line.is_empty() { "" } else { " " };
        line += word;
    }
    format!("{lines}{line}\n\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_keep_their_text_in_one_column() {
        assert_eq!(code("FILE|FOLDER"), "`FILE\\|FOLDER`");
        assert_eq!(sentence("below `<model>`:\n <prefix>"), "below `<model>`: \\<prefix>.");
        assert_eq!(table(["a", "b"], [["1".into(), "2".into()]]), "| a | b |\n| --- | --- |\n| 1 | 2 |\n\n");
    }
}
