//! `inferbus dlq replay`: dead letters through a version that can do what the other could not.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::Arc;

use async_nats::jetstream::Context;
use clap::Args;
use inferbus::app;
use inferbus::config::Compute;
use inferbus::models::bundle::Loader;
use inferbus::nats::connect::Connection;
use inferbus::offline::dead_letters::{DeadLetters, Pick};
use inferbus::offline::excerpt::excerpt;
use inferbus::offline::fault::OfflineFault;
use inferbus::offline::redo::{Again, End, Redone};
use inferbus::offline::version;
use inferbus_catalog::{Catalog, CatalogFault, RouteName, Version, parse_version};

use super::choice::{self, Chosen, letters};
use crate::commands;
use crate::commands::print::say;
use crate::commands::progress;
use crate::exit;

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  inferbus dlq replay 12\n  inferbus dlq replay --all --route cameras --version 1.1.0 --dry-run\n\nResults go where a worker would have published them, with the same message ids, so doing it twice stores nothing twice.\nWhat fails again stays where it is, and the exit code is 1 then."
)]
pub struct Arguments {
    #[command(flatten)]
    chosen: Chosen,
    /// The version of the route's model to run them through [default: the active one]
    #[arg(long, value_name = "VERSION", value_parser = parse_version)]
    version: Option<Version>,
    /// Only say what would come: nothing is published, and nothing deleted
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    compute: Compute,
}

#[derive(Default)]
struct Count {
    results: u64,
    without: u64,
    failed: u64,
}

pub async fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let Arguments { chosen, version, dry_run, connection, compute } = arguments;
    let context = commands::jetstream(&connection).await?;
    let dead = choice::open(&context).await?;
    let picks = chosen.picks(dead.as_ref()).await?;
    let (Some(dead), false) = (dead, picks.is_empty()) else {
        say!("no dead letters");
        return Ok(ExitCode::SUCCESS);
    };
    let catalog = Catalog::open(context.client()).await?;
    let loader = Arc::new(app::loader(&compute, commands::load_model::children()?)?);
    let run = Run { context, dead, catalog, loader, version, dry: dry_run };
    let mut count = Count::default();
    for (route, picks) in by_route(picks) {
        run.route(&route, picks, &mut count).await?;
    }
    let Count { results, without, failed } = count;
    let what = if dry_run { "would be replayed" } else { "replayed" };
    say!("{} {what}: {results} with a result, {without} without one; {failed} failed", letters(results + without));
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::from(exit::FAILED) })
}

fn by_route(picks: Vec<Pick>) -> BTreeMap<String, Vec<Pick>> {
    let mut routes = BTreeMap::<String, Vec<Pick>>::new();
    for pick in picks {
        routes.entry(pick.route.clone()).or_default().push(pick);
    }
    routes
}

struct Run {
    context: Context,
    dead: DeadLetters,
    catalog: Catalog,
    loader: Arc<Loader>,
    version: Option<Version>,
    dry: bool,
}

impl Run {
    /// One route's letters. A route that is gone, or whose model does not load, keeps no other from its turn.
    async fn route(&self, name: &str, picks: Vec<Pick>, count: &mut Count) -> anyhow::Result<()> {
        let again = match self.again(name).await {
            Ok(again) => again,
            Err(fault) if is_the_routes(&fault) => {
                say!("route {name}: {} cannot be replayed: {fault}", letters(picks.len() as u64));
                count.failed += picks.len() as u64;
                return Ok(());
            }
            Err(fault) => return Err(fault.into()),
        };
        let bar = progress::bar(picks.len() as u64)?;
        let ran = again.run(picks, |redone| {
            bar.suspend(|| say_end(&redone, self.dry));
            count.add(&redone.end);
            bar.inc(1);
        });
        let ran = ran.await;
        bar.finish_and_clear();
        Ok(ran?)
    }

    async fn again(&self, name: &str) -> Result<Again, OfflineFault> {
        let name: RouteName = name.parse().map_err(|_| OfflineFault::NoRoute(name.to_owned()))?;
        let route = version::route(&self.catalog, &name).await?;
        let bundle = version::load(&self.catalog, &self.loader, &route.model, self.version.as_ref()).await?;
        let (context, letters, lanes) = (self.context.clone(), self.dead.clone(), self.loader.lanes);
        Ok(Again { context, letters, name, route, bundle, lanes, dry: self.dry })
    }
}

fn is_the_routes(fault: &OfflineFault) -> bool {
    match fault {
        OfflineFault::Catalog(fault) => {
            !fault.is_transient()
                && !matches!(**fault, CatalogFault::MissingBucket { .. } | CatalogFault::Refused { .. })
        }
        OfflineFault::NoRoute(_)
        | OfflineFault::BadRoute { .. }
        | OfflineFault::Pointer { .. }
        | OfflineFault::OtherDigest { .. }
        | OfflineFault::Bundle { .. } => true,
        _ => false,
    }
}

impl Count {
    fn add(&mut self, end: &End) {
        *match end {
            End::Result { .. } => &mut self.results,
            End::NoResult { .. } => &mut self.without,
            End::Failed(_) => &mut self.failed,
        } += 1;
    }
}

/// What failed is always told, and all else only where nothing is done yet.
fn say_end(redone: &Redone, dry: bool) {
    let Redone { id, message, end } = redone;
    let emits = |emits: &usize| if *emits == 0 { String::new() } else { format!(", {emits} emitted") };
    match end {
        End::Failed(why) => say!("{id} {message}: failed: {why}"),
        End::Result { subject, result, emits: count, .. } if dry => {
            say!("{id} {message}: {subject} {}{}", excerpt(result), emits(count));
        }
        End::NoResult { emits: count } if dry => say!("{id} {message}: no result{}", emits(count)),
        End::Result { .. } | End::NoResult { .. } => {}
    }
}
