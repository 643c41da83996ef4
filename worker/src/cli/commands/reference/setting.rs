//! The page of a worker's settings.

use clap::{Arg, Command};
use inferbus::dev_server::SERVER_PROGRAM;

use super::argument::{arguments, default, environment, meaning, name};
use super::markdown::{code, sentence, table};

/// The environment names without a flag, and their meaning.
const WITHOUT_FLAG: [(&str, &str); 8] = [
    (SERVER_PROGRAM, "The nats-server program of `inferbus dev`. The default is `nats-server` on the PATH"),
    ("HOME", "The home folder. The names below override its default folders"),
    ("XDG_CACHE_HOME", "The base folder of caches, instead of `~/.cache`"),
    ("XDG_STATE_HOME", "The base folder of the crash journal, instead of `~/.local/state`"),
    ("XDG_CONFIG_HOME", "The base folder of contexts of the `nats` command, instead of `~/.config`"),
    ("ORT_DISABLE_TELEMETRY", "Inferbus sets this to 1 before it loads ONNX Runtime, except if it is already set"),
    ("LD_LIBRARY_PATH", "Folders of native libraries. The child process for model trials gets it too"),
    ("CUDA_VISIBLE_DEVICES", "The CUDA devices for models. The child process for model trials gets it too"),
];

const INTRODUCTION: &str = "\
Each setting of `inferbus worker` is a flag, an environment name and a default, in this order of precedence.
[Commands](cli.md) lists the flags of all commands. [Deploy workers](../howto/deploy.md) explains the choices.
";

pub fn page(program: &Command) -> String {
    let mut page = format!("# Configuration\n\n{INTRODUCTION}\n");
    let worker = program.find_subcommand("worker");
    let settings: Vec<&Arg> = worker.into_iter().flat_map(arguments).collect();
    let mut headings: Vec<Option<&str>> = Vec::new();
    for setting in &settings {
        if !headings.contains(&setting.get_help_heading()) {
            headings.push(setting.get_help_heading());
        }
    }
    headings.sort();
    for heading in headings {
        page += &format!("## {}\n\n", heading.unwrap_or("Worker"));
        let rows = settings.iter().filter(|setting| setting.get_help_heading() == heading);
        page += &table(
            ["environment", "flag", "default", "meaning"],
            rows.map(|setting| [environment(setting), name(setting), default(setting), meaning(setting)]),
        );
    }
    page += "## Environment names without a flag\n\n";
    page += &table(["environment", "meaning"], WITHOUT_FLAG.map(|(name, meaning)| [code(name), sentence(meaning)]));
    page.trim_end().to_owned() + "\n"
}
