//! The peers: what a user would pick instead, each a process of its own with all that it starts, and the way to ask it.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::available_parallelism;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use async_nats::{Client, Subject};
use bytes::Bytes;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::collector::Collector;
use crate::contestant::Contestant;
use crate::http_client::HttpClient;
use crate::load::result_of;
use crate::peers::Job;
use crate::process;
use crate::root;
use crate::workload_runs::ROUTED;

/// Until a peer gives its first answer.
const START: Duration = Duration::from_secs(90);
const ASK_AGAIN: Duration = Duration::from_millis(200);
/// Below which a peer on NATS is asked, and where it publishes what is no reply.
const SUBJECT: &str = "peer.job";
const OUTPUT: &str = "peer-results";
/// Bytes of a log that are shown where its peer failed.
const LAST_WORDS: usize = 600;

/// One line of the table.
pub struct Kind {
    pub name: &'static str,
    /// Its environment in .tools/peers and its folder in bench/peers; the tests' own environment where there is none.
    environment: Option<&'static str>,
    pub speaks: Speaks,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Speaks {
    Nats,
    Http,
    /// HTTP, with the tensor itself as the body, and the result as a tensor behind JSON.
    Triton,
}

pub static KINDS: [Kind; 10] = [
    Kind { name: "python", environment: None, speaks: Speaks::Nats },
    Kind { name: "uvloop", environment: Some("uvloop"), speaks: Speaks::Nats },
    Kind { name: "python_two", environment: None, speaks: Speaks::Nats },
    Kind { name: "faststream", environment: Some("faststream"), speaks: Speaks::Nats },
    Kind { name: "faststream_two", environment: Some("faststream"), speaks: Speaks::Nats },
    Kind { name: "litserve", environment: Some("litserve"), speaks: Speaks::Http },
    Kind { name: "bentoml", environment: Some("bentoml"), speaks: Speaks::Http },
    Kind { name: "mlserver", environment: Some("mlserver"), speaks: Speaks::Http },
    Kind { name: "mlserver_single", environment: Some("mlserver"), speaks: Speaks::Http },
    Kind { name: "triton", environment: Some("triton"), speaks: Speaks::Triton },
];

impl Kind {
    /// Why it cannot be measured, if it cannot.
    pub fn lack(&self) -> Option<String> {
        self.environment.and_then(lack)
    }

    /// The program in its environment, where it runs, and what it is told beside the environment's names.
    fn command(&self, server: &str, port: u16, workload: &str, folder: &str) -> (&'static str, Vec<String>) {
        let (port, workers, subject) = (port.to_string(), workers(), format!("{SUBJECT}.*"));
        let by_hand = [&["nats_worker.py", server, &subject, workload, folder, OUTPUT][..]];
        let faststream = ["run", "app:app", "--loop", "uvloop:new_event_loop"];
        let (program, told) = match self.name {
            "python_two" => ("python", [by_hand[0], &["--processes", "2"]].concat()),
            "uvloop" => ("python", [by_hand[0], &["--loop", "uvloop"]].concat()),
            "faststream" => ("faststream", faststream.to_vec()),
            "faststream_two" => ("faststream", [&faststream[..], &["--workers", "2"]].concat()),
            "litserve" => ("python", vec!["app.py", &port, workload, folder, &workers]),
            "bentoml" => ("bentoml", vec!["serve", "app:Job", "--host", "127.0.0.1", "--port", &port]),
            "mlserver" | "mlserver_single" => ("mlserver", vec!["start", "."]),
            "triton" => ("python", vec!["app.py", &port, workload, folder]),
            _ => ("python", by_hand[0].to_vec()),
        };
        (program, told.into_iter().map(Into::into).collect())
    }
}

/// Why something under .tools/peers is not there, if it is not.
pub fn lack(name: &str) -> Option<String> {
    let folder = root().join(".tools/peers").join(name);
    match std::fs::read_to_string(folder.join("error")) {
        Ok(error) => Some(error.trim().to_owned()),
        Err(_) => (!folder.exists()).then(|| "it is not installed: run `tools/setup peers`".into()),
    }
}

/// As many as a worker has lanes unless it is told otherwise.
fn workers() -> String {
    available_parallelism().map_or(1, usize::from).to_string()
}

/// Whoever is measured.
pub struct Peer {
    pub name: &'static str,
    door: Door,
    runs: Runs,
}

enum Door {
    Nats(Client, Subject),
    /// Each request has a last token of its own, which the subjects of its results repeat.
    Fanned {
        client: Client,
        subject: &'static str,
        results: Collector,
        count: usize,
        asked: AtomicU64,
    },
    Http(HttpClient),
    Triton(HttpClient),
}

enum Runs {
    Worker(Contestant),
    Stranger(Stranger),
}

impl Door {
    async fn fanned(client: Client, subject: &'static str, output: &str, count: usize) -> anyhow::Result<Self> {
        let results = Collector::start(&client, output).await?;
        Ok(Self::Fanned { client, subject, results, count, asked: AtomicU64::new(0) })
    }
}

impl Peer {
    /// Our own worker, on the subject of a model or on the route of one that fans out into so many messages.
    pub async fn worker(server: &str, model: &str, extra: usize) -> anyhow::Result<Self> {
        let worker = Contestant::worker(server).await?;
        let client = async_nats::connect(server).await?;
        let (subject, output) = ROUTED;
        let door = match extra {
            0 => Door::Nats(client, format!("infer.{model}").into()),
            count => Door::fanned(client, subject, output, count).await?,
        };
        Ok(Self { name: "inferbus", door, runs: Runs::Worker(worker) })
    }

    /// Starts a peer, and waits until it answers.
    pub async fn start(kind: &Kind, server: &str, job: &Job) -> anyhow::Result<Self> {
        let port = free_port()?;
        let folder = job.folder.to_str().context("a folder's name is no text")?;
        let example = job.payloads.first().context("a workload without payloads")?;
        let stranger = Stranger::spawn(kind, server, port, &job.workload, folder)?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let door = match (kind.speaks, job.extra) {
            (Speaks::Nats, 0) => Door::Nats(async_nats::connect(server).await?, format!("{SUBJECT}.1").into()),
            (Speaks::Nats, count) => Door::fanned(async_nats::connect(server).await?, SUBJECT, OUTPUT, count).await?,
            (Speaks::Http, _) => Door::Http(HttpClient::new(address, "/infer", None)),
            // No JSON before the tensor.
            (Speaks::Triton, _) => {
                let raw = Some(("inference-header-content-length", "0"));
                Door::Triton(HttpClient::new(address, "/v2/models/job/infer", raw))
            }
        };
        let mut peer = Self { name: kind.name, door, runs: Runs::Stranger(stranger) };
        peer.answers(example).await?;
        Ok(peer)
    }

    async fn answers(&mut self, example: &Bytes) -> anyhow::Result<()> {
        let started = Instant::now();
        while let Err(fault) = self.ask(example.clone()).await {
            let Runs::Stranger(stranger) = &mut self.runs else { return Err(fault) };
            let ended = stranger.child.try_wait()?;
            if ended.is_some() || started.elapsed() > START {
                let how = ended.map_or("did not answer in time".to_owned(), |status| format!("has ended ({status})"));
                return Err(fault.context(format!("{} {how}: {}", self.name, stranger.last_words())));
            }
            tokio::time::sleep(ASK_AGAIN).await;
        }
        Ok(())
    }

    /// All results of a payload.
    pub async fn ask(&self, payload: Bytes) -> anyhow::Result<Vec<Bytes>> {
        let reply = match &self.door {
            Door::Nats(client, subject) => {
                client.request(subject.clone(), payload).await.map_err(Into::into).and_then(replied)?
            }
            Door::Fanned { client, subject, results, count, asked } => {
                let number = asked.fetch_add(1, Ordering::Relaxed);
                let results = results.results(number, *count);
                let reply = replied(client.request(format!("{subject}.{number}"), payload).await?)?;
                ensure!(reply.is_empty(), "a reply beside the results");
                return results.await;
            }
            Door::Http(client) => client.post(payload).await?,
            Door::Triton(client) => triton_result(&client.post(payload).await?)?,
        };
        Ok(if reply.is_empty() { Vec::new() } else { vec![reply] })
    }

    /// Servers close connections that wait, so each round has its own.
    pub fn reconnect(&self) {
        if let Door::Http(client) | Door::Triton(client) = &self.door {
            client.forget();
        }
    }

    pub fn process(&self) -> anyhow::Result<u32> {
        match &self.runs {
            Runs::Worker(worker) => worker.process(),
            Runs::Stranger(stranger) => stranger.child.id().with_context(|| format!("{} has ended", self.name)),
        }
    }

    pub async fn stop(self) -> anyhow::Result<()> {
        match self.runs {
            Runs::Worker(worker) => worker.stop().await,
            Runs::Stranger(mut stranger) => {
                stranger.kill();
                stranger.child.wait().await?;
                Ok(())
            }
        }
    }
}

/// A peer's process, which ends with all that it started.
struct Stranger {
    child: Child,
    log: PathBuf,
    /// What it may write to.
    _scratch: TempDir,
}

impl Stranger {
    fn spawn(kind: &Kind, server: &str, port: u16, workload: &str, folder: &str) -> anyhow::Result<Self> {
        let logs = root().join("target/peers");
        std::fs::create_dir_all(&logs)?;
        let log = logs.join(format!("{}.log", kind.name));
        let (out, scratch) = (File::create(&log)?, tempfile::tempdir_in(&logs)?);
        let sources = root().join("bench/peers");
        let environment = kind.environment.map_or(".tools/venv".into(), |name| format!(".tools/peers/{name}"));
        let (program, told) = kind.command(server, port, workload, folder);
        let program = root().join(environment).join("bin").join(program);
        let mut command = Command::new(&program);
        command.args(told).current_dir(match kind.environment {
            None | Some("uvloop") => sources.clone(),
            Some(name) => sources.join(name),
        });
        command.envs(variables(kind, server, port, workload, folder));
        command.env("PYTHONPATH", &sources).env("BENTOML_HOME", scratch.path()).env("PYTRITON_HOME", scratch.path());
        command.env("MLSERVER_METRICS_DIR", scratch.path()).env("MLSERVER_ENVIRONMENTS_DIR", scratch.path());
        command.stdout(out.try_clone()?).stderr(out).process_group(0).kill_on_drop(true);
        let child = command.spawn().with_context(|| format!("{} cannot be started", program.display()))?;
        Ok(Self { child, log, _scratch: scratch })
    }

    fn last_words(&self) -> String {
        let log = std::fs::read(&self.log).unwrap_or_default();
        let last = String::from_utf8_lossy(&log[log.len().saturating_sub(LAST_WORDS)..]).into_owned();
        last.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    /// Parents first, so that none replaces a child that ends.
    fn kill(&mut self) {
        let family = self.child.id().map(process::tree).and_then(Result::ok).unwrap_or_default();
        for process in family {
            let process = i32::try_from(process).ok().and_then(Pid::from_raw);
            // What has ended by itself is as good.
            let _ = process.map(|process| kill_process(process, Signal::KILL));
        }
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        self.kill();
    }
}

fn variables(kind: &Kind, server: &str, port: u16, workload: &str, folder: &str) -> Vec<(&'static str, String)> {
    let parallel = if kind.name == "mlserver_single" { "0".into() } else { workers() };
    let mut variables = vec![
        ("PEER_SERVER", server.to_owned()),
        ("PEER_SUBJECT", format!("{SUBJECT}.*")),
        ("PEER_OUTPUT", OUTPUT.to_owned()),
        ("PEER_WORKLOAD", workload.to_owned()),
        ("PEER_FOLDER", folder.to_owned()),
        ("PEER_WORKERS", workers()),
        ("MLSERVER_HTTP_PORT", port.to_string()),
        ("MLSERVER_PARALLEL_WORKERS", parallel),
        ("BENTOML_DO_NOT_TRACK", "true".to_owned()),
        ("PYTHONDONTWRITEBYTECODE", "1".to_owned()),
        // Threads of numpy's own would wait in a loop, which counts.
        ("OPENBLAS_NUM_THREADS", "1".to_owned()),
        ("OMP_NUM_THREADS", "1".to_owned()),
    ];
    // MLServer cannot be told to do without.
    variables.extend(free_port().map(|port| ("MLSERVER_GRPC_PORT", port.to_string())));
    variables
}

fn replied(reply: async_nats::Message) -> anyhow::Result<Bytes> {
    result_of(&reply)?;
    Ok(reply.payload)
}

/// What follows the JSON of a reply: one text behind its length.
fn triton_result(reply: &Bytes) -> anyhow::Result<Bytes> {
    let mut values = serde_json::Deserializer::from_slice(reply).into_iter::<serde::de::IgnoredAny>();
    values.next().context("an empty reply")??;
    let (len, text) = reply.get(values.byte_offset()..).and_then(<[u8]>::split_first_chunk).context("no result")?;
    ensure!(text.len() == u32::from_le_bytes(*len) as usize, "more than one result");
    Ok(reply.slice_ref(text))
}

fn free_port() -> anyhow::Result<u16> {
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
    ensure!(port > 1023, "port {port} is reserved");
    Ok(port)
}

#[cfg(test)]
mod tests {
    use std::process::Stdio;

    use tokio::io::{AsyncBufReadExt as _, BufReader};

    use super::*;

    const BOUND: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn a_peer_ends_with_all_that_it_started() {
        let child = "sh -c 'echo started; exec sleep 100' &";
        // The second is an orphan by the time of the last word.
        let script = format!("{child} ({child}); echo started; wait");
        let mut command = Command::new("sh");
        command.args(["-c", &script]).stdout(Stdio::piped()).process_group(0);
        let mut child = command.spawn().unwrap();
        let mut told = BufReader::new(child.stdout.take().unwrap()).lines();
        for _ in 0..3 {
            assert_eq!(told.next_line().await.unwrap().as_deref(), Some("started"));
        }
        drop(Stranger { child, log: PathBuf::new(), _scratch: tempfile::tempdir().unwrap() });
        // The pipe ends when nobody is left who could write to it.
        let end = tokio::time::timeout(BOUND, told.next_line()).await.expect("a child is left");
        assert_eq!(end.unwrap(), None);
    }

    #[test]
    fn a_result_of_triton_follows_its_json() {
        let reply = |text: &[u8]| Bytes::from([&br#"{"outputs":[{"shape":[1]}]}"#[..], text].concat());
        assert_eq!(triton_result(&reply(b"\x02\0\0\0ok")).unwrap(), "ok");
        assert!(triton_result(&reply(b"\x02\0\0\0oko")).is_err());
        assert!(triton_result(&reply(b"\x02")).is_err());
        assert!(triton_result(&Bytes::new()).is_err());
    }
}
