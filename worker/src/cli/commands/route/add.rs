//! `inferbus route add`: adds or changes a route, and creates its streams and consumer.

use anyhow::Context as _;
use async_nats::Client;
use async_nats::jetstream;
use clap::Args;
use inferbus::nats::connect::Connection;
use inferbus::stream::setup::{self, Found, Missing};
use inferbus_catalog::limits;
use inferbus_catalog::{Catalog, Mode, ModelName, Priority, Route, RouteName, Span, Start, StreamName, StreamOptions};

use super::objects;
use crate::cli::print;

const EXAMPLES: &str = "\
Examples:
  inferbus route add --subject 'sensors.cam.*' --model digits --output 'inference.digits.{{wildcard(1)}}'
  inferbus route add --stream SENSORS --subject 'sensors.cam.*' --model digits --output 'inference.digits.$1'
  nats kv put routes cameras '{\"subject\":\"sensors.cam.*\",\"model\":\"digits\",\"output\":\"inference.digits.$1\"}'

Running workers apply changes at once. \
Workers also reply to messages with a reply subject, except messages from a stream.";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// Subject filter of the messages; may contain `*` and `>`
    #[arg(long)]
    subject: String,
    /// Model to run
    #[arg(long)]
    model: ModelName,
    /// Subject of the results; `{{wildcard(1)}}` or `$1` is the first wildcard of the message's subject
    #[arg(long, value_name = "SUBJECT")]
    output: Option<String>,
    /// `high` overtakes all queued `normal` messages
    #[arg(long, default_value = "normal")]
    priority: Priority,
    /// Name of the route [default: derived from the subject]
    #[arg(long)]
    name: Option<RouteName>,
    #[command(flatten)]
    stream: StreamArguments,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Stream")]
struct StreamArguments {
    /// Read from this JetStream stream; each message ends as one result, "no result" or one dead letter
    #[arg(long, value_name = "STREAM", requires = "output")]
    stream: Option<StreamName>,
    /// Stream of the results [default: a separate stream per route]
    #[arg(long, value_name = "STREAM", requires = "stream")]
    results: Option<StreamName>,
    /// Ordering key, for example `$1`: messages with the same key are processed in order
    #[arg(long, value_name = "KEY", requires = "stream")]
    order: Option<String>,
    /// Time until redelivery without an ack or an in-progress ack
    #[arg(long, value_name = "TIME", requires = "stream", default_value_t = limits::ACK_WAIT)]
    ack_wait: Span,
    /// Total time per message before redelivery to another worker
    #[arg(long, value_name = "TIME", requires = "stream", default_value_t = limits::DEADLINE)]
    deadline: Span,
    /// Deliveries per message before it becomes a dead letter
    #[arg(long, value_name = "N", requires = "stream", default_value_t = limits::DELIVERIES)]
    max_deliveries: u64,
    /// First message of a new route: `all` stored messages, or only `new` ones
    #[arg(long, value_name = "START", requires = "stream", default_value = "all")]
    deliver_from: Start,
}

impl StreamArguments {
    fn mode(self) -> Mode {
        let Self { stream, results, order, ack_wait, deadline, max_deliveries, deliver_from } = self;
        let options = |stream| StreamOptions {
            stream,
            results,
            order,
            ack_wait,
            deadline,
            deliveries: max_deliveries,
            start: deliver_from,
        };
        stream.map(options).map_or(Mode::Request, Mode::Stream)
    }
}

pub async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let Arguments { subject, model, output, priority, name, stream, connection } = arguments;
    let name = name.map_or_else(|| derived_name(&subject), Ok)?;
    let route = Route { subject, model, output, priority, mode: stream.mode() };
    Route::parse(&route.to_bytes()).with_context(|| format!("route {name}"))?;
    let client = connection.command().await?;
    let catalog = Catalog::create(client.clone()).await?;
    // Report conflicts on the server before any worker serves the route.
    let found = prepare(&client, &name, &route).await?;
    catalog.put_route(&name, &route).await.with_context(|| format!("route {name}"))?;
    let output = route.output.as_deref().unwrap_or("reply only");
    print::line!("route {name}: {} → {} → {output}", route.subject, route.model);
    if let Some(found) = found {
        objects::explain(&found);
    }
    Ok(())
}

/// Creates the missing objects of a stream route. Does nothing for mode `request`.
async fn prepare(client: &Client, name: &RouteName, route: &Route) -> anyhow::Result<Option<Found>> {
    let Some(options) = route.stream() else { return Ok(None) };
    let context = jetstream::new(client.clone());
    let prepared = setup::prepare(&context, name, route, options, Missing::Create).await;
    Ok(Some(prepared.with_context(|| format!("route {name}"))?.found))
}

/// A readable name from a subject filter: `sensors.cam.*` becomes `sensors-cam-any`.
fn derived_name(subject: &str) -> anyhow::Result<RouteName> {
    let tokens = subject.split('.').map(|token| match token {
        "*" => "any".to_owned(),
        ">" => "all".to_owned(),
        token => token
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() || c == '_' { c.to_ascii_lowercase() } else { '_' })
            .collect(),
    });
    let name: String = tokens.collect::<Vec<_>>().join("-").chars().take(limits::NAME_BYTES).collect();
    name.parse().with_context(|| format!("cannot derive a route name from `{subject}`: set one with --name"))
}
