//! Stores a bundle in the catalog with progress, and activates it.

use indicatif::{ProgressBar, ProgressStyle};
use inferbus_catalog::{Activate, Bundle, Catalog, Progress, PushOptions, Step};

use super::{activation, print};

/// Stores a bundle, with progress on standard error and one line of output.
pub async fn store(catalog: &Catalog, bundle: &Bundle, options: PushOptions) -> anyhow::Result<()> {
    let bar = ProgressBar::no_length()
        .with_style(ProgressStyle::with_template("{prefix} {bar:30} {bytes}/{total_bytes} {bytes_per_sec} {eta}")?);
    let mut report = |progress: Progress| {
        let verb = match progress.step {
            Step::Checking => "checking",
            Step::Uploading => "sending",
            Step::Verifying => "verifying",
            Step::Stored => "stored",
        };
        bar.set_prefix(format!("{verb} {}", progress.role.name()));
        bar.set_length(progress.artifact.size);
        bar.set_position(progress.done);
        bar.tick();
        if bar.is_hidden() && progress.step != Step::Stored && progress.done == 0 {
            eprintln!("{verb} {} ({} bytes)", progress.role.name(), progress.artifact.size);
        }
    };
    let pushed = catalog.push(bundle, options, &mut report).await;
    bar.finish_and_clear();
    let pushed = pushed?;
    let what = if pushed.entry_written { "pushed" } else { "already there:" };
    print::line!(
        "{what} {} {} {} ({} artifacts sent, {} already stored)",
        bundle.name,
        bundle.version,
        pushed.digest,
        pushed.uploaded,
        pushed.skipped
    );
    Ok(())
}

/// Activates a stored bundle, with one line of output.
pub async fn activate(catalog: &Catalog, bundle: &Bundle) -> anyhow::Result<()> {
    let activated = catalog.activate(&bundle.name, &bundle.version, Activate::default()).await?;
    activation::report(&bundle.name, &activated);
    Ok(())
}
