//! The floor of a stream's route: fetch, publish with publish ack, acknowledge.

use anyhow::Context as _;
use async_nats::jetstream;
use futures_util::{StreamExt as _, TryStreamExt as _};

/// Runs until the process is killed. `checked` waits for the confirmation of each ack.
pub async fn run(server: &str, stream: &str, checked: bool) -> anyhow::Result<()> {
    let context = jetstream::new(async_nats::connect(server).await?);
    let stream = context.get_stream(stream).await?;
    let config = jetstream::consumer::pull::Config { durable_name: Some("bare".into()), ..Default::default() };
    let consumer = stream.create_consumer(config).await?;
    println!("ready");
    let messages = consumer.stream().max_messages_per_batch(256).messages().await?;
    let settled = messages.map(|message| async {
        let message = message?;
        let sent = context.publish("bench.out.0", message.payload.clone()).await?;
        sent.await?;
        let acked = if checked { message.double_ack().await } else { message.ack().await };
        acked.map_err(|fault| anyhow::anyhow!("not acknowledged: {fault}"))
    });
    settled.buffer_unordered(256).try_for_each(|()| async { Ok(()) }).await.context("the bare loop")
}
