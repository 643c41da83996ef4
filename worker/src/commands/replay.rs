//! `inferbus replay`: a stored range of a stream through any version, beside what is live.

mod report;

use std::sync::Arc;

use anyhow::{Context as _, bail};
use clap::Args;
use inferbus::app;
use inferbus::config::Compute;
use inferbus::limits;
use inferbus::nats::connect::Connection;
use inferbus::offline::again::Replay;
use inferbus::offline::position::Position;
use inferbus::offline::read::Source;
use inferbus::offline::version;
use inferbus::stream::names;
use inferbus_catalog::{
    Catalog, Mapping, ModelName, Route, RouteName, StreamName, SubjectFilter, Version, overlap, parse_version,
};

use super::{load_model, progress};
use crate::cli::Format;

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  inferbus replay --route cameras --from 2h --version 1.1.0       # what would have been different?\n  inferbus replay --route cameras --from 1000 --to 1999 --output 'again.$1'\n  inferbus replay --stream CAMERAS --subject 'sensors.cam.*' --model digits --format json\n\nNothing is acknowledged, no consumer that exists is touched, and without --output nothing is published. With --route the\nresults are compared with the stored ones of that route; JSON by value, all else byte for byte."
)]
pub struct Arguments {
    /// Take stream, subject and model from this route, and compare with its stored results
    #[arg(long, value_name = "ROUTE", required_unless_present_all = ["stream", "model"])]
    route: Option<RouteName>,
    /// The stream that holds the messages
    #[arg(long, value_name = "STREAM")]
    stream: Option<StreamName>,
    /// Only messages on these subjects; may hold `*` and `>`
    #[arg(long, value_name = "SUBJECT")]
    subject: Option<SubjectFilter>,
    #[arg(long, value_name = "MODEL")]
    model: Option<ModelName>,
    /// The version to run them through [default: the active one]
    #[arg(long, value_name = "VERSION", value_parser = parse_version)]
    version: Option<Version>,
    /// The first message: a sequence, a time (2026-11-21T14:00:00Z), or a span before now (90s, 15m, 2h, 7d)
    /// [default: the first that is stored]
    #[arg(long, value_name = "POSITION")]
    from: Option<Position>,
    /// The last message, written in the same way [default: the last that is stored now]
    #[arg(long, value_name = "POSITION")]
    to: Option<Position>,
    /// Publish results here; `{{wildcard(1)}}` or `$1` is the first wildcard of the subject [default: publish nothing]
    #[arg(long, value_name = "SUBJECT")]
    output: Option<String>,
    /// Refuse a range of more messages than this
    #[arg(long, value_name = "N", default_value_t = limits::OFFLINE_MESSAGES,
          value_parser = clap::value_parser!(u64).range(1..=limits::OFFLINE_MESSAGES))]
    most: u64,
    /// How the summary is printed
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    compute: Compute,
}

pub async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let format = arguments.format;
    let replay = arguments.replay().await?;
    let bar = progress::bar(0)?;
    let summary = replay
        .run(|progress| {
            bar.set_length(progress.count);
            bar.set_position(progress.ended);
        })
        .await;
    bar.finish_and_clear();
    let summary = summary?;
    match format {
        Format::Json => report::json(&replay, &summary),
        Format::Text => {
            report::text(&replay, &summary);
            Ok(())
        }
    }
}

impl Arguments {
    /// Finds and loads everything before the first message is read.
    async fn replay(self) -> anyhow::Result<Replay> {
        let context = super::jetstream(&self.connection).await?;
        let catalog = Catalog::open(context.client()).await?;
        let route = match self.route {
            Some(name) => Some((name.clone(), version::route(&catalog, &name).await?)),
            None => None,
        };
        let of_route = route.as_ref().map(|(_, route)| route);
        let stream = self.stream.or_else(|| Some(of_route?.stream()?.stream.clone()));
        let stream = stream.context("the route takes requests and has no stream: name one with --stream")?;
        let model = self.model.or_else(|| of_route.map(|route| route.model.clone()));
        let model = model.context("name the model with --model")?;
        let filter = match (self.subject, of_route) {
            (Some(subject), _) => subject,
            (None, Some(route)) => route.subject.parse().context("the route's subject")?,
            (None, None) => SubjectFilter::all(),
        };
        let source = Source::open(&context, stream.as_str()).await?;
        let output = match &self.output {
            Some(template) => Some(output(template, &filter, &source, &catalog).await?),
            None => None,
        };
        let loader = Arc::new(app::loader(&self.compute, load_model::children()?)?);
        let bundle = version::load(&catalog, &loader, &model, self.version.as_ref()).await?;
        let (from, to, lanes, most) = (self.from, self.to, loader.lanes, self.most);
        Ok(Replay { context, source, filter, from, to, bundle, lanes, most, route, output })
    }
}

/// Replayed results must not pass for live ones, nor come back as messages.
async fn output(template: &str, filter: &SubjectFilter, source: &Source, catalog: &Catalog) -> anyhow::Result<Mapping> {
    let mapping = Mapping::new(filter.clone(), template).with_context(|| format!("--output {template}"))?;
    let reach = mapping.reach();
    let meets = |subject: &str| reach.iter().any(|reach| overlap(reach, subject));
    if let Some(subject) = source.info.config.subjects.iter().find(|subject| meets(subject)) {
        bail!("--output {template}: the stream {} takes `{subject}`, so results would become messages", source.name());
    }
    for summary in catalog.routes().await? {
        let (name, Ok(route)) = (&summary.name, &summary.route) else { continue };
        if meets(&route.subject) {
            bail!("--output {template}: route {name} takes `{}`, so results would become messages", route.subject);
        }
        if let Some(taken) = live(route).iter().find(|subject| meets(subject)) {
            bail!("--output {template}: the live results of route {name} are on `{taken}`; choose another subject");
        }
    }
    Ok(mapping)
}

/// Where a route's live results and emitted events are.
fn live(route: &Route) -> Vec<String> {
    if route.output.is_some() { names::result_subjects(route) } else { Vec::new() }
}
