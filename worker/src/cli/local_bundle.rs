//! A bundle on disk, checked, loaded and run without NATS, by the code of a worker.

use std::time::Instant;

use anyhow::{Context as _, bail};
use inferbus::app;
use inferbus::config::{Compute, EngineSettings, ModelSettings};
use inferbus::models::bundle::{Artifacts, Bundle as Loaded, Identity, bounds, grants};
use inferbus::observe::metrics::Metrics;
use inferbus_catalog::{Bundle, Role};
use inferbus_engine::Signature;
use inferbus_pipeline::Encoding;
use inferbus_pipeline::{self, Context, Done, Failure, MessageTimes, Payload, Stage};
use inferbus_sandbox::{Bounds, Ceilings, Grants, Inspection, LoadFault, LogLine, examine, try_compile};

use super::child_process;

pub struct LocalBundle {
    pub signature: Signature,
    pub strategies: Vec<(Stage, String)>,
    bundle: Loaded,
}

/// Checks the plugins without compiling them, as a worker does.
pub fn inspect(bundle: &Bundle, ceilings: &Ceilings) -> anyhow::Result<()> {
    each_plugin(bundle, ceilings, examine)
}

/// Checks the plugins, then compiles them within a worker's bounds.
pub fn compile(bundle: &Bundle, ceilings: &Ceilings) -> anyhow::Result<()> {
    let compiler = child_process::compiler()?;
    each_plugin(bundle, ceilings, |wasm, grants, bounds, ceilings, has_config| {
        try_compile(wasm, grants, bounds, ceilings, has_config, &compiler)
    })
}

/// Loads the model in a child process, within a worker's bounds. Returns false without a suitable library.
pub fn try_model(bundle: &Bundle, engine: &EngineSettings, settings: &ModelSettings) -> anyhow::Result<bool> {
    let model = bundle.file(Role::Model).map(|file| &**file).unwrap_or_default();
    let rejected = || format!("{} {}: a worker would reject the model", bundle.name, bundle.version);
    let options = settings.ceilings().options(&bundle.entry.engine).with_context(rejected)?;
    inferbus_engine::examine(model, &options).with_context(rejected)?;
    let backend = match engine.backend() {
        Ok(backend) if backend.has(options.provider) => backend,
        Ok(backend) => {
            eprintln!("the model was not tried: {backend} does not support {} here", options.provider.name());
            return Ok(false);
        }
        Err(fault) => {
            eprintln!("the model was not tried: {fault}");
            return Ok(false);
        }
    };
    let process = settings.bounded(child_process::model_trial()?);
    process.load(backend, model, options).map(|_| true).with_context(rejected)
}

fn each_plugin(
    bundle: &Bundle,
    ceilings: &Ceilings,
    check: impl Fn(&[u8], Grants, &Bounds, &Ceilings, bool) -> Result<Inspection, LoadFault>,
) -> anyhow::Result<()> {
    for (role, plugin) in [(Role::Pre, &bundle.entry.pre), (Role::Post, &bundle.entry.post)] {
        if let (Some(plugin), Some(wasm)) = (plugin, bundle.file(role)) {
            let bounds = bounds(&bundle.entry, ceilings);
            check(wasm, grants(plugin), &bounds, ceilings, plugin.config.is_some()).with_context(|| {
                format!("{} {}: a worker would reject the {} plugin", bundle.name, bundle.version, role.name())
            })?;
        }
    }
    Ok(())
}

impl LocalBundle {
    pub fn load(compute: &Compute, bundle: &Bundle) -> anyhow::Result<Self> {
        let loader = app::loader(&Compute { lanes: Some(1), ..compute.clone() }, child_process::children()?)?;
        let identity =
            Identity { model: bundle.name.clone(), version: bundle.version.clone(), digest: bundle.entry.digest() };
        let file = |role| bundle.file(role).cloned();
        let artifacts = Artifacts {
            model: file(Role::Model).unwrap_or_default(),
            pre: file(Role::Pre),
            post: file(Role::Post),
            sample: file(Role::Sample),
        };
        let loaded = loader
            .load(identity, &bundle.entry, &artifacts, &Metrics::new())
            .with_context(|| format!("{} {} cannot be loaded", bundle.name, bundle.version))?;
        if let Some(why) = &loaded.alone {
            bail!("{} {}: the model cannot run in batches (engine.batch): {why}", bundle.name, bundle.version);
        }
        Ok(Self { signature: loaded.signature.clone(), strategies: loaded.strategies.clone(), bundle: loaded })
    }

    /// The largest number of messages per run.
    pub fn batch(&self) -> usize {
        self.bundle.turn.most
    }

    /// Runs one payload. Log lines of the plugins go to standard error.
    pub fn run(&self, payload: &[u8]) -> (Result<Done, Failure>, MessageTimes) {
        let payload = Payload { bytes: payload, wire: Encoding::Frame, identity: &self.bundle.identity };
        job::run(&mut self.bundle.parts(0), payload, &Terminal)
    }
}

struct Terminal;

impl Context for Terminal {
    fn now(&self) -> Instant {
        Instant::now()
    }

    fn log(&self, stage: Stage, line: LogLine<'_>) {
        eprintln!("{} {:?}: {}", stage.name(), line.level, line.text);
    }
}
