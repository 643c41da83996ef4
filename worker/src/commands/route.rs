//! `inferbus route`: map subjects to models and results to subjects.

use anyhow::Context as _;
use clap::{Args, Subcommand};
use inferbus::connect::Connection;
use inferbus_catalog::limits;
use inferbus_catalog::{
    Catalog, Mode, ModelName, Route, RouteName, RouteSummary, Span, Start, StreamName, StreamOptions,
};
use serde_json::json;

use super::print::{self, say};
use crate::cli::Format;

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  inferbus route add --subject 'sensors.cam.*' --model digits")]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Add a route, or change it
    #[command(
        after_help = "Examples:\n  inferbus route add --subject 'sensors.cam.*' --model digits --output 'inference.digits.{{wildcard(1)}}'\n  nats kv put routes cameras '{\"subject\":\"sensors.cam.*\",\"model\":\"digits\",\"output\":\"inference.digits.$1\"}'\n\nWorkers follow routes live. A message with a reply subject is answered as well."
    )]
    Add(Add),
    /// List the routes
    #[command(after_help = "Example:\n  inferbus route ls --output json")]
    Ls(List),
    /// Remove a route
    #[command(after_help = "Example:\n  inferbus route rm sensors-cam-any")]
    Rm(Remove),
}

#[derive(Debug, Args)]
struct Add {
    /// Subjects to take messages from; may hold `*` and `>`
    #[arg(long)]
    subject: String,
    #[arg(long)]
    model: ModelName,
    /// Where results go; `{{wildcard(1)}}` or `$1` is the subject's first wildcard
    #[arg(long, value_name = "SUBJECT")]
    output: Option<String>,
    /// The route's key in the catalog [default: made from the subject]
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
    fn mode(self) -> Mode {
        let Self { stream, results, order, ack_wait, deadline, deliveries, start } = self;
        let options = |stream| StreamOptions { stream, results, order, ack_wait, deadline, deliveries, start };
        stream.map(options).map_or(Mode::Request, Mode::Stream)
    }
}

#[derive(Debug, Args)]
struct List {
    #[arg(long, value_enum, default_value = "text")]
    output: Format,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Debug, Args)]
struct Remove {
    name: RouteName,
    #[command(flatten)]
    connection: Connection,
}

pub async fn run(arguments: Arguments) -> anyhow::Result<()> {
    match arguments.command {
        Command::Add(add) => add.run().await,
        Command::Ls(list) => list.run().await,
        Command::Rm(remove) => {
            super::catalog(&remove.connection).await?.delete_route(&remove.name).await?;
            say!("route {} removed", remove.name);
            Ok(())
        }
    }
}

impl Add {
    async fn run(self) -> anyhow::Result<()> {
        let name = self.name.map_or_else(|| name_of(&self.subject), Ok)?;
        let route = Route { subject: self.subject, model: self.model, output: self.output, mode: self.stream.mode() };
        let catalog = Catalog::create(self.connection.command().await?).await?;
        catalog.put_route(&name, &route).await.with_context(|| format!("route {name}"))?;
        say!("route {name}: {} → {} → {}", route.subject, route.model, route.output.as_deref().unwrap_or("reply only"));
        Ok(())
    }
}

/// A readable key from a subject filter: `sensors.cam.*` is `sensors-cam-any`.
fn name_of(subject: &str) -> anyhow::Result<RouteName> {
    let tokens = subject.split('.').map(|token| match token {
        "*" => "any".to_owned(),
        ">" => "all".to_owned(),
        token => token
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() || c == '_' { c.to_ascii_lowercase() } else { '_' })
            .collect(),
    });
    let name: String = tokens.collect::<Vec<_>>().join("-").chars().take(limits::NAME_BYTES).collect();
    name.parse().with_context(|| format!("no name can be made from `{subject}`: give one with --name"))
}

impl List {
    async fn run(self) -> anyhow::Result<()> {
        let routes = super::catalog(&self.connection).await?.routes().await?;
        if self.output == Format::Json {
            let routes: Vec<_> = routes
                .iter()
                .map(|RouteSummary { name, route, .. }| match route {
                    Ok(route) => json!({ "name": name, "route": route }),
                    Err(problems) => json!({ "name": name, "problem": problems.to_string() }),
                })
                .collect();
            return print::json(&routes);
        }
        let rows: Vec<_> = routes
            .into_iter()
            .map(|RouteSummary { name, route, .. }| match route {
                Ok(route) => {
                    vec![name.to_string(), route.subject, route.model.to_string(), print::or_dash(route.output)]
                }
                Err(problems) => vec![name.to_string(), format!("unreadable: {problems}"), "-".into(), "-".into()],
            })
            .collect();
        print::table(&["ROUTE", "SUBJECT", "MODEL", "OUTPUT"], &rows);
        Ok(())
    }
}
