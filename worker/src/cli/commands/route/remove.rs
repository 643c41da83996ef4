//! `inferbus route rm`: removes a route.

use clap::Args;
use inferbus::nats::connect::Connection;
use inferbus_catalog::RouteName;

use crate::cli::{open, print};

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  inferbus route rm sensors-cam-any")]
pub struct Arguments {
    /// Name of the route
    name: RouteName,
    #[command(flatten)]
    connection: Connection,
}

pub async fn run(arguments: Arguments) -> anyhow::Result<()> {
    open::catalog(&arguments.connection).await?.delete_route(&arguments.name).await?;
    print::line!("route {} removed", arguments.name);
    Ok(())
}
