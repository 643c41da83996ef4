//! Opens JetStream and the catalog for commands.

use async_nats::jetstream::{self, Context};
use inferbus::nats::connect::Connection;
use inferbus_catalog::Catalog;

/// JetStream, with the timeout of the command.
pub async fn jetstream(connection: &Connection) -> anyhow::Result<Context> {
    let mut context = jetstream::new(connection.command().await?);
    context.set_timeout(connection.timeout());
    Ok(context)
}

/// The existing catalog. Only `push`, `dev` and `route add` create its buckets.
pub async fn catalog(connection: &Connection) -> anyhow::Result<Catalog> {
    Ok(Catalog::open(connection.command().await?).await?)
}
