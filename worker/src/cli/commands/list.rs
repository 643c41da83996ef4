//! `inferbus ls`: lists models and their versions.

use clap::Args;
use inferbus::nats::connect::Connection;
use serde_json::json;

use crate::cli::open;
use crate::cli::print::{self, Format};

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  inferbus ls --output json")]
pub struct Arguments {
    /// Output format
    #[arg(long, value_enum, default_value = "text")]
    output: Format,
    #[command(flatten)]
    connection: Connection,
}

pub async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let models = open::catalog(&arguments.connection).await?.models().await?;
    if arguments.output == Format::Json {
        let models: Vec<_> = models
            .iter()
            .map(|model| {
                let (active, problem) = match &model.active {
                    Some((Ok(pointer), _)) => (Some(pointer.version.to_string()), None),
                    Some((Err(problems), _)) => (None, Some(problems.to_string())),
                    None => (None, None),
                };
                let versions: Vec<_> = model.versions.iter().map(ToString::to_string).collect();
                json!({
                    "model": model.name.to_string(), "active": active, "problem": problem, "versions": versions,
                    "unrecognized_keys": model.unrecognized_keys,
                })
            })
            .collect();
        return print::json(&models);
    }
    if models.is_empty() {
        print::line!("no models yet: `inferbus push FOLDER --activate` stores one");
        return Ok(());
    }
    let rows: Vec<_> = models
        .iter()
        .map(|model| {
            let active = match &model.active {
                Some((Ok(pointer), _)) => pointer.version.to_string(),
                Some((Err(problems), _)) => format!("unreadable: {problems}"),
                None => "-".into(),
            };
            let versions: Vec<_> = model.versions.iter().map(ToString::to_string).collect();
            vec![model.name.to_string(), active, versions.join(" ")]
        })
        .collect();
    print::table(&["MODEL", "ACTIVE", "VERSIONS"], &rows);
    for key in models.iter().flat_map(|model| &model.unrecognized_keys) {
        eprintln!("the bucket `models` has an unrecognized key `{key}`; delete it, or name it MODEL.VERSION");
    }
    Ok(())
}
