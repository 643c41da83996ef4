//! `inferbus route`: map subjects to models and results to subjects.

use anyhow::Context as _;
use clap::{Args, Subcommand};
use inferbus::nats::connect::Connection;
use inferbus_catalog::limits;
use inferbus_catalog::{Catalog, ModelName, Priority, Route, RouteName, RouteSummary};
use serde_json::json;

use super::print::{self, say};
use super::route_stream::{self, Mend, Show, StreamArguments};
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
        after_help = "Examples:\n  inferbus route add --subject 'sensors.cam.*' --model digits --output 'inference.digits.{{wildcard(1)}}'\n  inferbus route add --stream SENSORS --subject 'sensors.cam.*' --model digits --output 'inference.digits.$1'\n  nats kv put routes cameras '{\"subject\":\"sensors.cam.*\",\"model\":\"digits\",\"output\":\"inference.digits.$1\"}'\n\nWorkers follow routes live. A message with a reply subject is answered as well, but not one of a stream."
    )]
    Add(Add),
    /// Show a route, and what it has on the server with each setting explained
    #[command(after_help = "Example:\n  inferbus route show cams")]
    Show(Show),
    /// Make anew what a stream's route has lost on the server
    #[command(
        after_help = "Examples:\n  inferbus route mend cams --from 4711    # go on with this sequence of the stream\n  inferbus route mend cams --from all     # with the oldest stored message; results that are stored longer than\n                                          # the duplicate window ago come a second time\n  inferbus route mend cams --from new     # with what comes from now on"
    )]
    Mend(Mend),
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
    /// `high` goes before all `normal` messages that wait for a compute thread
    #[arg(long, default_value = "normal")]
    priority: Priority,
    /// The route's key in the catalog [default: made from the subject]
    #[arg(long)]
    name: Option<RouteName>,
    #[command(flatten)]
    stream: StreamArguments,
    #[command(flatten)]
    connection: Connection,
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
        Command::Show(show) => show.run().await,
        Command::Mend(mend) => mend.run().await,
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
        let mode = self.stream.mode();
        let (subject, model, output, priority) = (self.subject, self.model, self.output, self.priority);
        let route = Route { subject, model, output, priority, mode };
        Route::parse(&route.to_bytes()).with_context(|| format!("route {name}"))?;
        let client = self.connection.command().await?;
        let catalog = Catalog::create(client.clone()).await?;
        // What is wrong on the server is said before any worker follows the route.
        let made = route_stream::prepare(&client, &name, &route).await?;
        catalog.put_route(&name, &route).await.with_context(|| format!("route {name}"))?;
        say!("route {name}: {} → {} → {}", route.subject, route.model, route.output.as_deref().unwrap_or("reply only"));
        if let Some(made) = made {
            route_stream::explain(&made);
        }
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
                    let stream = route.stream().map(|options| options.stream.to_string());
                    let Route { subject, model, output, .. } = route;
                    vec![name.to_string(), print::or_dash(stream), subject, model.to_string(), print::or_dash(output)]
                }
                Err(problems) => {
                    let unreadable = format!("unreadable: {problems}");
                    vec![name.to_string(), "-".into(), unreadable, "-".into(), "-".into()]
                }
            })
            .collect();
        print::table(&["ROUTE", "STREAM", "SUBJECT", "MODEL", "OUTPUT"], &rows);
        Ok(())
    }
}
