//! `inferbus show`: one version's entry, how its plugins are brought back between messages, and which versions were active
//! before.

use anyhow::bail;
use clap::Args;
use inferbus::config::CeilingSettings;
use inferbus::nats::connect::Connection;
use inferbus_catalog::{CatalogFault, Entry, ModelName, Version};
use serde_json::json;

use super::print::{self, say};
use super::strategy::{self, Found};
use crate::cli::Format;

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  inferbus show digits\n  inferbus show digits 1.0.0 --output json")]
pub struct Arguments {
    model: ModelName,
    /// The version to show [default: the active one]
    version: Option<Version>,
    #[arg(long, value_enum, default_value = "text")]
    output: Format,
    #[command(flatten)]
    ceilings: CeilingSettings,
    #[command(flatten)]
    connection: Connection,
}

pub async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let catalog = super::catalog(&arguments.connection).await?;
    let model = &arguments.model;
    let active = match catalog.pointer(model).await? {
        Some((Ok(pointer), _)) => Some(pointer.version),
        Some((Err(problems), _)) if arguments.version.is_none() => {
            bail!("the active version of {model} cannot be read: {problems}")
        }
        _ => None,
    };
    let Some(version) = arguments.version.or_else(|| active.clone()) else {
        return Err(CatalogFault::NoPointer { name: model.clone() }.into());
    };
    let (entry, digest, revision) = catalog.entry(model, &version).await?;
    let history = catalog.history(model).await?;
    let versions = history.iter().rev().filter_map(|item| item.pointer.as_ref()?.as_ref().ok());
    let history: Vec<String> = versions.map(|pointer| pointer.version.to_string()).collect();
    let found = strategy::find(&catalog, &entry, &arguments.ceilings.ceilings()).await;
    let is_active = active.as_ref() == Some(&version);
    if arguments.output == Format::Json {
        return print::json(&json!({
            "model": model.to_string(), "version": version.to_string(), "digest": digest.to_string(), "revision": revision,
            "active": is_active, "entry": entry, "strategies": strategy::json(&found), "history": history,
        }));
    }
    say!("{model} {version} {}", if is_active { "(active)" } else { "(not active)" });
    say!("  digest   {digest}\n  revision {revision}");
    say_parts(&entry, &found);
    if !history.is_empty() {
        say!("  history  {} (newest first)", history.join(" "));
    }
    say!("{}", serde_json::to_string_pretty(&entry)?);
    Ok(())
}

fn say_parts(entry: &Entry, found: &[Found]) {
    for (role, artifact) in entry.artifacts() {
        say!("  {:8} {} ({} bytes)", role.name(), artifact.digest, artifact.size);
        match found.iter().find(|found| found.role == role).map(|found| &found.strategy) {
            Some(Ok(strategy)) => say!("           {strategy}"),
            Some(Err(why)) => say!("           between messages: cannot be told: {why}"),
            None => {}
        }
    }
}
