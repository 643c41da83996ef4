//! `inferbus activate`: point a model at a version.

use clap::Args;
use inferbus::nats::connect::Connection;
use inferbus_catalog::{Activate, Activated, ModelName, Version};

use super::print::say;

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
    let catalog = super::catalog(&arguments.connection).await?;
    let activated = catalog.activate(&arguments.model, &arguments.version, Activate::default()).await?;
    say!("{}", sentence(&arguments.model, &activated));
    Ok(())
}

pub fn sentence(model: &ModelName, activated: &Activated) -> String {
    match &activated.from {
        Some(from) => format!("{model}: {} → {} (revision {})", from.version, activated.to.version, activated.revision),
        None => format!("{model}: {} (revision {})", activated.to.version, activated.revision),
    }
}
