//! `inferbus route ls`: lists the routes.

use clap::Args;
use inferbus::nats::connect::Connection;
use inferbus_catalog::{Route, RouteSummary};
use serde_json::json;

use crate::cli::open;
use crate::cli::print::{self, Format};

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  inferbus route ls --output json")]
pub struct Arguments {
    /// Output format
    #[arg(long, value_enum, default_value = "text")]
    output: Format,
    #[command(flatten)]
    connection: Connection,
}

pub async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let routes = open::catalog(&arguments.connection).await?.routes().await?;
    if arguments.output == Format::Json {
        let routes: Vec<_> = routes
            .iter()
            .map(|RouteSummary { name, route, .. }| match route {
                Ok(route) => json!({ "name": name, "route": route }),
                Err(problems) => json!({ "name": name, "problem": problems.to_string() }),
            })
            .collect();
        return print::json(&routes);
    }
    let rows: Vec<_> = routes.into_iter().map(row).collect();
    print::table(&["ROUTE", "STREAM", "SUBJECT", "MODEL", "OUTPUT"], &rows);
    Ok(())
}

fn row(RouteSummary { name, route, .. }: RouteSummary) -> Vec<String> {
    match route {
        Ok(route) => {
            let stream = route.stream().map(|options| options.stream.to_string());
            let Route { subject, model, output, .. } = route;
            vec![name.to_string(), print::or_dash(stream), subject, model.to_string(), print::or_dash(output)]
        }
        Err(problems) => {
            let unreadable = format!("unreadable: {problems}");
            vec![name.to_string(), "-".into(), unreadable, "-".into(), "-".into()]
        }
    }
}
