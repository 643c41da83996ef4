//! The HTML page of a report: one file, without scripts or external references.

use std::fmt::Write as _;

use super::chart::escaped;

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;max-width:72rem;margin:2rem auto;padding:0 1rem;\
color:#1c2733;background:#fff}table{border-collapse:collapse;margin:1rem 0;font-variant-numeric:tabular-nums}\
th,td{padding:.2rem .7rem;text-align:right;white-space:nowrap;border-bottom:1px solid #d7dde3}\
th:first-child,td:first-child,.text{text-align:left}\
.bad{color:#b3261e}.wide{overflow-x:auto}svg{margin:1rem 0}\
@media(prefers-color-scheme:dark){body{color:#e6ebf0;background:#14191f}th,td{border-color:#3a4550}\
.bad{color:#f2938c}}";

/// Text columns beside the first one. Other columns hold numbers.
const WORDS: [&str; 2] = ["unit", "value"];

/// The head of the page and the table of settings. [`end`] closes the page.
pub fn begin(title: &str, settings: &[(&str, String)]) -> String {
    let title = escaped(title);
    let mut out = format!(
        "<!DOCTYPE html>\n<html lang=\"en\" xmlns=\"http://www.w3.org/1999/xhtml\"><head><meta charset=\"utf-8\"/>\
         <meta name=\"viewport\" content=\"width=device-width\"/><meta name=\"color-scheme\" content=\"light dark\"/>\
         <title>{title}</title><style>{STYLE}</style></head><body>\n<h1>{title}</h1>\n"
    );
    let settings = settings.iter().map(|(name, value)| vec![(*name).to_owned(), value.clone()]);
    table(&mut out, &["setting", "value"], settings);
    out
}

pub fn paragraph(out: &mut String, class: &str, text: &str) {
    // Writing to a string cannot fail.
    let _ = writeln!(out, "<p class=\"{class}\">{}</p>", escaped(text));
}

pub fn table(out: &mut String, header: &[&str], rows: impl Iterator<Item = Vec<String>>) {
    let class = |title: &str| if WORDS.contains(&title) { " class=\"text\"" } else { "" };
    out.push_str("<div class=\"wide\"><table><thead><tr>");
    for title in header {
        let _ = write!(out, "<th{}>{}</th>", class(title), escaped(title));
    }
    out.push_str("</tr></thead><tbody>\n");
    for row in rows {
        out.push_str("<tr>");
        for (cell, title) in row.iter().zip(header) {
            let _ = write!(out, "<td{}>{}</td>", class(title), escaped(cell));
        }
        out.push_str("</tr>\n");
    }
    out.push_str("</tbody></table></div>\n");
}

pub fn end(out: &mut String) {
    out.push_str("</body></html>\n");
}
