//! `inferbus replay`: a stored range of a stream through any version, independent of live workers.

mod report;

use std::sync::Arc;

use anyhow::{Context as _, bail};
use clap::Args;
use inferbus::app;
use inferbus::config::Compute;
use inferbus::limits;
use inferbus::nats::connect::Connection;
use inferbus::offline::load;
use inferbus::offline::position::Position;
use inferbus::offline::replay::Replay;
use inferbus::offline::source_stream::SourceStream;
use inferbus::stream::names;
use inferbus_catalog::{
    Catalog, Mapping, ModelName, Route, RouteName, StreamName, SubjectFilter, Version, overlap, parse_version,
};

use crate::cli::print::Format;
use crate::cli::{child_process, open, progress};

const EXAMPLES: &str = "\
Examples:
  inferbus replay --route cameras --from 2h --version 1.1.0       # compare a version with the stored results
  inferbus replay --route cameras --from 1000 --to 1999 --output 'again.$1'
  inferbus replay --stream CAMERAS --subject 'sensors.cam.*' --model digits --format json

A replay does not acknowledge messages or touch existing consumers, and publishes only with --output. With --route it \
compares the results with the stored ones: JSON by value, other results byte for byte.";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// Route with the stream, subject and model; compare with its stored results
    #[arg(long, value_name = "ROUTE", required_unless_present_all = ["stream", "model"])]
    route: Option<RouteName>,
    /// Stream of the messages
    #[arg(long, value_name = "STREAM")]
    stream: Option<StreamName>,
    /// Subject filter of the messages; may contain `*` and `>`
    #[arg(long, value_name = "SUBJECT")]
    subject: Option<SubjectFilter>,
    /// Model to run [default: the route's model]
    #[arg(long, value_name = "MODEL")]
    model: Option<ModelName>,
    /// Version to run [default: the active one]
    #[arg(long, value_name = "VERSION", value_parser = parse_version)]
    version: Option<Version>,
    /// First message: a sequence, a time (2026-11-21T14:00:00Z), or a span before now (90s, 15m, 2h, 7d)
    /// [default: the oldest stored message]
    #[arg(long, value_name = "POSITION")]
    from: Option<Position>,
    /// Last message, in the same notation [default: the newest stored message]
    #[arg(long, value_name = "POSITION")]
    to: Option<Position>,
    /// Subject of published results; `{{wildcard(1)}}` or `$1` is the first wildcard of the message's subject
    /// [default: do not publish]
    #[arg(long, value_name = "SUBJECT")]
    output: Option<String>,
    /// Reject ranges with more messages
    #[arg(long, value_name = "N", default_value_t = limits::OFFLINE_MESSAGES,
          value_parser = clap::value_parser!(u64).range(1..=limits::OFFLINE_MESSAGES))]
    max_messages: u64,
    /// Output format of the summary
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
    /// Loads everything before the first message is read.
    async fn replay(self) -> anyhow::Result<Replay> {
        let context = open::jetstream(&self.connection).await?;
        let catalog = Catalog::open(context.client()).await?;
        let route = match self.route {
            Some(name) => Some((name.clone(), load::route(&catalog, &name).await?)),
            None => None,
        };
        let of_route = route.as_ref().map(|(_, route)| route);
        let stream = self.stream.or_else(|| Some(of_route?.stream()?.stream.clone()));
        let stream = stream.context("the route serves requests, not a stream: set one with --stream")?;
        let model = self.model.or_else(|| of_route.map(|route| route.model.clone()));
        let model = model.context("set the model with --model")?;
        let filter = match (self.subject, of_route) {
            (Some(subject), _) => subject,
            (None, Some(route)) => route.subject.parse().context("the route's subject")?,
            (None, None) => SubjectFilter::all(),
        };
        let source = SourceStream::open(&context, stream.as_str()).await?;
        let output = match &self.output {
            Some(template) => Some(output(template, &filter, &source, &catalog).await?),
            None => None,
        };
        let loader = Arc::new(app::loader(&self.compute, child_process::children()?)?);
        let bundle = load::version(&catalog, &loader, &model, self.version.as_ref()).await?;
        let (from, to, lanes, max_messages) = (self.from, self.to, loader.lanes, self.max_messages);
        Ok(Replay { context, source, filter, from, to, bundle, lanes, max_messages, route, output })
    }
}

/// The output subject. It must not overlap live results, or subjects with messages.
async fn output(
    template: &str,
    filter: &SubjectFilter,
    source: &SourceStream,
    catalog: &Catalog,
) -> anyhow::Result<Mapping> {
    let mapping = Mapping::new(filter.clone(), template).with_context(|| format!("--output {template}"))?;
    let reach = mapping.reach();
    let overlaps = |subject: &str| reach.iter().any(|reach| overlap(reach, subject));
    if let Some(subject) = source.info.config.subjects.iter().find(|subject| overlaps(subject)) {
        bail!("--output {template}: the stream {} takes `{subject}`, so results would become messages", source.name());
    }
    for summary in catalog.routes().await? {
        let (name, Ok(route)) = (&summary.name, &summary.route) else { continue };
        if overlaps(&route.subject) {
            bail!("--output {template}: route {name} takes `{}`, so results would become messages", route.subject);
        }
        if let Some(taken) = live_subjects(route).iter().find(|subject| overlaps(subject)) {
            bail!("--output {template}: the live results of route {name} are on `{taken}`; choose another subject");
        }
    }
    Ok(mapping)
}

/// The subjects of a route's live results and emitted events.
fn live_subjects(route: &Route) -> Vec<String> {
    if route.output.is_some() { names::result_subjects(route) } else { Vec::new() }
}
