//! `inferbus route show`: a route with its progress and its objects on the server.

use async_nats::jetstream;
use clap::Args;
use inferbus::nats::connect::Connection;
use inferbus::stream::setup::{self, Found};
use inferbus_catalog::RouteName;
use serde_json::json;

use super::objects;
use crate::cli::print::{self, Format};

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  inferbus route show cams")]
pub struct Arguments {
    /// Name of the route
    name: RouteName,
    /// Output format
    #[arg(long, value_enum, default_value = "text")]
    output: Format,
    #[command(flatten)]
    connection: Connection,
}

pub async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let Arguments { name, output, connection } = arguments;
    let client = connection.command().await?;
    let route = objects::read_route(&client, &name).await?;
    let found = match route.stream() {
        Some(options) => Some(setup::find(&jetstream::new(client), &name, &route, options).await?),
        None => None,
    };
    if output == Format::Json {
        return print::json(&json!({ "name": name, "route": route, "consumer": found.as_ref().map(progress) }));
    }
    print::line!("route {name}: {} → {} → {}", route.subject, route.model, print::or_dash(route.output.as_ref()));
    let Some(found) = found else {
        print::line!("mode request: at most once, always with a reply");
        return Ok(());
    };
    if let Some(consumer) = &found.consumer {
        print::line!(
            "{} pending, {} in flight, {} redelivered, all done up to sequence {}",
            consumer.num_pending,
            consumer.num_ack_pending,
            consumer.num_redelivered,
            consumer.ack_floor.stream_sequence
        );
    }
    objects::explain(&found);
    Ok(())
}

fn progress(found: &Found) -> serde_json::Value {
    let consumer = found.consumer.as_ref().map(|consumer| {
        json!({
            "name": consumer.name,
            "pending": consumer.num_pending,
            "in_flight": consumer.num_ack_pending,
            "redelivered": consumer.num_redelivered,
            "done_up_to": consumer.ack_floor.stream_sequence,
        })
    });
    consumer.unwrap_or_default()
}
