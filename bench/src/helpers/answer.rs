//! The floor of the bus for any workload: replies and messages of fixed sizes.

use anyhow::Context as _;
use bytes::Bytes;
use futures_util::StreamExt as _;

/// The output for one message.
#[derive(Debug, Clone, Copy, clap::Args)]
pub struct Amount {
    /// Bytes of the reply
    pub reply: usize,
    /// Further messages
    pub extra: usize,
    /// Bytes of each further message
    pub extra_bytes: usize,
}

/// Further messages have the subjects of a worker: `output` and the last token of the request's subject.
pub async fn run(server: &str, subject: &str, output: &str, amount: Amount) -> anyhow::Result<()> {
    let client = async_nats::connect(server).await?;
    let mut requests = client.queue_subscribe(subject.to_owned(), "answer".into()).await?;
    client.flush().await?;
    println!("ready");
    let (reply, extra) = (Bytes::from(vec![b' '; amount.reply]), Bytes::from(vec![b' '; amount.extra_bytes]));
    while let Some(request) = requests.next().await {
        let token = request.subject.rsplit('.').next().unwrap_or_default();
        for rank in 1..=amount.extra {
            client.publish(format!("{output}.{token}.rank.{rank}"), extra.clone()).await?;
        }
        client.publish(request.reply.context("a request without a reply subject")?, reply.clone()).await?;
    }
    Ok(())
}
