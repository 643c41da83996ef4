//! `inferbus activate`: point a model at a version.

use clap::Args;
use inferbus::connect::Connection;
use inferbus_catalog::{Activate, ModelName, Version};

use crate::cli::{activation, open};

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  inferbus activate digits 1.1.0\n\nThe same without Inferbus: nats kv put models digits 1.1.0"
)]
pub struct Arguments {
    model: ModelName,
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
