//! Subject filters and subject templates in the syntax of NATS subject mappings.

use crate::limits;
use crate::text::excerpt;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubjectFault {
    #[error("{} bytes long; at most {} are allowed", .0, limits::SUBJECT_BYTES)]
    TooLong(usize),
    #[error("{} tokens; at most {} are allowed", .0, limits::SUBJECT_TOKENS)]
    TooManyTokens(usize),
    #[error("it is empty or contains an empty token")]
    EmptyToken,
    #[error("the token {0} contains a character not allowed in subjects")]
    BadCharacter(String),
    #[error("`*` and `>` stand for whole tokens; {0} mixes them with text")]
    MixedWildcard(String),
    #[error("`>` can only be the last token")]
    EarlyTail,
    #[error("subjects beginning with `$` belong to the server; choose another subject")]
    Reserved,
    #[error("an output is one subject without wildcards; use {{{{wildcard(1)}}}} for the match of `*`")]
    OutputWildcard,
    #[error("{0} is not a supported mapping; use {{{{wildcard(1)}}}} or $1 as a whole token")]
    UnknownMapping(String),
    #[error("{token} refers to wildcard {index}, but the filter has {wildcards} wildcards")]
    NoSuchWildcard { token: String, index: usize, wildcards: usize },
    #[error("it ends with `>`, but the filter does not")]
    NoTail,
}

/// Checks the tokens and wildcards of a filter. Rejects filters for the server's own subjects.
pub(crate) fn check_filter(filter: &str) -> Result<(), SubjectFault> {
    check_tokens(filter)?;
    let last = filter.split('.').count() - 1;
    for (index, token) in filter.split('.').enumerate() {
        match token {
            "*" => {}
            ">" if index == last => {}
            ">" => return Err(SubjectFault::EarlyTail),
            mixed if mixed.contains(['*', '>']) => return Err(SubjectFault::MixedWildcard(excerpt(mixed))),
            literal => check_literal(literal)?,
        }
    }
    if filter.starts_with('$') { Err(SubjectFault::Reserved) } else { Ok(()) }
}

/// Checks a template against the filter with its wildcards.
pub(crate) fn check_template(template: &str, filter: &str) -> Result<(), SubjectFault> {
    check_tokens(template)?;
    let wildcards = filter.split('.').filter(|token| *token == "*").count();
    let last = template.split('.').count() - 1;
    for (at, token) in template.split('.').enumerate() {
        match part(token)? {
            Part::Wildcard(index) if index == 0 || index > wildcards => {
                return Err(SubjectFault::NoSuchWildcard { token: excerpt(token), index, wildcards });
            }
            Part::Wildcard(_) => {}
            Part::Tail if at != last => return Err(SubjectFault::EarlyTail),
            Part::Tail if filter.split('.').next_back() != Some(">") => return Err(SubjectFault::NoTail),
            Part::Tail => {}
            Part::Literal(literal) if at == 0 && literal.starts_with('$') => return Err(SubjectFault::Reserved),
            Part::Literal(literal) => check_literal(literal)?,
        }
    }
    Ok(())
}

pub(crate) fn matches(filter: &str, subject: &str) -> bool {
    let mut tokens = subject.split('.');
    for wanted in filter.split('.') {
        match (wanted, tokens.next()) {
            (">", Some(_)) => return true,
            ("*", Some(_)) => {}
            (wanted, Some(token)) if wanted == token => {}
            _ => return false,
        }
    }
    tokens.next().is_none()
}

/// The result of a checked template for `subject`, or `None` if the filter does not match.
pub(crate) fn mapped(template: &str, filter: &str, subject: &str) -> Option<String> {
    if !matches(filter, subject) {
        return None;
    }
    let captured: Vec<&str> = filter
        .split('.')
        .zip(subject.split('.'))
        .filter(|(wanted, _)| *wanted == "*")
        .map(|(_, token)| token)
        .collect();
    let mut tokens = Vec::new();
    for token in template.split('.') {
        match part(token).ok()? {
            Part::Literal(literal) => tokens.push(literal),
            Part::Wildcard(index) => tokens.push(captured.get(index.checked_sub(1)?)?),
            Part::Tail => tokens.extend(subject.split('.').skip(filter.split('.').count() - 1)),
        }
    }
    Some(tokens.join("."))
}

/// A filter for all possible results of a checked template.
pub(crate) fn reach(template: &str) -> String {
    let tokens = template.split('.').map(|token| match part(token) {
        Ok(Part::Literal(literal)) => literal,
        Ok(Part::Tail) => ">",
        _ => "*",
    });
    tokens.collect::<Vec<_>>().join(".")
}

/// Whether the filter matches a possible result of the template, so the output would return to the input.
pub(crate) fn feeds_itself(template: &str, filter: &str) -> bool {
    let mut wanted = filter.split('.');
    for token in template.split('.') {
        let made = part(token);
        match (wanted.next(), made) {
            (Some(">"), _) | (Some(_), Ok(Part::Tail)) => return true,
            (Some("*"), _) | (Some(_), Ok(Part::Wildcard(_))) => {}
            (Some(wanted), Ok(Part::Literal(literal))) if wanted == literal => {}
            _ => return false,
        }
    }
    wanted.next().is_none()
}

/// Whether `outer` matches every subject matched by `inner`.
pub fn covers(outer: &str, inner: &str) -> bool {
    let mut inner = inner.split('.');
    for wanted in outer.split('.') {
        match (wanted, inner.next()) {
            (">", Some(_)) => return true,
            (_, Some(">")) | (_, None) => return false,
            ("*", Some(_)) => {}
            (wanted, Some(token)) if wanted == token => {}
            _ => return false,
        }
    }
    inner.next().is_none()
}

/// Whether any subject matches both filters.
pub fn overlap(left: &str, right: &str) -> bool {
    let (mut left, mut right) = (left.split('.'), right.split('.'));
    loop {
        match (left.next(), right.next()) {
            (None, None) => return true,
            (None, _) | (_, None) => return false,
            (Some(">"), _) | (_, Some(">")) => return true,
            (Some("*"), _) | (_, Some("*")) => {}
            (Some(left), Some(right)) if left == right => {}
            _ => return false,
        }
    }
}

enum Part<'a> {
    Literal(&'a str),
    Wildcard(usize),
    Tail,
}

fn part(token: &str) -> Result<Part<'_>, SubjectFault> {
    if token == ">" {
        return Ok(Part::Tail);
    }
    if token.contains(['*', '>']) {
        return Err(SubjectFault::OutputWildcard);
    }
    let index = match token.strip_prefix('$') {
        Some(index) if index.bytes().all(|byte| byte.is_ascii_digit()) => Some(index),
        _ => wildcard_call(token),
    };
    let unknown = || SubjectFault::UnknownMapping(excerpt(token));
    match index {
        Some(index) => index.parse().map(Part::Wildcard).map_err(|_| unknown()),
        None if token.contains("{{") || token.contains("}}") => Err(unknown()),
        None => Ok(Part::Literal(token)),
    }
}

/// The index in `{{wildcard(1)}}`. Like the server, ignores case and white space.
fn wildcard_call(token: &str) -> Option<&str> {
    let call = token.strip_prefix("{{")?.strip_suffix("}}")?.trim();
    let name = call.get(.."wildcard".len()).filter(|name| name.eq_ignore_ascii_case("wildcard"))?;
    Some(call.strip_prefix(name)?.trim().strip_prefix('(')?.strip_suffix(')')?.trim())
}

fn check_tokens(subject: &str) -> Result<(), SubjectFault> {
    let tokens = subject.split('.').count();
    match () {
        () if subject.len() > limits::SUBJECT_BYTES => Err(SubjectFault::TooLong(subject.len())),
        () if tokens > limits::SUBJECT_TOKENS => Err(SubjectFault::TooManyTokens(tokens)),
        () if subject.split('.').any(str::is_empty) => Err(SubjectFault::EmptyToken),
        () => Ok(()),
    }
}

fn check_literal(token: &str) -> Result<(), SubjectFault> {
    let bad = |c: char| c.is_whitespace() || c.is_control();
    if token.contains(bad) { Err(SubjectFault::BadCharacter(excerpt(token))) } else { Ok(()) }
}
