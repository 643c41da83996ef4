//! The loader: turns fetched artifacts into a bundle. Compiles, creates sessions, warms up, runs the sample.
//!
//! Guarantees: a returned bundle is complete. Loading is slow and blocks: it must never run on a lane or on the message
//! path's thread.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use inferbus_catalog::{
    Artifact, ByteSize, Catalog, CatalogFault, EngineOptions, Entry, Grant, Plugin as PluginEntry,
    Provider as EntryProvider, Span,
};
use inferbus_engine::{Backend, EngineFault, Network, NoStack, Options, Provider, Signature, can_stack, warm_up};
use inferbus_pipeline::batch::BatchPolicy;
use inferbus_pipeline::{Context, Encoding, Failure, Identity, Parts, Payload, Plan, Stage, Transform, single};
use inferbus_sandbox::{Bounds, Ceilings, Grants, LoadFault, LogLine, Plugin, Sandbox};

use super::artifact_cache::ArtifactCache;
use super::budget;
use super::bundle::{Bundle, Loaded};
use super::trials::Trials;
use crate::config::ModelCeilings;
use crate::limits;
use crate::observe::metrics::Metrics;
use crate::observe::plugin_log::LogGate;

/// The artifacts of an entry, checked against their digests.
pub struct Artifacts {
    pub model: Bytes,
    pub pre: Option<Bytes>,
    pub post: Option<Bytes>,
    pub sample: Option<Bytes>,
}

impl Artifacts {
    /// Fetches all artifacts of an entry, from disk if cached.
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

#[derive(Debug, thiserror::Error)]
pub enum BundleFault {
    #[error("the {step} plugin: {fault}")]
    Plugin { step: &'static str, fault: LoadFault },
    #[error("the model: {0}")]
    Model(#[from] EngineFault),
    #[error(
        "the bundle's sample failed in {step}: {failure}; check that pre, model and post agree and that the sample is \
         valid"
    )]
    Sample { step: &'static str, failure: Failure },
    #[error(
        "engine.time is {asked:?}, more than this worker's limit of {ceiling:?}: lower it, or raise --max-model-time"
    )]
    TimeOverCeiling { asked: Duration, ceiling: Duration },
}

impl BundleFault {
    /// Whether a retry of the load may succeed.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Plugin { fault, .. } => fault.may_pass(),
            Self::Model(fault) => fault.may_pass(),
            Self::TimeOverCeiling { .. } | Self::Sample { .. } => false,
        }
    }
}

/// The process-wide parts of loading, shared by all bundles.
pub struct Loader {
    pub backend: Backend,
    pub sandbox: Sandbox,
    pub trials: Trials,
    pub models: ModelCeilings,
    pub lanes: usize,
    /// Creates the transform of a plugin by the name of its step: [`sandboxed`], except in benchmarks.
    pub transform: fn(&str, &Plugin) -> Box<dyn Transform>,
}

/// The plugin in its sandbox.
pub fn sandboxed(_step: &str, plugin: &Plugin) -> Box<dyn Transform> {
    Box::new(plugin.instance())
}

/// The compiled plugins of a chain.
struct Plugins {
    pre: Option<Plugin>,
    post: Option<Plugin>,
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
        let plugins = self.plugins(entry, artifacts)?;
        let plan = Plan::chain(plugins.pre.is_some(), plugins.post.is_some());
        let options = self.models.options(&entry.engine)?;
        let tried = self.trials.survives(&self.backend, entry.model.digest, &artifacts.model, options)?;
        let label = format!("{} {}", identity.model, identity.version);
        let network = self.backend.load(&artifacts.model, options, label)?;
        let lanes = self.lanes(&*network, &plugins, entry)?;
        let batch = batch_policy(entry, network.signature(), &lanes);
        if let Err(why) = &batch {
            let Identity { model, version, .. } = &identity;
            tracing::warn!(%model, %version, "messages run individually, although engine.batch allows more: {why}");
        }
        if let Some(sample) = &artifacts.sample {
            try_sample(&identity, &plan, &lanes, sample)?;
        }
        let log_gate = LogGate::default();
        let strategies = self.report(&identity, &plan, &plugins, &log_gate);
        let sessions = if network.is_shared() { 1 } else { lanes.len() as u64 };
        let memory =
            tried.map_or_else(|| budget::estimate(entry), |tried| budget::measured(entry, tried.memory, sessions));
        let signature = network.signature().clone();
        Ok(Bundle::new(Loaded { identity, plan, signature, strategies, log_gate, batch, memory, lanes }, metrics))
    }

    fn plugins(&self, entry: &Entry, artifacts: &Artifacts) -> Result<Plugins, BundleFault> {
        let load = |step, plugin: Option<&PluginEntry>, wasm: Option<&Bytes>| match (plugin, wasm) {
            (Some(plugin), Some(wasm)) => load_plugin(&self.sandbox, entry, plugin, wasm)
                .map(Some)
                .map_err(|fault| BundleFault::Plugin { step, fault }),
            _ => Ok(None),
        };
        let pre = load("pre", entry.pre.as_ref(), artifacts.pre.as_ref())?;
        let post = load("post", entry.post.as_ref(), artifacts.post.as_ref())?;
        Ok(Plugins { pre, post })
    }

    /// Private parts for each lane permitted by the entry.
    fn lanes(
        &self,
        network: &dyn Network,
        Plugins { pre, post }: &Plugins,
        entry: &Entry,
    ) -> Result<Vec<Mutex<Parts>>, EngineFault> {
        let count = entry.engine.lanes(self.lanes).clamp(1, self.lanes.max(1));
        let transform = |step, plugin: &Option<Plugin>| plugin.as_ref().map(|plugin| (self.transform)(step, plugin));
        let lane = |lane| {
            let mut model = network.session()?;
            if lane == 0 || !network.is_shared() {
                warm_up(network.signature(), model.as_mut());
            }
            Ok(Mutex::new(Parts::chain(transform("pre", pre), model, transform("post", post))))
        };
        (0..count).map(lane).collect()
    }

    /// Logs the plugins, and returns their reset strategies.
    fn report(
        &self,
        identity: &Identity,
        plan: &Plan,
        Plugins { pre, post }: &Plugins,
        log_gate: &LogGate,
    ) -> Vec<(&'static str, String)> {
        let mut strategies = Vec::new();
        for (stage, plugin) in [(plan.pre(), pre), (plan.post(), post)] {
            let (Some(stage), Some(plugin)) = (stage, plugin) else { continue };
            let step = plan.name(stage);
            strategies.push((step, plugin.strategy().to_string()));
            let Identity { model, version, .. } = identity;
            tracing::info!(%model, %version, step, origin = plugin.origin().name(), "plugin loaded");
            plugin.init_log().for_each(|line| log_gate.write(identity, step, &line));
        }
        strategies
    }
}

impl ModelCeilings {
    /// The entry's engine options within this worker's bounds.
    pub fn options(&self, engine: &EngineOptions) -> Result<Options, BundleFault> {
        let default = Options::default();
        let time = engine.time.map_or(default.time.min(self.time), Span::duration);
        if time > self.time {
            return Err(BundleFault::TimeOverCeiling { asked: time, ceiling: self.time });
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

/// Compiles one plugin of an entry and starts it once, with the entry's grants and limits. Blocks.
pub fn load_plugin(sandbox: &Sandbox, entry: &Entry, plugin: &PluginEntry, wasm: &[u8]) -> Result<Plugin, LoadFault> {
    let config = plugin.config.as_ref().map(|config| config.to_string()).unwrap_or_default();
    Plugin::load(sandbox, wasm, grants(plugin), bounds(entry, sandbox.ceilings()), config.as_bytes())
}

/// The entry's batch settings within the worker's bounds, if the model supports batches.
fn batch_policy(entry: &Entry, signature: &Signature, lanes: &[Mutex<Parts>]) -> Result<BatchPolicy, NoStack> {
    let (Some(batch), Some(parts)) = (entry.engine.batch.filter(|batch| batch.max > 1), lanes.first()) else {
        return Ok(BatchPolicy::SINGLE);
    };
    let parts = &mut *parts.lock().unwrap_or_else(PoisonError::into_inner);
    can_stack(signature, parts.model.as_mut())?;
    let max = (batch.max as usize).min(limits::BATCH);
    let min = batch.min.map_or(1, |min| min as usize).min(max);
    Ok(BatchPolicy { max, min, max_delay: batch.max_delay.map_or(Duration::ZERO, Span::duration) })
}

/// Runs the bundle's sample, so mismatched parts never serve.
fn try_sample(identity: &Identity, plan: &Plan, lanes: &[Mutex<Parts>], sample: &[u8]) -> Result<(), BundleFault> {
    let Some(parts) = lanes.first() else { return Ok(()) };
    let parts = &mut *parts.lock().unwrap_or_else(PoisonError::into_inner);
    let payload = Payload { bytes: sample, encoding: Encoding::Frame, identity };
    match single::run(parts, payload, &SampleContext).0 {
        Ok(_) => Ok(()),
        Err(failure) => Err(BundleFault::Sample { step: plan.name(failure.stage), failure }),
    }
}

/// The context of a sample run: it discards log lines.
struct SampleContext;

impl Context for SampleContext {
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
