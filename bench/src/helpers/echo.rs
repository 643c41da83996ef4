//! The floor of the bus: a program that answers each request with its payload.

use anyhow::Context as _;
use futures_util::StreamExt as _;

pub async fn run(server: &str, subject: &str) -> anyhow::Result<()> {
    let client = async_nats::connect(server).await?;
    let mut requests = client.queue_subscribe(subject.to_owned(), "echo".into()).await?;
    client.flush().await?;
    println!("ready");
    while let Some(request) = requests.next().await {
        let reply = request.reply.context("a request without a reply subject")?;
        client.publish(reply, request.payload).await?;
    }
    Ok(())
}
