//! One argument of a command as cells of a table.

use clap::{Arg, ArgAction, Command};

use super::markdown::{code, codes, sentence};

/// The documented arguments: without hidden ones and without those of clap.
pub fn arguments(command: &Command) -> impl Iterator<Item = &Arg> {
    command.get_arguments().filter(|argument| {
        let id = argument.get_id().as_str();
        !argument.is_hide_set() && id != "help" && id != "version"
    })
}

/// The flag with its value, or the name of a positional argument.
pub fn name(argument: &Arg) -> String {
    let values: Vec<String> =
        argument.get_value_names().unwrap_or_default().iter().map(|name| format!("<{name}>")).collect();
    let many = if argument.is_positional() && argument.get_num_args().is_some_and(|count| count.max_values() > 1) {
        "…"
    } else {
        ""
    };
    let Some(long) = argument.get_long() else {
        return code(&format!("{}{many}", values.join(" ")));
    };
    let value = if argument.get_action().takes_values() { format!(" {}", values.join(" ")) } else { String::new() };
    let long = code(&format!("--{long}{value}"));
    argument.get_short().map_or(long.clone(), |short| format!("`-{short}`, {long}"))
}

pub fn environment(argument: &Arg) -> String {
    argument.get_env().map(|name| code(&name.to_string_lossy())).unwrap_or_default()
}

/// The default from the parser, or from `[default: …]` in the help.
pub fn default(argument: &Arg) -> String {
    if !argument.get_action().takes_values() {
        return String::new();
    }
    if argument.is_required_set() {
        return "required".to_owned();
    }
    let values: Vec<String> =
        argument.get_default_values().iter().map(|value| any_process(&value.to_string_lossy())).collect();
    if !values.is_empty() {
        return codes(values.iter().map(String::as_str));
    }
    split_default(&help(argument)).1.map(|text| sentence(&text).trim_end_matches('.').to_owned()).unwrap_or_default()
}

/// The help without its default, and the allowed values.
pub fn meaning(argument: &Arg) -> String {
    let mut meaning = sentence(&split_default(&help(argument)).0);
    if argument.get_action().takes_values() {
        let values: Vec<String> = argument.get_possible_values().iter().filter_map(value).collect();
        if !values.is_empty() {
            meaning = format!("{meaning} Values: {}.", values.join("; ")).trim_start().to_owned();
        }
    }
    if matches!(argument.get_action(), ArgAction::Append) && !argument.is_positional() && !meaning.contains("epeat") {
        meaning.push_str(" Repeatable.");
    }
    meaning
}

fn value(value: &clap::builder::PossibleValue) -> Option<String> {
    let name = code(value.get_name());
    match value.get_help() {
        _ if value.is_hide_set() => None,
        None => Some(name),
        Some(help) => Some(format!("{name}: {}", sentence(&help.to_string()).trim_end_matches('.'))),
    }
}

fn help(argument: &Arg) -> String {
    argument.get_long_help().or(argument.get_help()).map(ToString::to_string).unwrap_or_default()
}

/// Splits `meaning [default: text]`.
fn split_default(help: &str) -> (String, Option<String>) {
    match help.split_once("[default: ").and_then(|(before, rest)| Some((before, rest.rsplit_once(']')?))) {
        Some((before, (default, after))) => (format!("{}{after}", before.trim_end()), Some(default.to_owned())),
        None => (help.to_owned(), None),
    }
}

/// A default with this process's id belongs to one host and one process.
fn any_process(value: &str) -> String {
    let own = format!("-{}", std::process::id());
    if value.ends_with(&own) { "<host>-<process id>".to_owned() } else { value.to_owned() }
}
