//! A loaded bundle: everything that one model version needs to serve, held together by one `Arc`.
//!
//! Promises: a bundle is complete before anybody sees it. It has been compiled, given sessions for every
//! lane and warmed up; dropping the last `Arc` frees all of it. Loading is slow and blocks: it must never
//! happen on a lane or on the bus.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use async_nats::HeaderMap;
use bytes::Bytes;
use inferbus_catalog::{
    Artifact, ByteSize, Catalog, CatalogFault, Digest, EngineOptions, Entry, Grant, ModelName, Plugin as PluginEntry,
    Provider as EntryProvider, Span, Version,
};
use inferbus_engine::{Backend, EngineFault, NoStack, Options, Provider, Signature, can_stack, warm_up};
use inferbus_sandbox::{Bounds, Ceilings, Grants, LoadFault, LogLine, Plugin, Sandbox};

use crate::config::ModelCeilings;
use crate::job::{self, Failure, Parts, Payload, Stage, Surroundings, Transform};
use crate::lanes::queue::Turn;
use crate::limits;
use crate::models::artifact_cache::ArtifactCache;
use crate::models::budget;
use crate::models::trials::Trials;
use crate::observe::metrics::{BundleMetrics, Metrics, Weight};
use crate::observe::plugin_log::LogGate;
use crate::requests::reply::identity_headers;
use crate::stream::store::Promises;
use crate::wire::Wire;

/// Which bytes run: name and version for people, the digest for certainty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    pub model: ModelName,
    pub version: Version,
    pub digest: Digest,
}

/// The bytes that an entry names, already checked against its digests.
pub struct Artifacts {
    pub model: Bytes,
    pub pre: Option<Bytes>,
    pub post: Option<Bytes>,
    pub sample: Option<Bytes>,
}

impl Artifacts {
    /// Fetches everything that an entry names, from the disk if it is there.
    pub async fn fetch(
        catalog: &Catalog,
        entry: &Entry,
        cache: Option<&Arc<ArtifactCache>>,
    ) -> Result<Self, CatalogFault> {
        let fetch = async |artifact: Artifact| match cache {
            Some(cache) => cache.fetch(catalog, artifact).await,
            None => catalog.artifact(&artifact).await,
        };
        let plugin = async |plugin: Option<&PluginEntry>| match plugin {
            Some(plugin) => fetch(plugin.artifact()).await.map(Some),
            None => Ok(None),
        };
        Ok(Self {
            model: fetch(entry.model).await?,
            pre: plugin(entry.pre.as_ref()).await?,
            post: plugin(entry.post.as_ref()).await?,
            sample: match entry.sample {
                Some(sample) => Some(fetch(sample).await?),
                None => None,
            },
        })
    }
}

pub struct Bundle {
    pub identity: Identity,
    pub metrics: BundleMetrics,
    pub log_gate: LogGate,
    pub signature: Signature,
    /// How each plugin gets back to where every message starts, in words.
    pub strategies: Vec<(Stage, String)>,
    /// What every reply and result of this bundle says of where it comes from.
    pub headers: HeaderMap,
    /// How many messages share a run, and how long one waits for others.
    pub turn: Turn,
    /// Why each message is run by itself although the entry asks for more.
    pub alone: Option<NoStack>,
    has_pre: bool,
    has_post: bool,
    lanes: Vec<Mutex<Parts>>,
    /// Turns that lanes have with it now.
    turns: AtomicUsize,
    /// What all of it takes, in bytes, more or less.
    pub memory: u64,
    loaded: Instant,
    /// When the last message came, in microseconds since the first bundle was loaded.
    used: AtomicU64,
    _weight: Weight,
}

static EPOCH: LazyLock<Instant> = LazyLock::new(Instant::now);

fn now() -> u64 {
    u64::try_from(EPOCH.elapsed().as_micros()).unwrap_or(u64::MAX)
}

#[derive(Debug, thiserror::Error)]
pub enum BundleFault {
    #[error("the {} plugin: {fault}", stage.name())]
    Plugin { stage: Stage, fault: LoadFault },
    #[error("the model: {0}")]
    Model(#[from] EngineFault),
    #[error("the bundle's own sample fails in {}: {failure}; its parts do not fit one another, or not the sample", stage.name())]
    Sample { stage: Stage, failure: Failure },
    #[error(
        "engine.time is {asked:?}, more than the {ceiling:?} that this worker allows: lower it, or raise --max-model-time"
    )]
    TooPatient { asked: Duration, ceiling: Duration },
}

impl BundleFault {
    /// Whether the same bundle may be loaded at another time.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Plugin { fault, .. } => fault.may_pass(),
            Self::Model(fault) => fault.may_pass(),
            Self::TooPatient { .. } | Self::Sample { .. } => false,
        }
    }
}

/// What loading needs from the process: made once, shared by all bundles.
pub struct Loader {
    pub backend: Backend,
    pub sandbox: Sandbox,
    pub trials: Trials,
    pub models: ModelCeilings,
    pub lanes: usize,
    /// What a lane uses for one stage of a plugin: [`sandboxed`], but in a benchmark.
    pub transform: fn(Stage, &Plugin) -> Box<dyn Transform>,
    /// All of them, but in a benchmark.
    pub promises: Promises,
}

/// The plugin in its sandbox.
pub fn sandboxed(_: Stage, plugin: &Plugin) -> Box<dyn Transform> {
    Box::new(plugin.instance())
}

impl Loader {
    /// Compiles, creates sessions and warms up. Blocks.
    pub fn load(
        &self,
        identity: Identity,
        entry: &Entry,
        artifacts: &Artifacts,
        metrics: &Arc<Metrics>,
    ) -> Result<Bundle, BundleFault> {
        let pre = self.plugin(Stage::Pre, entry, entry.pre.as_ref(), artifacts.pre.as_ref())?;
        let post = self.plugin(Stage::Post, entry, entry.post.as_ref(), artifacts.post.as_ref())?;
        let options = self.models.options(&entry.engine)?;
        let tried = self.trials.survives(&self.backend, entry.model.digest, &artifacts.model, options)?;
        let label = format!("{} {}", identity.model, identity.version);
        let network = self.backend.load(&artifacts.model, options, label)?;
        let lanes = (0..entry.engine.lanes(self.lanes).clamp(1, self.lanes.max(1)))
            .map(|lane| {
                let mut model = network.session()?;
                if lane == 0 || !network.is_shared() {
                    warm_up(network.signature(), model.as_mut());
                }
                let stage =
                    |stage, plugin: &Option<Plugin>| plugin.as_ref().map(|plugin| (self.transform)(stage, plugin));
                Ok(Mutex::new(Parts { pre: stage(Stage::Pre, &pre), model, post: stage(Stage::Post, &post) }))
            })
            .collect::<Result<Vec<_>, EngineFault>>()?;
        let turn = turn(entry, network.signature(), &lanes);
        if let Err(why) = &turn {
            let Identity { model, version, .. } = &identity;
            tracing::warn!(%model, %version, "each message is run by itself, although engine.batch asks for more: {why}");
        }
        if let Some(sample) = &artifacts.sample {
            try_sample(&identity, &lanes, sample)?;
        }
        let log_gate = LogGate::default();
        let mut strategies = Vec::new();
        for (stage, plugin) in [(Stage::Pre, &pre), (Stage::Post, &post)] {
            let Some(plugin) = plugin else { continue };
            strategies.push((stage, plugin.strategy().to_string()));
            let Identity { model, version, .. } = &identity;
            tracing::info!(%model, %version, stage = stage.name(), origin = plugin.origin().name(), "a plugin is ready");
            plugin.init_log().for_each(|line| log_gate.write(&identity, stage, &line));
        }
        let sessions = if network.is_shared() { 1 } else { lanes.len() as u64 };
        let memory =
            tried.map_or_else(|| budget::estimate(entry), |tried| budget::measured(entry, tried.memory, sessions));
        Ok(Bundle {
            memory,
            loaded: Instant::now(),
            used: AtomicU64::new(now()),
            _weight: metrics.weight(memory),
            metrics: metrics.bundle(&identity),
            headers: identity_headers(&identity),
            signature: network.signature().clone(),
            strategies,
            turn: turn.clone().unwrap_or(Turn::ONE),
            alone: turn.err(),
            identity,
            log_gate,
            has_pre: pre.is_some(),
            has_post: post.is_some(),
            lanes,
            turns: AtomicUsize::new(0),
        })
    }

    fn plugin(
        &self,
        stage: Stage,
        entry: &Entry,
        plugin: Option<&PluginEntry>,
        wasm: Option<&Bytes>,
    ) -> Result<Option<Plugin>, BundleFault> {
        let (Some(plugin), Some(wasm)) = (plugin, wasm) else {
            return Ok(None);
        };
        load_plugin(&self.sandbox, entry, plugin, wasm).map(Some).map_err(|fault| BundleFault::Plugin { stage, fault })
    }
}

impl ModelCeilings {
    /// What an entry asks for, within what this worker allows.
    pub fn options(&self, engine: &EngineOptions) -> Result<Options, BundleFault> {
        let default = Options::default();
        let time = engine.time.map_or(default.time.min(self.time), Span::duration);
        if time > self.time {
            return Err(BundleFault::TooPatient { asked: time, ceiling: self.time });
        }
        let provider = match engine.provider.unwrap_or_default() {
            EntryProvider::Cpu => Provider::Cpu,
            EntryProvider::Cuda => Provider::Cuda,
            EntryProvider::Tensorrt => Provider::TensorRt,
            EntryProvider::Openvino => Provider::OpenVino,
        };
        let threads = engine.threads().min(self.threads);
        let arena = engine.arena.unwrap_or(default.arena);
        let together = engine.batch.is_some_and(|batch| batch.max > 1);
        Ok(Options { threads, time, arena, provider, together, allow: self.allow, ..default })
    }
}

/// Compiles one plugin of an entry and starts it once, with what the entry grants and allows it. Blocks.
pub fn load_plugin(sandbox: &Sandbox, entry: &Entry, plugin: &PluginEntry, wasm: &[u8]) -> Result<Plugin, LoadFault> {
    let config = plugin.config.as_ref().map(|config| config.to_string()).unwrap_or_default();
    Plugin::load(sandbox, wasm, grants(plugin), bounds(entry, sandbox.ceilings()), config.as_bytes())
}

/// What the entry asks for, within the worker's bounds, if the model allows it.
fn turn(entry: &Entry, signature: &Signature, lanes: &[Mutex<Parts>]) -> Result<Turn, NoStack> {
    let (Some(batch), Some(parts)) = (entry.engine.batch.filter(|batch| batch.max > 1), lanes.first()) else {
        return Ok(Turn::ONE);
    };
    let parts = &mut *parts.lock().unwrap_or_else(PoisonError::into_inner);
    can_stack(signature, parts.model.as_mut())?;
    let most = (batch.max as usize).min(limits::BATCH);
    let least = batch.min.map_or(1, |min| min as usize).min(most);
    Ok(Turn { most, least, patience: batch.max_delay.map_or(Duration::ZERO, Span::duration) })
}

/// Runs the bundle's own sample, so that parts which do not fit one another never serve.
fn try_sample(identity: &Identity, lanes: &[Mutex<Parts>], sample: &[u8]) -> Result<(), BundleFault> {
    let Some(parts) = lanes.first() else { return Ok(()) };
    let parts = &mut *parts.lock().unwrap_or_else(PoisonError::into_inner);
    let payload = Payload { bytes: sample, wire: Wire::Frame, identity };
    match job::run(parts, payload, &Silence).0 {
        Ok(_) => Ok(()),
        Err(failure) => Err(BundleFault::Sample { stage: failure.stage(), failure }),
    }
}

/// Where a sample runs: its plugins' log lines are nobody's.
struct Silence;

impl Surroundings for Silence {
    fn now(&self) -> Instant {
        Instant::now()
    }

    fn log(&self, _: Stage, _: LogLine<'_>) {}
}

pub fn grants(plugin: &PluginEntry) -> Grants {
    Grants { log: plugin.grants.contains(&Grant::Log), emit: plugin.grants.contains(&Grant::Emit) }
}

/// The entry's limits over the sandbox's defaults.
pub fn bounds(entry: &Entry, ceilings: &Ceilings) -> Bounds {
    let (limits, default) = (&entry.limits, ceilings.defaults());
    Bounds {
        memory: limits.memory.map_or(default.memory, ByteSize::bytes),
        time: limits.time.map_or(default.time, Span::duration),
        output: limits.output.map_or(default.output, ByteSize::bytes),
        emits: limits.emits.unwrap_or(default.emits),
        emit_bytes: limits.emit_bytes.map_or(default.emit_bytes, ByteSize::bytes),
        log_lines: limits.log_lines.unwrap_or(default.log_lines),
        log_bytes: limits.log_bytes.map_or(default.log_bytes, ByteSize::bytes),
    }
}

impl Bundle {
    /// Without a pre plugin the payload itself must be tensors.
    pub fn takes_tensors(&self) -> bool {
        !self.has_pre
    }

    /// Without a post plugin the result is tensors.
    pub fn gives_tensors(&self) -> bool {
        !self.has_post
    }

    /// Notes that a message came.
    pub fn touch(&self) {
        self.used.store(now(), Ordering::Relaxed);
    }

    /// The larger, the later the last message came.
    pub fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    pub fn idle(&self) -> Duration {
        Duration::from_micros(now().saturating_sub(self.used()))
    }

    /// How long it stays as it is although others want its room, if it has messages in hand.
    pub fn stays(&self) -> Duration {
        limits::RESIDENCE.saturating_sub(self.loaded.elapsed())
    }

    /// Whether there are parts for one more turn.
    pub fn may_begin(&self) -> bool {
        self.turns.load(Ordering::Relaxed) < self.lanes.len()
    }

    pub fn begin(&self) {
        self.turns.fetch_add(1, Ordering::Relaxed);
    }

    /// A turn has ended. Says whether others may have waited for that.
    pub fn leave(&self) -> bool {
        self.turns.fetch_sub(1, Ordering::Relaxed) >= self.lanes.len()
    }

    /// Parts for one lane: its own, or others that nobody uses where the entry asks for fewer sessions than there are
    /// lanes. There are some, for as many turns begin as there are parts.
    pub fn parts(&self, lane: usize) -> MutexGuard<'_, Parts> {
        // A panic while the parts were held is answered like a trap; the parts rewind for the next call.
        let own = lane % self.lanes.len();
        let (before, from) = self.lanes.split_at(own);
        let free = from.iter().chain(before).find_map(|parts| match parts.try_lock() {
            Ok(parts) => Some(parts),
            Err(TryLockError::Poisoned(parts)) => Some(parts.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        });
        free.unwrap_or_else(|| self.lanes[own].lock().unwrap_or_else(PoisonError::into_inner))
    }
}
