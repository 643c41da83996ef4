//! `inferbus rollback`: activate the version that was active before this one.

use clap::Args;
use inferbus::connect::Connection;
use inferbus_catalog::ModelName;

use crate::cli::{activation, open};

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
    let catalog = open::catalog(&arguments.connection).await?;
    let activated = catalog.rollback(&arguments.model).await?;
    activation::report(&arguments.model, &activated);
    Ok(())
}
