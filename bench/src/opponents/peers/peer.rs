//! A running peer, and requests to it.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use async_nats::{Client, Subject};
use bytes::Bytes;

use super::kind::{Kind, OUTPUT, Protocol, SUBJECT};
use super::process::{PeerProcess, free_port};
use super::workload::PeerWorkload;
use crate::load::result_of;
use crate::opponents::collector::Collector;
use crate::opponents::contestant::Contestant;
use crate::opponents::http_client::HttpClient;
use crate::workloads::kinds::FAN_OUT;

/// The time limit of a peer's first answer.
const START: Duration = Duration::from_secs(90);
const RETRY: Duration = Duration::from_millis(200);

/// The worker or a peer, ready for requests.
pub struct Peer {
    pub name: &'static str,
    transport: Transport,
    runs: Runs,
}

enum Transport {
    Nats(Client, Subject),
    /// The last token of a request's subject is unique. The subjects of its results repeat it.
    Fanned {
        client: Client,
        subject: &'static str,
        results: Collector,
        count: usize,
        requests: AtomicU64,
    },
    Http(HttpClient),
    Triton(HttpClient),
}

enum Runs {
    Worker(Contestant),
    Peer(PeerProcess),
}

impl Transport {
    async fn fanned(client: Client, subject: &'static str, output: &str, count: usize) -> anyhow::Result<Self> {
        let results = Collector::start(&client, output).await?;
        Ok(Self::Fanned { client, subject, results, count, requests: AtomicU64::new(0) })
    }
}

impl Peer {
    /// Our worker, on the subject of a model, or on its route if it fans out.
    pub async fn worker(server: &str, model: &str, extra: usize) -> anyhow::Result<Self> {
        let worker = Contestant::worker(server).await?;
        let client = async_nats::connect(server).await?;
        let (subject, output) = FAN_OUT;
        let transport = match extra {
            0 => Transport::Nats(client, format!("infer.{model}").into()),
            count => Transport::fanned(client, subject, output, count).await?,
        };
        Ok(Self { name: "inferbus", transport, runs: Runs::Worker(worker) })
    }

    /// Starts a peer and waits for its first answer.
    pub async fn start(kind: &Kind, server: &str, workload: &PeerWorkload) -> anyhow::Result<Self> {
        let port = free_port()?;
        let folder = workload.folder.to_str().context("the folder's name is not UTF-8")?;
        let example = workload.payloads.first().context("a workload without payloads")?;
        let process = PeerProcess::spawn(kind, server, port, &workload.workload, folder)?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let transport = match (kind.protocol, workload.extra) {
            (Protocol::Nats, 0) => Transport::Nats(async_nats::connect(server).await?, format!("{SUBJECT}.1").into()),
            (Protocol::Nats, count) => {
                Transport::fanned(async_nats::connect(server).await?, SUBJECT, OUTPUT, count).await?
            }
            (Protocol::Http, _) => Transport::Http(HttpClient::new(address, "/infer", None)),
            // The body is a tensor without JSON.
            (Protocol::Triton, _) => {
                let raw = Some(("inference-header-content-length", "0"));
                Transport::Triton(HttpClient::new(address, "/v2/models/job/infer", raw))
            }
        };
        let mut peer = Self { name: kind.name, transport, runs: Runs::Peer(process) };
        peer.answers(example).await?;
        Ok(peer)
    }

    async fn answers(&mut self, example: &Bytes) -> anyhow::Result<()> {
        let started = Instant::now();
        while let Err(fault) = self.ask(example.clone()).await {
            let Runs::Peer(process) = &mut self.runs else { return Err(fault) };
            let ended = process.child.try_wait()?;
            if ended.is_some() || started.elapsed() > START {
                let how = ended.map_or("did not answer in time".to_owned(), |status| format!("has ended ({status})"));
                return Err(fault.context(format!("{} {how}: {}", self.name, process.log_tail())));
            }
            tokio::time::sleep(RETRY).await;
        }
        Ok(())
    }

    /// All results of a payload.
    pub async fn ask(&self, payload: Bytes) -> anyhow::Result<Vec<Bytes>> {
        let reply = match &self.transport {
            Transport::Nats(client, subject) => {
                client.request(subject.clone(), payload).await.map_err(Into::into).and_then(replied)?
            }
            Transport::Fanned { client, subject, results, count, requests } => {
                let number = requests.fetch_add(1, Ordering::Relaxed);
                let results = results.results(number, *count);
                let reply = replied(client.request(format!("{subject}.{number}"), payload).await?)?;
                ensure!(reply.is_empty(), "a reply beside the results");
                return results.await;
            }
            Transport::Http(client) => client.post(payload).await?,
            Transport::Triton(client) => triton_result(&client.post(payload).await?)?,
        };
        Ok(if reply.is_empty() { Vec::new() } else { vec![reply] })
    }

    /// Drops idle connections: servers close them between rounds.
    pub fn reconnect(&self) {
        if let Transport::Http(client) | Transport::Triton(client) = &self.transport {
            client.close_idle();
        }
    }

    pub fn process(&self) -> anyhow::Result<u32> {
        match &self.runs {
            Runs::Worker(worker) => worker.process(),
            Runs::Peer(process) => process.child.id().with_context(|| format!("{} has ended", self.name)),
        }
    }

    pub async fn stop(self) -> anyhow::Result<()> {
        match self.runs {
            Runs::Worker(worker) => worker.stop().await,
            Runs::Peer(mut process) => {
                process.kill();
                process.child.wait().await?;
                Ok(())
            }
        }
    }
}

fn replied(reply: async_nats::Message) -> anyhow::Result<Bytes> {
    result_of(&reply)?;
    Ok(reply.payload)
}

/// The part after the JSON of a reply: one text with its length in front.
fn triton_result(reply: &Bytes) -> anyhow::Result<Bytes> {
    let mut values = serde_json::Deserializer::from_slice(reply).into_iter::<serde::de::IgnoredAny>();
    values.next().context("an empty reply")??;
    let (len, text) = reply.get(values.byte_offset()..).and_then(<[u8]>::split_first_chunk).context("no result")?;
    ensure!(text.len() == u32::from_le_bytes(*len) as usize, "more than one result");
    Ok(reply.slice_ref(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_of_triton_follows_its_json() {
        let reply = |text: &[u8]| Bytes::from([&br#"{"outputs":[{"shape":[1]}]}"#[..], text].concat());
        assert_eq!(triton_result(&reply(b"\x02\0\0\0ok")).unwrap(), "ok");
        assert!(triton_result(&reply(b"\x02\0\0\0oko")).is_err());
        assert!(triton_result(&reply(b"\x02")).is_err());
        assert!(triton_result(&Bytes::new()).is_err());
    }
}
