//! `inferbus rollback`: activate the version that was active before this one.

use clap::Args;
use inferbus::nats::connect::Connection;
use inferbus_catalog::ModelName;

use super::print::say;

#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  inferbus rollback digits\n\nThe catalog remembers the last versions that were active; `inferbus show digits` lists them."
)]
pub struct Arguments {
    model: ModelName,
    #[command(flatten)]
    connection: Connection,
}

pub async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let catalog = super::catalog(&arguments.connection).await?;
    let activated = catalog.rollback(&arguments.model).await?;
    say!("{}", super::activate::sentence(&arguments.model, &activated));
    Ok(())
}
