//! `inferbus push`: checks a bundle, stores its artifacts and its entry, and optionally activates it.

use std::path::PathBuf;

use clap::Args;
use inferbus::config::Compute;
use inferbus::nats::connect::Connection;
use inferbus_catalog::{Bundle, Catalog, PushOptions};

use crate::cli::local_bundle::{self, LocalBundle};
use crate::cli::upload;

const EXAMPLES: &str = "\
Examples:
  inferbus push plugins/examples/digits/bundle-1.0.0 --activate
  inferbus push ./defect-1.3.0          # then: nats kv put models defect 1.3.0

Push again to resume an interrupted push: stored artifacts are not sent twice.";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// Folder with a bundle.toml
    #[arg(value_name = "FOLDER")]
    folder: PathBuf,
    /// Activate the version after storing it
    #[arg(long)]
    activate: bool,
    /// Replace a stored version with different content
    #[arg(long)]
    force: bool,
    // The settings of the workers. Without an ONNX Runtime library the model is checked but not loaded.
    #[command(flatten)]
    compute: Compute,
    #[command(flatten)]
    connection: Connection,
}

pub async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let bundle = Bundle::read(&arguments.folder)?;
    local_bundle::compile(&bundle, &arguments.compute.ceilings.ceilings())?;
    let Compute { engine, models, .. } = &arguments.compute;
    let has_library = local_bundle::try_model(&bundle, engine, models)?;
    // Only a run shows whether plugins and model fit together, and whether messages can share a run.
    if has_library && (bundle.entry.sample.is_some() || bundle.entry.engine.batch.is_some()) {
        LocalBundle::load(&arguments.compute, &bundle)?;
    }
    let catalog = Catalog::create(arguments.connection.command().await?).await?;
    upload::store(&catalog, &bundle, PushOptions { force: arguments.force }).await?;
    if arguments.activate {
        upload::activate(&catalog, &bundle).await?;
    }
    Ok(())
}
