//! The server objects of a stream route, printed with their settings.

use anyhow::Context as _;
use async_nats::Client;
use inferbus::stream::objects::{self, Setting};
use inferbus::stream::setup::Found;
use inferbus_catalog::{Catalog, Route, RouteName};

use crate::cli::exit::NotFound;
use crate::cli::print;

/// Prints all server objects of a route, with the reason for each setting.
pub fn explain(found: &Found) {
    let Found { input, consumer, results, dead_letters, .. } = found;
    let (input, results) = (input.as_ref().map(|info| &info.config), results.as_ref().map(|info| &info.config));
    let dead_letters = dead_letters.as_ref().map(|info| &info.config);
    let settings = input.map(objects::explain_input).unwrap_or_default();
    print_object("stream", input.map(|config| config.name.as_str()), settings);
    let settings = consumer.as_ref().map(|info| objects::explain_consumer(&info.config)).unwrap_or_default();
    print_object("consumer", consumer.as_ref().map(|info| info.name.as_str()), settings);
    let settings = results.map(objects::explain_results).unwrap_or_default();
    print_object("results", results.map(|config| config.name.as_str()), settings);
    let settings = dead_letters.map(objects::explain_dead_letters).unwrap_or_default();
    print_object("dead letters", dead_letters.map(|config| config.name.as_str()), settings);
}

fn print_object(kind: &str, name: Option<&str>, settings: Vec<Setting>) {
    let Some(name) = name else {
        print::line!("\n{kind}: missing");
        return;
    };
    print::line!("\n{kind} {name}");
    let row = |setting: Setting| vec![format!("  {}", setting.name), setting.value, setting.why.into()];
    print::table(&["  SETTING", "VALUE", "WHY"], &settings.into_iter().map(row).collect::<Vec<_>>());
}

/// A valid route from the catalog.
pub async fn read_route(client: &Client, name: &RouteName) -> anyhow::Result<Route> {
    let catalog = Catalog::open(client.clone()).await?;
    let found = catalog.routes().await?.into_iter().find(|summary| summary.name == *name);
    let Some(summary) = found else {
        return Err(NotFound(format!("there is no route `{name}`: `inferbus route ls` lists the routes")).into());
    };
    summary.route.with_context(|| format!("the route `{name}` is not valid"))
}
