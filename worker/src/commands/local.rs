//! A bundle on disk, loaded and run without a bus, by the same code that a worker runs.

use std::time::Instant;

use anyhow::{Context as _, bail};
use inferbus::app;
use inferbus::config::{Compute, EngineSettings, ModelSettings};
use inferbus::job::{self, Done, Failure, Payload, Stage, StageTimes, Surroundings};
use inferbus::models::bundle::{Artifacts, Bundle as Loaded, Identity, bounds, grants};
use inferbus::observe::metrics::Metrics;
use inferbus::wire::Wire;
use inferbus_catalog::{Bundle, Role};
use inferbus_engine::Signature;
use inferbus_sandbox::{Bounds, Ceilings, Grants, Inspection, LoadFault, LogLine, examine, try_compile};

use super::{compile_plugin, load_model};

pub struct Local {
    pub signature: Signature,
    pub strategies: Vec<(Stage, String)>,
    bundle: Loaded,
}

/// Looks at the plugins without compiling them: what a worker would refuse is refused here, by name.
pub fn inspect(bundle: &Bundle, ceilings: &Ceilings) -> anyhow::Result<()> {
    each_plugin(bundle, ceilings, examine)
}

/// [`inspect`], and then compiles them within a worker's bounds.
pub fn compile(bundle: &Bundle, ceilings: &Ceilings) -> anyhow::Result<()> {
    let compiler = compile_plugin::compiler()?;
    each_plugin(bundle, ceilings, |wasm, grants, bounds, ceilings, has_config| {
        try_compile(wasm, grants, bounds, ceilings, has_config, &compiler)
    })
}

/// Loads the model in a process of its own, within a worker's bounds, where there is a library that can. Says whether there is.
pub fn try_model(bundle: &Bundle, engine: &EngineSettings, settings: &ModelSettings) -> anyhow::Result<bool> {
    let model = bundle.file(Role::Model).map(|file| &**file).unwrap_or_default();
    let refused = || format!("{} {}: a worker would refuse the model", bundle.name, bundle.version);
    let options = settings.ceilings().options(&bundle.entry.engine).with_context(refused)?;
    inferbus_engine::examine(model, &options).with_context(refused)?;
    let backend = match engine.backend() {
        Ok(backend) if backend.has(options.provider) => backend,
        Ok(backend) => {
            eprintln!("the model is not tried here: {backend} has no {} here", options.provider.name());
            return Ok(false);
        }
        Err(fault) => {
            eprintln!("the model is not tried here: {fault}");
            return Ok(false);
        }
    };
    let process = settings.bounded(load_model::process()?);
    process.load(backend, model, options).map(|_| true).with_context(refused)
}

fn each_plugin(
    bundle: &Bundle,
    ceilings: &Ceilings,
    look: impl Fn(&[u8], Grants, &Bounds, &Ceilings, bool) -> Result<Inspection, LoadFault>,
) -> anyhow::Result<()> {
    for (role, plugin) in [(Role::Pre, &bundle.entry.pre), (Role::Post, &bundle.entry.post)] {
        if let (Some(plugin), Some(wasm)) = (plugin, bundle.file(role)) {
            let bounds = bounds(&bundle.entry, ceilings);
            look(wasm, grants(plugin), &bounds, ceilings, plugin.config.is_some()).with_context(|| {
                format!("{} {}: a worker would refuse the {} plugin", bundle.name, bundle.version, role.name())
            })?;
        }
    }
    Ok(())
}

impl Local {
    pub fn load(compute: &Compute, bundle: &Bundle) -> anyhow::Result<Self> {
        let loader = app::loader(&Compute { lanes: Some(1), ..compute.clone() }, load_model::children()?)?;
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
            bail!("{} {}: engine.batch cannot be kept: {why}", bundle.name, bundle.version);
        }
        Ok(Self { signature: loaded.signature.clone(), strategies: loaded.strategies.clone(), bundle: loaded })
    }

    /// How many messages share a run at most.
    pub fn batch(&self) -> usize {
        self.bundle.turn.most
    }

    /// Runs one payload; the plugins' log lines go to standard error.
    pub fn run(&self, payload: &[u8]) -> (Result<Done, Failure>, StageTimes) {
        let payload = Payload { bytes: payload, wire: Wire::Frame, identity: &self.bundle.identity };
        job::run(&mut self.bundle.parts(0), payload, &Terminal)
    }
}

struct Terminal;

impl Surroundings for Terminal {
    fn now(&self) -> Instant {
        Instant::now()
    }

    fn log(&self, stage: Stage, line: LogLine<'_>) {
        eprintln!("{} {:?}: {}", stage.name(), line.level, line.text);
    }
}
