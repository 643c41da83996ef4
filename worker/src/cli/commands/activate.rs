//! `inferbus activate`: switches a model to a version.

use clap::Args;
use inferbus::nats::connect::Connection;
use inferbus_catalog::{Activate, ModelName, Version};

use crate::cli::{activation, open};

const EXAMPLES: &str = "\
Examples:
  inferbus activate digits 1.1.0

The equivalent with the NATS CLI: nats kv put models digits 1.1.0";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// Name of the model
    model: ModelName,
    /// Version to activate
    version: Version,
    #[command(flatten)]
    connection: Connection,
}

pub async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let catalog = open::catalog(&arguments.connection).await?;
    let activated = catalog.activate(&arguments.model, &arguments.version, Activate::default()).await?;
    activation::report(&arguments.model, &activated);
    Ok(())
}
