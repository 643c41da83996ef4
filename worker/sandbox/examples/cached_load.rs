//! The cost of loading a plugin: from the cache, compiled in a child process, and compiled in this one: `cargo run -p
//! inferbus-sandbox --example cached_load`, after `make plugins`.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use inferbus_sandbox::{
    Bounds, Cache, Ceilings, ChildProcess, CompileBounds, Compiler, Grants, Origin, Plugin, Sandbox, compile_child,
    examine,
};

const PLUGINS: u8 = 50;
const GRANTS: Grants = Grants { log: true, emit: true };
const CHILD: &str = "compile";

fn main() -> ExitCode {
    if std::env::args().nth(1).as_deref() == Some(CHILD) {
        return compile_child();
    }
    match measure() {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            eprintln!("{fault}");
            ExitCode::FAILURE
        }
    }
}

fn measure() -> Result<(), Box<dyn Error>> {
    let folder = std::env::temp_dir().join(format!("cached-load-{}", std::process::id()));
    let measured = ["digits-pre-1.0.0", "digits-post-1.0.0", "digits-post-1.1.0"].map(|name| of_one(name, &folder));
    fs::remove_dir_all(&folder)?;
    measured.into_iter().collect()
}

/// Loads copies of one plugin. Each copy has a different cache key.
fn of_one(name: &str, folder: &Path) -> Result<(), Box<dyn Error>> {
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("../../plugins/dist/{name}.wasm"));
    let wasm = fs::read(&file).map_err(|fault| format!("{}: {fault}", file.display()))?;
    // A custom section of one byte.
    let copies: Vec<Vec<u8>> = (0..PLUGINS).map(|number| [&wasm[..], &[0, 3, 1, b'n', number]].concat()).collect();
    let child = ChildProcess {
        program: "/proc/self/exe".into(),
        arguments: vec![CHILD.into()],
        bounds: CompileBounds::default(),
    };
    let sandbox = || Sandbox::new(Ceilings::default());
    let in_process = load(&sandbox()?, &copies, Origin::Compiled)?;
    let compiled = load(&sandbox()?.compiling_with(Compiler::Child(child)), &copies, Origin::Compiled)?;
    load(&sandbox()?.caching_in(Cache::open(folder)?), &copies, Origin::Compiled)?;
    let cached = load(&sandbox()?.caching_in(Cache::open(folder)?), &copies, Origin::Cached)?;
    let begun = Instant::now();
    for wasm in &copies {
        examine(wasm, GRANTS, &Bounds::default(), &Ceilings::default(), false)?;
    }
    let examined = begun.elapsed();
    let each = |time: Duration| time.as_secs_f64() * 1e3 / f64::from(PLUGINS);
    println!(
        "{name}, {} bytes: {:.2} ms each from the cache ({:.2} ms of them to examine the module), \
         {:.1} ms compiled in a separate process, {:.1} ms in this one",
        wasm.len(),
        each(cached),
        each(examined),
        each(compiled),
        each(in_process)
    );
    Ok(())
}

fn load(sandbox: &Sandbox, copies: &[Vec<u8>], expected: Origin) -> Result<Duration, Box<dyn Error>> {
    let begun = Instant::now();
    for wasm in copies {
        let plugin = Plugin::load(sandbox, wasm, GRANTS, Bounds::default(), b"")?;
        if plugin.origin() != expected {
            return Err("the origin of a plugin differs from the measured one".into());
        }
    }
    Ok(begun.elapsed())
}
