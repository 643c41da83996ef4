//! `inferbus push`: check a bundle, store its artifacts, then its entry, then, if asked, activate it.

use std::path::PathBuf;

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use inferbus::config::Compute;
use inferbus::nats::connect::Connection;
use inferbus_catalog::{Activate, Bundle, Catalog, Progress, PushOptions, PushPhase};

use super::local::{self, Local};
use super::print::say;

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  inferbus push plugins/digits/bundle-1.0.0 --activate\n  inferbus push ./defect-1.3.0          # then: nats kv put models defect 1.3.0\n\nA push that was cut off is resumed by pushing again: what is stored already is not sent twice."
)]
pub struct Arguments {
    /// Folder with a bundle.toml
    #[arg(value_name = "FOLDER")]
    folder: PathBuf,
    /// Activate the version once it is stored
    #[arg(long)]
    activate: bool,
    /// Replace a stored version that has other content
    #[arg(long)]
    force: bool,
    /// The workers' own, where they are not the defaults; without an ONNX Runtime library the model is only looked at
    #[command(flatten)]
    compute: Compute,
    #[command(flatten)]
    connection: Connection,
}

pub async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let bundle = Bundle::read(&arguments.folder)?;
    local::compile(&bundle, &arguments.compute.ceilings.ceilings())?;
    let Compute { engine, models, .. } = &arguments.compute;
    let has_library = local::try_model(&bundle, engine, models)?;
    // Whether its parts fit one another, and messages a shared run, shows only when they are run.
    if has_library && (bundle.entry.sample.is_some() || bundle.entry.engine.batch.is_some()) {
        Local::load(&arguments.compute, &bundle)?;
    }
    let catalog = Catalog::create(arguments.connection.command().await?).await?;
    push(&catalog, &bundle, PushOptions { force: arguments.force }).await?;
    if arguments.activate {
        activate(&catalog, &bundle).await?;
    }
    Ok(())
}

/// Stores a bundle and says what was done.
pub async fn push(catalog: &Catalog, bundle: &Bundle, options: PushOptions) -> anyhow::Result<()> {
    let bar = ProgressBar::no_length()
        .with_style(ProgressStyle::with_template("{prefix} {bar:30} {bytes}/{total_bytes} {bytes_per_sec} {eta}")?);
    let mut report = |progress: Progress| {
        let doing = match progress.phase {
            PushPhase::Checking => "checking",
            PushPhase::Uploading => "sending",
            PushPhase::Verifying => "verifying",
            PushPhase::Stored => "stored",
        };
        bar.set_prefix(format!("{doing} {}", progress.role.name()));
        bar.set_length(progress.artifact.size);
        bar.set_position(progress.done);
        bar.tick();
        if bar.is_hidden() && progress.phase != PushPhase::Stored && progress.done == 0 {
            eprintln!("{doing} {} ({} bytes)", progress.role.name(), progress.artifact.size);
        }
    };
    let pushed = catalog.push(bundle, options, &mut report).await;
    bar.finish_and_clear();
    let pushed = pushed?;
    let what = if pushed.entry_written { "pushed" } else { "already there:" };
    say!(
        "{what} {} {} {} ({} artifacts sent, {} already stored)",
        bundle.name,
        bundle.version,
        pushed.digest,
        pushed.uploaded,
        pushed.skipped
    );
    Ok(())
}

pub async fn activate(catalog: &Catalog, bundle: &Bundle) -> anyhow::Result<()> {
    let activated = catalog.activate(&bundle.name, &bundle.version, Activate::default()).await?;
    say!("{}", super::activate::sentence(&bundle.name, &activated));
    Ok(())
}
