//! `inferbus route repair`: recreates the missing objects of a stream route.

use std::str::FromStr;

use anyhow::bail;
use async_nats::jetstream::{self, consumer::DeliverPolicy};
use clap::Args;
use inferbus::nats::connect::Connection;
use inferbus::stream::setup::{self, Missing};
use inferbus_catalog::RouteName;

use super::objects;
use crate::cli::print;

const EXAMPLES: &str = "\
Examples:
  inferbus route repair cams --start-at 4711    # continue at this sequence of the stream
  inferbus route repair cams --start-at all     # start at the oldest stored message
  inferbus route repair cams --start-at new     # continue with new messages only

With `all`, results older than the duplicate window are stored a second time.";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// Name of the route
    name: RouteName,
    /// First message of a recreated consumer: a sequence of the stream, `all` or `new`
    #[arg(long, value_name = "START")]
    start_at: Option<StartAt>,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Clone, Copy, Debug)]
struct StartAt(DeliverPolicy);

impl FromStr for StartAt {
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

pub async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let Arguments { name, start_at, connection } = arguments;
    let client = connection.command().await?;
    let route = objects::read_route(&client, &name).await?;
    let Some(options) = route.stream() else {
        bail!("the route {name} has mode request: it does not own objects on the server")
    };
    let context = jetstream::new(client);
    let before = setup::find(&context, &name, &route, options).await?;
    let missing = match (&before.consumer, start_at) {
        (Some(_), Some(_)) => bail!("the consumer exists and keeps its position; to move it, delete it first"),
        (Some(_), None) => Missing::Repair(DeliverPolicy::All),
        (None, Some(StartAt(policy))) => Missing::Repair(policy),
        (None, None) if before.input.is_none() => Missing::Repair(DeliverPolicy::All),
        (None, None) => bail!("the consumer is gone: set the first message of a new one with --start-at"),
    };
    let found = setup::prepare(&context, &name, &route, options, missing).await?.found;
    print::line!("route {name} is complete; workers resume automatically");
    objects::explain(&found);
    Ok(())
}
