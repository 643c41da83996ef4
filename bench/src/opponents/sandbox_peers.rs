//! One sandboxed call beside other ways to isolate a function: bare Wasmtime, Extism, wazero, processes.
//!
//! Guarantees: all contestants do the same work on one thread, in alternating short rounds. Costs include the processor
//! time of all involved processes. The last output of each round is checked.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use bench_kernels::{image, tiny};
use digits::crc32;
use inferbus_sandbox::{Bounds, Ceilings, Grants, Instance, Plugin, Sandbox};

use crate::machine::clock::Spent;
use crate::opponents::bare_wasmtime::Bare;
use crate::opponents::peers::kind::missing;
use crate::opponents::stage_process::{Once, Script, Warm};
use crate::paper::figure::Figure;
use crate::paper::figures::Figures;
use crate::project::root;

const ROUNDS: usize = 51;
/// The approximate duration of a round, and the number of trial calls for its estimate.
const ROUND: Duration = Duration::from_millis(10);
const TRIAL: usize = 4;
const MOST: usize = 20_000;

/// A function, its input and its output.
struct Work {
    name: &'static str,
    /// The name in the guests of other hosts.
    function: &'static str,
    plugin: PathBuf,
    input: Vec<u8>,
    /// The output without a frame.
    plain: Vec<u8>,
}

/// Makes calls, and returns their cost and the checksum of the last output.
trait Caller {
    fn round(&mut self, work: &Work, calls: usize) -> anyhow::Result<(Spent, u32)>;
}

/// A way to isolate a function, and its costs per round.
struct Contestant {
    name: &'static str,
    caller: Box<dyn Caller>,
    /// The checksum of a correct output.
    right: u32,
    calls: usize,
    costs: Vec<Spent>,
}

pub fn measure(figures: &mut Figures) -> anyhow::Result<()> {
    let sandbox = Sandbox::new(Ceilings::default())?;
    for work in [tiny_work()?, image_work()?] {
        contest(&sandbox, &work, figures)?;
    }
    Ok(())
}

fn tiny_work() -> anyhow::Result<Work> {
    let input: [u8; tiny::LEN] = std::array::from_fn(|at| at as u8);
    let mut plain = vec![0; tiny::LEN];
    tiny::turn(&input, &mut plain);
    let plugin = root().join("plugins/dist/bench-tiny.wasm");
    Ok(Work { name: "tiny", function: "turned", plugin, input: input.to_vec(), plain })
}

fn image_work() -> anyhow::Result<Work> {
    let input: Vec<u8> = (0..image::LEN).map(|at| (at * 7919 % 251) as u8).collect();
    let mut planes = vec![0.0; image::LEN];
    image::normalise(&input, &mut planes)?;
    let plain = planes.iter().flat_map(|number| number.to_le_bytes()).collect();
    Ok(Work { name: "image", function: "planes", plugin: root().join("plugins/dist/bench-image.wasm"), input, plain })
}

fn contest(sandbox: &Sandbox, work: &Work, figures: &mut Figures) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let input = folder.path().join("input");
    std::fs::write(&input, &work.input)?;
    let mut contestants = contestants(sandbox, work, &input, figures)?;
    for contestant in &mut contestants {
        let (first, _) = contestant.round(work, TRIAL)?;
        let per_call = first.elapsed.max(Duration::from_nanos(100)) / TRIAL as u32;
        contestant.calls = ((ROUND.as_nanos() / per_call.as_nanos().max(1)) as usize).clamp(1, MOST);
        // Warms the caches.
        contestant.round(work, contestant.calls)?;
    }
    for _ in 0..ROUNDS {
        for contestant in &mut contestants {
            let (spent, right) = contestant.round(work, contestant.calls)?;
            ensure!(right, "{} gives a wrong output for {}", contestant.name, work.name);
            contestant.costs.push(spent);
        }
    }
    report(work, &contestants, figures);
    Ok(())
}

impl Contestant {
    fn new(name: &'static str, right: u32, caller: impl Caller + 'static) -> Self {
        Self { name, caller: Box::new(caller), right, calls: TRIAL, costs: Vec::new() }
    }

    fn round(&mut self, work: &Work, calls: usize) -> anyhow::Result<(Spent, bool)> {
        let (spent, sum) = self.caller.round(work, calls).with_context(|| self.name)?;
        Ok((spent, sum == self.right))
    }
}

/// Ours first. Missing contestants are noted.
fn contestants(sandbox: &Sandbox, work: &Work, input: &Path, figures: &mut Figures) -> anyhow::Result<Vec<Contestant>> {
    let wasm = std::fs::read(&work.plugin).with_context(|| format!("{}: run `make plugins`", work.plugin.display()))?;
    let grants = Grants { log: true, emit: false };
    let plugin = Plugin::load(sandbox, &wasm, grants, Bounds::default(), b"")?;
    let mut ours = Ours(plugin.instance());
    let (_, framed) = ours.round(work, 1)?;
    let plain = crc32(&work.plain);
    let stage = std::env::current_exe()?.with_file_name("inferbus-bench-stage");
    let python = root().join(".tools/venv/bin/python");
    let warm_stage = root().join("bench/peers/warm_stage.py");
    let mut all = vec![
        Contestant::new("ours", framed, ours),
        Contestant::new("wasmtime_fresh", framed, bare(&wasm, "transform", false)?),
        Contestant::new("process", plain, Once::new(&stage, work.function)),
        Contestant::new("process_warm", plain, Warm::start(&stage, &[work.function, "warm"])?),
    ];
    let python = Warm::start(&python, &[&warm_stage.to_string_lossy(), work.function])?;
    all.push(Contestant::new("python_warm", plain, python));
    let peers = root().join(".tools/peers");
    let (kept, extism) = (peers.join("guests/kept.wasm"), peers.join("guests/extism.wasm"));
    let input = input.to_string_lossy();
    let mut add = |name: &'static str, needs: &[&str], right, make: &dyn Fn() -> anyhow::Result<Box<dyn Caller>>| {
        let made = match needs.iter().find_map(|need| missing(need)) {
            Some(lack) => Err(anyhow::anyhow!(lack)),
            None => make(),
        };
        match made {
            Ok(caller) => all.push(Contestant { name, caller, right, calls: TRIAL, costs: Vec::new() }),
            Err(fault) => figures.note(format!("sandbox_peer {name}.{}: {fault:#}", work.name)),
        }
    };
    add("wasmtime_reused", &["guests"], plain, &|| Ok(Box::new(bare(&std::fs::read(&kept)?, work.function, true)?)));
    let script = |program: &str, module: &Path, arguments: &[&str]| -> anyhow::Result<Box<dyn Caller>> {
        let module = module.to_string_lossy();
        Ok(Box::new(Script::start(&peers.join(program), &[&[&*module], arguments].concat())?))
    };
    add("extism", &["guests", "extism", "extism-host"], plain, &|| {
        script("extism-host/host", &extism, &[work.function, &input])
    });
    add("wazero_fresh", &["wazero"], framed, &|| {
        script("wazero/wazero", &work.plugin, &["transform", &input, "fresh"])
    });
    add("wazero_reused", &["wazero", "guests"], plain, &|| {
        script("wazero/wazero", &kept, &[work.function, &input, "reused"])
    });
    Ok(all)
}

struct Ours(Instance);

impl Caller for Ours {
    fn round(&mut self, work: &Work, calls: usize) -> anyhow::Result<(Spent, u32)> {
        let started = Spent::so_far();
        for _ in 1..calls {
            self.0.call(work.input.len(), &mut |room| room.copy_from_slice(&work.input), &mut |_| {})?;
        }
        let reply = self.0.call(work.input.len(), &mut |room| room.copy_from_slice(&work.input), &mut |_| {})?;
        let spent = started.since();
        Ok((spent, crc32(reply.output.context("no output")?)))
    }
}

fn bare(wasm: &[u8], function: &'static str, reused: bool) -> anyhow::Result<Bare> {
    Bare::new(wasm, function, reused).map_err(foreign)
}

impl Caller for Bare {
    fn round(&mut self, work: &Work, calls: usize) -> anyhow::Result<(Spent, u32)> {
        let started = Spent::so_far();
        for _ in 1..calls {
            self.call(&work.input, |_| ()).map_err(foreign)?;
        }
        self.call(&work.input, |output| (started.since(), crc32(output))).map_err(foreign)
    }
}

/// Converts Wasmtime's error type.
fn foreign(fault: wasmtime::Error) -> anyhow::Error {
    anyhow::anyhow!("{fault:#}")
}

impl Caller for Once {
    fn round(&mut self, work: &Work, calls: usize) -> anyhow::Result<(Spent, u32)> {
        let (spent, output) = self.calls(&work.input, calls)?;
        Ok((spent, crc32(&output)))
    }
}

impl Caller for Warm {
    fn round(&mut self, work: &Work, calls: usize) -> anyhow::Result<(Spent, u32)> {
        let (spent, output) = self.calls(&work.input, calls)?;
        Ok((spent, crc32(output)))
    }
}

impl Caller for Script {
    fn round(&mut self, _: &Work, calls: usize) -> anyhow::Result<(Spent, u32)> {
        self.calls(calls)
    }
}

fn report(work: &Work, contestants: &[Contestant], figures: &mut Figures) {
    let Some((ours, theirs)) = contestants.split_first() else { return };
    let micros = |contestant: &Contestant, of: fn(&Spent) -> Duration| -> Vec<f64> {
        let calls = contestant.calls as f64;
        contestant.costs.iter().map(|spent| of(spent).as_secs_f64() * 1e6 / calls).collect()
    };
    let suffix = if work.name == "tiny" { String::new() } else { format!(".{}", work.name) };
    for contestant in contestants {
        let name = format!("sandbox_peer.{}{suffix}", contestant.name);
        figures.add(Figure::of(
            &format!("{name}.call_us"),
            "µs of processor time",
            micros(contestant, |spent| spent.cpu),
        ));
        let elapsed = micros(contestant, |spent| spent.elapsed);
        figures.add(Figure::of(&format!("{name}.elapsed_us"), "µs", elapsed));
    }
    for contestant in theirs {
        let ratios = micros(ours, |spent| spent.cpu).into_iter().zip(micros(contestant, |spent| spent.cpu));
        let ratios = ratios.map(|(ours, theirs)| ours / theirs);
        let name = format!("sandbox_peer.{}{suffix}.ratio", contestant.name);
        figures.add(Figure::of(&name, "× theirs, below 1 is ahead", ratios));
    }
}
