//! `inferbus show`: one version's entry, the reset strategies of its plugins, and the activation history.

use anyhow::bail;
use clap::Args;
use inferbus::config::CeilingSettings;
use inferbus::nats::connect::Connection;
use inferbus_catalog::{CatalogFault, Entry, ModelName, Version};
use serde_json::json;

use crate::cli::open;
use crate::cli::plugin_strategy::{self, PluginStrategy};
use crate::cli::print::{self, Format};

const EXAMPLES: &str = "\
Examples:
  inferbus show digits
  inferbus show digits 1.0.0 --output json";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// Name of the model
    model: ModelName,
    /// Version to show [default: the active one]
    version: Option<Version>,
    /// Output format
    #[arg(long, value_enum, default_value = "text")]
    output: Format,
    #[command(flatten)]
    ceilings: CeilingSettings,
    #[command(flatten)]
    connection: Connection,
}

pub async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let catalog = open::catalog(&arguments.connection).await?;
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
    let found = plugin_strategy::find(&catalog, &entry, &arguments.ceilings.ceilings()).await;
    let is_active = active.as_ref() == Some(&version);
    if arguments.output == Format::Json {
        return print::json(&json!({
            "model": model.to_string(), "version": version.to_string(), "digest": digest.to_string(),
            "revision": revision,
            "active": is_active, "entry": entry, "strategies": plugin_strategy::json(&found), "history": history,
        }));
    }
    print::line!("{model} {version} {}", if is_active { "(active)" } else { "(not active)" });
    print::line!("  digest   {digest}\n  revision {revision}");
    print_artifacts(&entry, &found);
    if !history.is_empty() {
        print::line!("  history  {} (newest first)", history.join(" "));
    }
    print::line!("{}", serde_json::to_string_pretty(&entry)?);
    Ok(())
}

fn print_artifacts(entry: &Entry, found: &[PluginStrategy]) {
    for (role, artifact) in entry.artifacts() {
        print::line!("  {:8} {} ({} bytes)", role.name(), artifact.digest, artifact.size);
        match found.iter().find(|found| found.role == role).map(|found| &found.strategy) {
            Some(Ok(strategy)) => print::line!("           {strategy}"),
            Some(Err(why)) => print::line!("           strategy unknown: {why}"),
            None => {}
        }
    }
}
