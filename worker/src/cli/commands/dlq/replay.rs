//! `inferbus dlq replay`: dead letters through a version with the fix.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::Arc;

use async_nats::jetstream::Context;
use clap::Args;
use inferbus::app;
use inferbus::config::Compute;
use inferbus::excerpt::excerpt;
use inferbus::models::loader::Loader;
use inferbus::nats::connect::Connection;
use inferbus::offline::dead_letter_replay::{DeadLetterReplay, LetterResult, ReplayedLetter};
use inferbus::offline::dead_letter_stream::{DeadLetterStream, SelectedLetter};
use inferbus::offline::fault::OfflineFault;
use inferbus::offline::load;
use inferbus_catalog::{Catalog, CatalogFault, RouteName, Version, parse_version};

use super::selection::{Selection, counted};
use crate::cli::{child_process, exit, open, print, progress};

const EXAMPLES: &str = "\
Examples:
  inferbus dlq replay 12
  inferbus dlq replay --all --route cameras --version 1.1.0 --dry-run

Results have the subjects and message ids of a worker's results, so a repeated replay does not store them twice.

Messages that fail again stay dead letters; the exit code is then 1.";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    #[command(flatten)]
    selection: Selection,
    /// Version of the route's model [default: the active one]
    #[arg(long, value_name = "VERSION", value_parser = parse_version)]
    version: Option<Version>,
    /// Print the results without publishing or deleting
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    compute: Compute,
}

/// Replayed dead letters by result.
#[derive(Default)]
struct Counts {
    results: u64,
    without_result: u64,
    failed: u64,
}

pub async fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let Arguments { selection, version, dry_run, connection, compute } = arguments;
    let context = open::jetstream(&connection).await?;
    let stream = DeadLetterStream::open(&context).await?;
    let selected = selection.find(stream.as_ref()).await?;
    let (Some(stream), false) = (stream, selected.is_empty()) else {
        print::line!("no dead letters");
        return Ok(ExitCode::SUCCESS);
    };
    let catalog = Catalog::open(context.client()).await?;
    let loader = Arc::new(app::loader(&compute, child_process::children()?)?);
    let replays = Replays { context, stream, catalog, loader, version, dry_run };
    let mut counts = Counts::default();
    for (route, selected) in by_route(selected) {
        replays.run_route(&route, selected, &mut counts).await?;
    }
    let Counts { results, without_result, failed } = counts;
    let replayed = counted(results + without_result);
    let verb = if dry_run { "would be replayed" } else { "replayed" };
    print::line!("{replayed} {verb}: {results} with a result, {without_result} without one; {failed} failed");
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::from(exit::FAILED) })
}

fn by_route(selected: Vec<SelectedLetter>) -> BTreeMap<String, Vec<SelectedLetter>> {
    let mut routes = BTreeMap::<String, Vec<SelectedLetter>>::new();
    for letter in selected {
        routes.entry(letter.route.clone()).or_default().push(letter);
    }
    routes
}

/// The common parts of the replays of all routes.
struct Replays {
    context: Context,
    stream: DeadLetterStream,
    catalog: Catalog,
    loader: Arc<Loader>,
    version: Option<Version>,
    dry_run: bool,
}

impl Replays {
    /// Replays the dead letters of one route. A deleted route or a broken model does not stop the other routes.
    async fn run_route(&self, name: &str, selected: Vec<SelectedLetter>, counts: &mut Counts) -> anyhow::Result<()> {
        let count = selected.len() as u64;
        let replay = match self.load(name).await {
            Ok(replay) => replay,
            Err(fault) if concerns_one_route(&fault) => {
                print::line!("route {name}: {} cannot be replayed: {fault}", counted(count));
                counts.failed += count;
                return Ok(());
            }
            Err(fault) => return Err(fault.into()),
        };
        let bar = progress::bar(count)?;
        let result = replay.run(selected, |replayed| {
            bar.suspend(|| print_result(&replayed, self.dry_run));
            counts.add(&replayed.result);
            bar.inc(1);
        });
        let result = result.await;
        bar.finish_and_clear();
        Ok(result?)
    }

    async fn load(&self, name: &str) -> Result<DeadLetterReplay, OfflineFault> {
        let name: RouteName = name.parse().map_err(|_| OfflineFault::BadRouteName(name.to_owned()))?;
        let route = load::route(&self.catalog, &name).await?;
        let bundle = load::version(&self.catalog, &self.loader, &route.model, self.version.as_ref()).await?;
        let (context, letters, lanes) = (self.context.clone(), self.stream.clone(), self.loader.lanes);
        Ok(DeadLetterReplay { context, letters, name, route, bundle, lanes, dry_run: self.dry_run })
    }
}

fn concerns_one_route(fault: &OfflineFault) -> bool {
    match fault {
        OfflineFault::Catalog(fault) => {
            !fault.is_transient()
                && !matches!(**fault, CatalogFault::MissingBucket { .. } | CatalogFault::Refused { .. })
        }
        OfflineFault::BadRouteName(_)
        | OfflineFault::BadRoute { .. }
        | OfflineFault::Pointer { .. }
        | OfflineFault::OtherDigest { .. }
        | OfflineFault::Bundle { .. } => true,
        _ => false,
    }
}

impl Counts {
    fn add(&mut self, result: &LetterResult) {
        *match result {
            LetterResult::Result { .. } => &mut self.results,
            LetterResult::NoResult { .. } => &mut self.without_result,
            LetterResult::Failed(_) => &mut self.failed,
        } += 1;
    }
}

/// Prints failures always, and results only in a dry run.
fn print_result(replayed: &ReplayedLetter, dry_run: bool) {
    let ReplayedLetter { id, message, result } = replayed;
    let emitted = |emits: &usize| if *emits == 0 { String::new() } else { format!(", {emits} emitted") };
    match result {
        LetterResult::Failed(why) => print::line!("{id} {message}: failed: {why}"),
        LetterResult::Result { subject, result, emits, .. } if dry_run => {
            print::line!("{id} {message}: {subject} {}{}", excerpt(result), emitted(emits));
        }
        LetterResult::NoResult { emits } if dry_run => print::line!("{id} {message}: no result{}", emitted(emits)),
        LetterResult::Result { .. } | LetterResult::NoResult { .. } => {}
    }
}
