//! The cost of one session shared by lanes, and the memory it saves.
//!
//! `cargo run -p inferbus-engine --example sharing`, with `ORT_DYLIB_PATH` set to the library. `speed`: two threads
//! run a small model at the same time, on one session and on one each, taking turns in many short rounds. `memory
//! LANES one|each VERSIONS FILE`: the resident memory of a new process with a model loaded and run on every lane.

#![allow(clippy::expect_used, reason = "an example that measures")]

use std::{path::Path, process::Command, sync::Barrier, time::Instant};

use inferbus_abi::frame::{DataType, Tensor};
use inferbus_engine::{Model, Network, OnnxNetwork, Options, Runtime, Sharing, load_runtime, warm_up};
use inferbus_testkit::{memory, onnx};

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

const ROUNDS: usize = 301;
const WIDTH: usize = 1024;
const PRODUCTS: usize = 24;

fn main() -> Outcome<()> {
    let library = std::env::var_os("ORT_DYLIB_PATH");
    let runtime = load_runtime(library.as_deref().map(Path::new))?;
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["memory", lanes, sharing, versions, file] => {
            measure_memory(&runtime, lanes.parse()?, sharing, versions.parse()?, Path::new(file))
        }
        _ => all(&runtime),
    }
}

fn all(runtime: &Runtime) -> Outcome<()> {
    println!("ONNX Runtime {}", runtime.version);
    for (width, products) in [(4, 1), (32, 4), (256, 4)] {
        speed(runtime, width, products)?;
    }
    let file = std::env::temp_dir().join(format!("sharing-{}.onnx", std::process::id()));
    std::fs::write(&file, onnx::weighty(WIDTH, PRODUCTS))?;
    // Each figure comes from a new process, so that none inherits memory from another.
    for (lanes, sharing, versions) in [
        ("1", "one", "1"),
        ("4", "one", "1"),
        ("1", "each", "1"),
        ("4", "each", "1"),
        ("1", "one", "2"),
        ("4", "one", "2"),
    ] {
        let mut measurement = Command::new(std::env::current_exe()?);
        let printed = measurement.args(["memory", lanes, sharing, versions]).arg(&file).output()?;
        print!("{}{}", String::from_utf8_lossy(&printed.stdout), String::from_utf8_lossy(&printed.stderr));
    }
    std::fs::remove_file(&file)?;
    Ok(())
}

/// Times two concurrent threads, in µs per run.
fn speed(runtime: &Runtime, width: usize, products: usize) -> Outcome<()> {
    let bytes = onnx::weighty(width, products);
    let load = |sharing| OnnxNetwork::load(runtime, &bytes, Options { sharing, ..Options::default() });
    let (shared, own) = (load(Sharing::One)?, load(Sharing::Each)?);
    let mut pairs = Vec::new();
    for network in [&shared, &own] {
        pairs.push([network.session()?, network.session()?]);
    }
    let input: Vec<u8> = (0..width).flat_map(|at| (at as f32).to_le_bytes()).collect();
    let runs = (20_000 / (width * width * products / 1000 + 20)).max(10);
    let mut rounds = [Vec::new(), Vec::new()];
    for _ in 0..ROUNDS {
        for (pair, rounds) in pairs.iter_mut().zip(&mut rounds) {
            rounds.push(together(pair, &input, width, runs));
        }
    }
    let [shared, own] = rounds.map(median);
    println!(
        "{products} products of {width:<5} one session {shared:8.2} µs   own sessions {own:8.2} µs   ratio {:.3}",
        shared / own
    );
    Ok(())
}

/// Microseconds of a run, of the slower of two threads with a common start.
fn together(pair: &mut [Box<dyn Model>; 2], input: &[u8], width: usize, runs: usize) -> f64 {
    let begin = Barrier::new(2);
    let one = |model: &mut Box<dyn Model>| {
        let shape = [1, width as u64];
        let tensor = Tensor { name: "x", dtype: DataType::F32, shape: shape.as_slice().into(), data: input };
        begin.wait();
        let started = Instant::now();
        for _ in 0..runs {
            model.run(&[tensor], &mut |_| {}).expect("a run");
        }
        started.elapsed().as_secs_f64() * 1e6 / runs as f64
    };
    let [first, second] = pair;
    std::thread::scope(|scope| {
        let other = scope.spawn(|| one(second));
        let mine = one(first);
        mine.max(other.join().expect("a thread"))
    })
}

fn measure_memory(runtime: &Runtime, lanes: usize, sharing: &str, versions: usize, file: &Path) -> Outcome<()> {
    let sharing = if sharing == "each" { Sharing::Each } else { Sharing::One };
    let before = resident();
    let bytes = std::fs::read(file)?;
    let len = bytes.len();
    let (mut networks, mut sessions) = (Vec::new(), Vec::new());
    for _ in 0..versions {
        let network = OnnxNetwork::load(runtime, &bytes, Options { sharing, ..Options::default() })?;
        for _ in 0..lanes {
            let mut session = network.session()?;
            warm_up(network.signature(), session.as_mut());
            sessions.push(session);
        }
        networks.push(network);
    }
    drop(bytes);
    let peak = memory::peak(std::process::id()) >> 10;
    let after = resident();
    println!(
        "{versions} × {} MB on {lanes} lanes, session for {}: {} MB more resident ({} MB at the peak)",
        len / 1_000_000,
        if matches!(sharing, Sharing::Each) { "each" } else { "all " },
        (after.saturating_sub(before)) / 1000,
        peak.saturating_sub(before) / 1000,
    );
    Ok(())
}

/// Kilobytes resident, after the allocator has returned unused pages.
fn resident() -> u64 {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        unsafe extern "C" {
            fn malloc_trim(pad: usize) -> i32;
        }
        // SAFETY: it may be called at any time.
        unsafe { malloc_trim(0) };
    }
    memory::own_resident() >> 10
}

fn median(mut rounds: Vec<f64>) -> f64 {
    rounds.sort_by(f64::total_cmp);
    rounds.get(rounds.len() / 2).copied().unwrap_or(f64::NAN)
}
