//! The stream's side of `inferbus route`: its arguments, `show` and `mend`.

use std::str::FromStr;

use anyhow::{Context as _, bail};
use async_nats::Client;
use async_nats::jetstream::{self, consumer::DeliverPolicy};
use clap::Args;
use inferbus::nats::connect::Connection;
use inferbus::stream::objects::{self, Setting};
use inferbus::stream::setup::{self, Found, Missing};
use inferbus_catalog::limits;
use inferbus_catalog::{Mode, Route, RouteName, Span, Start, StreamName, StreamOptions};
use serde_json::json;

use super::print::{self, say};
use crate::cli::Format;
use crate::exit::NotFound;

#[derive(Debug, Args)]
#[command(next_help_heading = "Stream")]
pub struct StreamArguments {
    /// Take the messages from this JetStream stream, each to one result, "no result" or one dead letter
    #[arg(long, value_name = "STREAM", requires = "output")]
    stream: Option<StreamName>,
    /// The stream that stores the results [default: one of the route's own]
    #[arg(long, value_name = "STREAM", requires = "stream")]
    results: Option<StreamName>,
    /// Key of a message, for example `$1`: messages of one key are worked on one after the other
    #[arg(long, value_name = "KEY", requires = "stream")]
    order: Option<String>,
    /// How long the server waits for a sign of life of a message that it delivered
    #[arg(long, value_name = "TIME", requires = "stream", default_value_t = limits::ACK_WAIT)]
    ack_wait: Span,
    /// How long one message may take in all before it is given to another worker
    #[arg(long, value_name = "TIME", requires = "stream", default_value_t = limits::DEADLINE)]
    deadline: Span,
    /// A message delivered more often than this becomes a dead letter
    #[arg(long, value_name = "N", requires = "stream", default_value_t = limits::DELIVERIES)]
    deliveries: u64,
    /// Where a new route begins: with `all` that is stored, or with what comes `new`
    #[arg(long, value_name = "WHERE", requires = "stream", default_value = "all")]
    start: Start,
}

impl StreamArguments {
    pub fn mode(self) -> Mode {
        let Self { stream, results, order, ack_wait, deadline, deliveries, start } = self;
        let options = |stream| StreamOptions { stream, results, order, ack_wait, deadline, deliveries, start };
        stream.map(options).map_or(Mode::Request, Mode::Stream)
    }
}

#[derive(Debug, Args)]
pub struct Show {
    name: RouteName,
    #[arg(long, value_enum, default_value = "text")]
    output: Format,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Debug, Args)]
pub struct Mend {
    name: RouteName,
    /// Where a consumer that is made anew begins: a sequence of the stream, `all` or `new`
    #[arg(long, value_name = "WHERE")]
    from: Option<From>,
    #[command(flatten)]
    connection: Connection,
}

/// Where to go on.
#[derive(Clone, Copy, Debug)]
struct From(DeliverPolicy);

impl FromStr for From {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match (text, text.parse::<u64>()) {
            ("all", _) => Ok(Self(DeliverPolicy::All)),
            ("new", _) => Ok(Self(DeliverPolicy::New)),
            (_, Ok(start_sequence @ 1..)) => Ok(Self(DeliverPolicy::ByStartSequence { start_sequence })),
            _ => Err("write a sequence of the stream, `all` or `new`"),
        }
    }
}

/// Makes what a stream's route needs and has not; nothing for a route of mode `request`.
pub async fn prepare(client: &Client, name: &RouteName, route: &Route) -> anyhow::Result<Option<Found>> {
    let Some(options) = route.stream() else { return Ok(None) };
    let context = jetstream::new(client.clone());
    let prepared = setup::prepare(&context, name, route, options, Missing::Create).await;
    Ok(Some(prepared.with_context(|| format!("route {name}"))?.found))
}

/// Prints everything that a route has on the server.
pub fn explain(found: &Found) {
    let object = |kind: &str, name: Option<&str>, settings: Vec<Setting>| match name {
        Some(name) => {
            say!("\n{kind} {name}");
            let row = |setting: Setting| vec![format!("  {}", setting.name), setting.value, setting.why.into()];
            print::table(&["  SETTING", "VALUE", "WHY"], &settings.into_iter().map(row).collect::<Vec<_>>());
        }
        None => say!("\n{kind}: missing"),
    };
    let Found { input, consumer, results, dead_letters, .. } = found;
    let (input, results) = (input.as_ref().map(|info| &info.config), results.as_ref().map(|info| &info.config));
    let dead_letters = dead_letters.as_ref().map(|info| &info.config);
    let settings = input.map(objects::explain_input).unwrap_or_default();
    object("stream", input.map(|config| config.name.as_str()), settings);
    let settings = consumer.as_ref().map(|info| objects::explain_consumer(&info.config)).unwrap_or_default();
    object("consumer", consumer.as_ref().map(|info| info.name.as_str()), settings);
    let settings = results.map(objects::explain_results).unwrap_or_default();
    object("results", results.map(|config| config.name.as_str()), settings);
    let settings = dead_letters.map(objects::explain_dead_letters).unwrap_or_default();
    object("dead letters", dead_letters.map(|config| config.name.as_str()), settings);
}

impl Show {
    pub async fn run(self) -> anyhow::Result<()> {
        let client = self.connection.command().await?;
        let route = read(&client, &self.name).await?;
        let found = match route.stream() {
            Some(options) => {
                let context = jetstream::new(client);
                Some(setup::find(&context, &self.name, &route, options).await?)
            }
            None => None,
        };
        if self.output == Format::Json {
            return print::json(&json!({ "name": self.name, "route": route, "consumer": found.as_ref().map(state) }));
        }
        say!("route {}: {} → {} → {}", self.name, route.subject, route.model, print::or_dash(route.output.as_ref()));
        let Some(found) = found else {
            say!("mode request: at most once, and a reply always comes");
            return Ok(());
        };
        if let Some(consumer) = &found.consumer {
            say!(
                "{} waiting, {} in hand, {} delivered more than once, everything up to sequence {} is done",
                consumer.num_pending,
                consumer.num_ack_pending,
                consumer.num_redelivered,
                consumer.ack_floor.stream_sequence
            );
        }
        explain(&found);
        Ok(())
    }
}

fn state(found: &Found) -> serde_json::Value {
    let consumer = found.consumer.as_ref().map(|consumer| {
        json!({
            "name": consumer.name,
            "pending": consumer.num_pending,
            "in_hand": consumer.num_ack_pending,
            "redelivered": consumer.num_redelivered,
            "done_up_to": consumer.ack_floor.stream_sequence,
        })
    });
    consumer.unwrap_or_default()
}

impl Mend {
    pub async fn run(self) -> anyhow::Result<()> {
        let client = self.connection.command().await?;
        let route = read(&client, &self.name).await?;
        let Some(options) = route.stream() else {
            bail!("the route {} is of mode request: it has nothing on the server that could be lost", self.name)
        };
        let context = jetstream::new(client);
        let before = setup::find(&context, &self.name, &route, options).await?;
        let missing = match (&before.consumer, self.from) {
            (Some(_), Some(_)) => {
                bail!("the consumer is there and knows where it is; delete it first if it is to begin elsewhere")
            }
            (Some(_), None) => Missing::Mend(DeliverPolicy::All),
            (None, Some(From(start))) => Missing::Mend(start),
            (None, None) if before.input.is_none() => Missing::Mend(DeliverPolicy::All),
            (None, None) => bail!("the consumer is gone: say where a new one begins, with --from"),
        };
        let made = setup::prepare(&context, &self.name, &route, options, missing).await?.found;
        say!("route {} has all that it needs; workers go on by themselves", self.name);
        explain(&made);
        Ok(())
    }
}

async fn read(client: &Client, name: &RouteName) -> anyhow::Result<Route> {
    let catalog = inferbus_catalog::Catalog::open(client.clone()).await?;
    let found = catalog.routes().await?.into_iter().find(|summary| summary.name == *name);
    let Some(summary) = found else {
        return Err(NotFound(format!("there is no route `{name}`: `inferbus route ls` lists them")).into());
    };
    summary.route.with_context(|| format!("the route `{name}` is not valid"))
}
