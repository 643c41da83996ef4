//! The load of plugins with cached machine code: the whole `Plugin::load`, for fifty of them.

use std::time::Instant;

use anyhow::Context as _;
use inferbus_sandbox::{Bounds, Cache, Ceilings, Grants, Origin, Plugin, Sandbox};

use crate::paper::figure::Figure;
use crate::project::root;

const PLUGINS: u8 = 50;
const ROUNDS: usize = 5;
const GRANTS: Grants = Grants { log: true, emit: true };

pub fn measure() -> anyhow::Result<Figure> {
    let folder = std::env::temp_dir().join(format!("inferbus-bench-{}", std::process::id()));
    let times = rounds(&folder);
    std::fs::remove_dir_all(&folder)?;
    Ok(Figure::of("sandbox.cached_load_ms", "ms per plugin", times?))
}

fn rounds(folder: &std::path::Path) -> anyhow::Result<Vec<f64>> {
    let plugins = plugins()?;
    let sandbox = || anyhow::Ok(Sandbox::new(Ceilings::default())?.caching_in(Cache::open(folder)?));
    load(&sandbox()?, &plugins, Origin::Compiled)?;
    (0..ROUNDS).map(|_| load(&sandbox()?, &plugins, Origin::Cached)).collect()
}

/// The plugins of the digit model. Each copy has a different digest.
fn plugins() -> anyhow::Result<Vec<Vec<u8>>> {
    let read = |stage| std::fs::read(root().join(format!("plugins/dist/digits-{stage}-1.0.0.wasm")));
    let originals = [read("pre").context("the pre plugin")?, read("post").context("the post plugin")?];
    // A custom section of one byte.
    let copy = |number: u8| [&originals[usize::from(number % 2)][..], &[0, 3, 1, b'n', number]].concat();
    Ok((0..PLUGINS).map(copy).collect())
}

/// Returns milliseconds per plugin.
fn load(sandbox: &Sandbox, plugins: &[Vec<u8>], expected: Origin) -> anyhow::Result<f64> {
    let started = Instant::now();
    for wasm in plugins {
        let plugin = Plugin::load(sandbox, wasm, GRANTS, Bounds::default(), b"")?;
        anyhow::ensure!(plugin.origin() == expected, "the plugin was not {expected:?}");
    }
    Ok(started.elapsed().as_secs_f64() * 1e3 / plugins.len() as f64)
}
