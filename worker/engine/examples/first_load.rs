//! The cost of a model's first load: through bare `ort`, through the engine, and with a trial process.
//!
//! `cargo run -p inferbus-engine --example first_load`, with `ORT_DYLIB_PATH` set to the library. All three take
//! turns; each figure is the median.

use std::{path::Path, process::ExitCode, time::Instant};

use inferbus_engine::{
    Network as _, OnnxNetwork, Options, Runtime, TrialBounds, TrialProcess, load_child, load_runtime, warm_up,
};
use inferbus_testkit::onnx;
use ort::session::{Session, builder::GraphOptimizationLevel};

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

const ROUNDS: usize = 11;

fn main() -> ExitCode {
    if std::env::args().nth(1).as_deref() == Some("load-model") {
        return load_child(std::env::args().skip(2));
    }
    match measure() {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("first_load: {why}");
            ExitCode::FAILURE
        }
    }
}

fn measure() -> Outcome<()> {
    let library = std::env::var_os("ORT_DYLIB_PATH");
    let runtime = load_runtime(library.as_deref().map(Path::new))?;
    println!("ONNX Runtime {}", runtime.version);
    let (program, arguments) = (std::env::current_exe()?, vec!["load-model".to_owned()]);
    let trial = TrialProcess { program, arguments, bounds: TrialBounds::default() };
    for (width, products) in [(4, 1), (256, 4), (1024, 24)] {
        compare(&runtime, &trial, &onnx::weighty(width, products))?;
    }
    Ok(())
}

fn compare(runtime: &Runtime, trial: &TrialProcess, bytes: &[u8]) -> Outcome<()> {
    let mut rounds = [Vec::new(), Vec::new(), Vec::new()];
    let mut memory = 0;
    for _ in 0..ROUNDS {
        let [bare, engine, first] = &mut rounds;
        let started = Instant::now();
        drop(bare_session(runtime, bytes)?);
        bare.push(started.elapsed().as_secs_f64() * 1e3);
        let started = Instant::now();
        let network = OnnxNetwork::load(runtime, bytes, Options::default())?;
        engine.push(started.elapsed().as_secs_f64() * 1e3);
        let mut session = network.session()?;
        warm_up(network.signature(), session.as_mut());
        drop((network, session));
        let started = Instant::now();
        memory = trial.load(runtime, bytes, Options::default())?.memory;
        first.push(started.elapsed().as_secs_f64() * 1e3);
    }
    let [bare, engine, first] = rounds.map(median);
    println!(
        "{:9.3} MB   ort {bare:8.2} ms   engine {engine:8.2} ms   ratio {:.3}   trial {first:8.2} ms, \
         memory {:.1} MB",
        bytes.len() as f64 / 1e6,
        engine / bare,
        memory as f64 / 1e6
    );
    Ok(())
}

fn bare_session(runtime: &Runtime, bytes: &[u8]) -> ort::Result<Session> {
    Session::builder(runtime.environment())?
        .with_optimization_level(GraphOptimizationLevel::All)?
        .with_intra_threads(1)?
        .commit_from_memory(bytes)
}

fn median(mut rounds: Vec<f64>) -> f64 {
    rounds.sort_by(f64::total_cmp);
    rounds.get(rounds.len() / 2).copied().unwrap_or(f64::NAN)
}
