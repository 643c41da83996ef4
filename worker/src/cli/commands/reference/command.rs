//! The page of commands and flags.

use std::collections::BTreeMap;

use clap::{Arg, Command};

use super::argument::{arguments, default, environment, meaning, name};
use super::markdown::{paragraph, sentence, table};

/// A command with fewer arguments than this is never named instead of its arguments.
const LONG: usize = 10;

pub fn page(program: &Command) -> String {
    let mut commands = Vec::new();
    collect(program, "", &mut commands);
    let shared = shared_headings(&commands);
    let about = program.get_long_about().or(program.get_about());
    let mut page = format!("# Commands\n\n{}", paragraph(&text(about)));
    page += &paragraph(&text(program.get_after_help()));
    page += &table(["command", "purpose"], commands.iter().map(|(path, command)| overview(path, command)));
    for heading in &shared {
        page += &shared_section(heading, &commands);
    }
    for (path, command) in &commands {
        page += &section(path, command, &commands, &shared);
    }
    page.trim_end().to_owned() + "\n"
}

/// All visible commands with their names, groups first.
fn collect<'a>(parent: &'a Command, path: &str, commands: &mut Vec<(String, &'a Command)>) {
    let visible = |command: &&Command| !command.is_hide_set() && command.get_name() != "help";
    for command in parent.get_subcommands().filter(visible) {
        let path = format!("{path} {}", command.get_name()).trim_start().to_owned();
        commands.push((path.clone(), command));
        collect(command, &path, commands);
    }
}

fn overview(path: &str, command: &Command) -> [String; 2] {
    let anchor = path.replace(' ', "-");
    [format!("[`{path}`](#inferbus-{anchor})"), sentence(&text(command.get_about()))]
}

fn text(text: Option<&clap::builder::StyledStr>) -> String {
    text.map(ToString::to_string).unwrap_or_default()
}

/// The headings with arguments of several commands.
fn shared_headings(commands: &[(String, &Command)]) -> Vec<String> {
    let mut uses: BTreeMap<&str, usize> = BTreeMap::new();
    for (_, command) in commands {
        let mut headings: Vec<&str> = arguments(command).filter_map(Arg::get_help_heading).collect();
        headings.dedup();
        for heading in headings {
            *uses.entry(heading).or_default() += 1;
        }
    }
    uses.into_iter().filter(|(_, uses)| *uses > 1).map(|(heading, _)| heading.to_owned()).collect()
}

fn shared_section(heading: &str, commands: &[(String, &Command)]) -> String {
    let of_heading = |command: &'_ Command| arguments(command).any(|found| found.get_help_heading() == Some(heading));
    let Some((_, command)) = commands.iter().find(|(_, command)| of_heading(command)) else {
        return String::new();
    };
    let rows = arguments(command).filter(|found| found.get_help_heading() == Some(heading));
    format!("## {heading} flags\n\nSeveral commands share these flags.\n\n{}", flags(rows))
}

fn section(path: &str, command: &Command, commands: &[(String, &Command)], shared: &[String]) -> String {
    let about = command.get_long_about().or(command.get_about());
    let mut section = format!(
        "## `inferbus {path}`

{}",
        paragraph(&text(about))
    );
    if command.has_subcommands() {
        return section;
    }
    let usage = command.clone().render_usage().to_string();
    section += &format!("```text\n{}\n```\n\n", usage.trim_start_matches("Usage: ").trim_end());
    let mut links = Vec::new();
    let mut rows: Vec<&Arg> = arguments(command).collect();
    if let Some((other, inner)) = commands.iter().find(|(other, inner)| other != path && contains(command, inner)) {
        rows.retain(|argument| !has(inner, argument));
        links.push(format!("all flags of [`inferbus {other}`](#inferbus-{})", other.replace(' ', "-")));
    }
    for heading in shared {
        let before = rows.len();
        rows.retain(|argument| argument.get_help_heading() != Some(heading));
        if rows.len() < before {
            let anchor = heading.to_lowercase().replace(' ', "-");
            links.push(format!("the [{} flags](#{anchor}-flags)", heading.to_lowercase()));
        }
    }
    if !rows.is_empty() {
        section += &flags(rows.into_iter());
    }
    if !links.is_empty() {
        section += &format!("Also {}.\n\n", links.join(" and "));
    }
    section + &examples(command)
}

/// Whether a command takes all arguments of another command with many arguments.
fn contains(command: &Command, inner: &Command) -> bool {
    let unheaded = || arguments(inner).filter(|argument| argument.get_help_heading().is_none());
    unheaded().count() >= LONG
        && arguments(inner).all(|argument| has(command, argument))
        && arguments(command).count() > arguments(inner).count()
}

fn has(command: &Command, argument: &Arg) -> bool {
    arguments(command).any(|own| own.get_id() == argument.get_id() && own.get_env() == argument.get_env())
}

fn flags<'a>(rows: impl Iterator<Item = &'a Arg>) -> String {
    table(
        ["argument", "default", "environment", "meaning"],
        rows.map(|argument| [name(argument), default(argument), environment(argument), meaning(argument)]),
    )
}

fn examples(command: &Command) -> String {
    match text(command.get_after_help()) {
        empty if empty.trim().is_empty() => String::new(),
        examples => format!("```text\n{}\n```\n\n", examples.trim_end()),
    }
}
