//! `inferbus rollback`: switches a model back to its previously active version.

use clap::Args;
use inferbus::nats::connect::Connection;
use inferbus_catalog::ModelName;

use crate::cli::{activation, open};

const EXAMPLES: &str = "\
Example:
  inferbus rollback digits

`inferbus show digits` lists the previously active versions.";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// Name of the model
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
