//! The sandbox alone: a stage in the sandbox, and the same source without it.
//!
//! Guarantees: both sides alternate in short rounds. Their outputs are compared bit by bit before the measurement.

use std::hint::black_box;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use bench_kernels::{image, tiny};
use inferbus_abi::frame::Frame;
use inferbus_sandbox::{Bounds, Ceilings, Grants, Instance, Plugin, Sandbox};

use crate::load::Load;
use crate::machine::clock::{micros, micros_at_once};
use crate::paper::figure::Figure;
use crate::paper::figures::Figures;
use crate::project::root;
use crate::subjects::plugin_cache;

const ROUNDS: usize = 101;
/// Calls of one round, for a few milliseconds.
const TINY_CALLS: usize = 2000;
const DIGITS_CALLS: usize = 400;
const IMAGE_CALLS: usize = 20;
/// Concurrent lanes, and the suffix of the figure's name.
const LANES: [(usize, &str); 2] = [(1, ""), (2, ".2_lanes")];
/// Instances for the measurement of memory.
const WARM: usize = 100;

pub fn measure(figures: &mut Figures) -> anyhow::Result<()> {
    let sandbox = Sandbox::new(Ceilings::default())?;
    stage(&sandbox, figures)?;
    digits(&sandbox, figures)?;
    picture(&sandbox, figures)?;
    figures.add(instance_memory()?);
    figures.add(plugin_cache::measure()?);
    Ok(())
}

fn plugin(sandbox: &Sandbox, name: &str) -> anyhow::Result<Plugin> {
    let file = root().join(format!("plugins/dist/{name}.wasm"));
    let wasm = std::fs::read(&file).with_context(|| format!("{}: run `make plugins` first", file.display()))?;
    let grants = Grants { log: true, emit: false };
    let plugin = Plugin::load(sandbox, &wasm, grants, Bounds::default(), b"").context(file.display().to_string())?;
    eprintln!("{name}: {}", plugin.strategy());
    Ok(plugin)
}

fn call(lane: &mut Instance, input: &[u8]) -> anyhow::Result<()> {
    let reply = lane.call(input.len(), &mut |room| room.copy_from_slice(black_box(input)), &mut |_| {})?;
    black_box(reply.output);
    Ok(())
}

/// The fixed cost: a tiny function, in the sandbox and called natively.
fn stage(sandbox: &Sandbox, figures: &mut Figures) -> anyhow::Result<()> {
    let plugin = plugin(sandbox, "bench-tiny")?;
    let input: [u8; tiny::LEN] = std::array::from_fn(|at| at as u8);
    let mut expected = [0; tiny::LEN];
    tiny::turn(&input, &mut expected);
    let mut lane = plugin.instance();
    let reply = lane.call(input.len(), &mut |room| room.copy_from_slice(&input), &mut |_| {})?;
    anyhow::ensure!(reply.output == Some(&expected), "the outputs of the sandboxed and the native stage differ");
    for (count, suffix) in LANES {
        let mut sandboxed: Vec<_> = (0..count).map(|_| plugin.instance()).collect();
        let mut native = vec![[0; tiny::LEN]; count];
        let mut extra = Vec::new();
        for _ in 0..ROUNDS {
            let ours = micros_at_once(&mut sandboxed, TINY_CALLS, |lane| call(lane, &input))?;
            let theirs = micros_at_once(&mut native, TINY_CALLS, |output| {
                tiny::turn(black_box(&input), black_box(output));
                Ok(())
            })?;
            extra.push(ours - theirs);
        }
        figures.add(Figure::of(&format!("sandbox.stage_extra_us{suffix}"), "µs more than native", extra));
    }
    Ok(())
}

fn digits(sandbox: &Sandbox, figures: &mut Figures) -> anyhow::Result<()> {
    let plugin = plugin(sandbox, "digits-pre-1.0.0")?;
    let payload = Load::pictures()?.into_iter().next().context("the first held-out picture")?.0;
    for (count, suffix) in LANES {
        let mut lanes: Vec<_> = (0..count).map(|_| plugin.instance()).collect();
        let rounds = (0..ROUNDS).map(|_| micros_at_once(&mut lanes, DIGITS_CALLS, |lane| call(lane, &payload)));
        let rounds = rounds.collect::<anyhow::Result<Vec<_>>>()?;
        figures.add(Figure::of(&format!("sandbox.stage_784_us{suffix}"), "µs per call", rounds));
    }
    Ok(())
}

/// The duration of each part of a call, summed over a round.
#[derive(Default)]
struct Parts {
    before: Duration,
    copy: Duration,
    after: Duration,
}

/// From a picture to a tensor: in the sandbox with all costs of a call, and natively into an existing buffer.
fn picture(sandbox: &Sandbox, figures: &mut Figures) -> anyhow::Result<()> {
    let plugin = plugin(sandbox, "bench-image")?;
    let picture: Vec<u8> = (0..image::LEN).map(|at| (at * 7919 % 251) as u8).collect();
    let mut native = vec![0.0; image::LEN];
    image::normalise(&picture, &mut native)?;
    let mut lane = plugin.instance();
    let same = compare(&mut lane, &picture, &native)?;
    anyhow::ensure!(same, "the sandboxed and the native picture differ");
    let (mut ours, mut theirs, mut parts) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let mut round = Parts::default();
        ours.push(micros(IMAGE_CALLS, || timed(&mut lane, &picture, &mut round))?);
        theirs.push(micros(IMAGE_CALLS, || Ok(image::normalise(black_box(&picture), black_box(&mut native))?))?);
        parts.push(round);
    }
    let ratio = ours.iter().zip(&theirs).map(|(ours, theirs)| ours / theirs);
    figures.add(Figure::of("sandbox.image_vs_native", "× sandbox.image_native_us", ratio));
    figures.add(Figure::of("sandbox.image_us", "µs per call", ours));
    figures.add(Figure::of("sandbox.image_native_us", "µs per call", theirs));
    let mut part = |name, of: fn(&Parts) -> Duration| {
        let times = parts.iter().map(|round| of(round).as_secs_f64() * 1e6 / IMAGE_CALLS as f64);
        figures.add(Figure::of(name, "µs elapsed per call", times));
    };
    part("sandbox.image_us.before_copy", |parts| parts.before);
    part("sandbox.image_us.copy", |parts| parts.copy);
    part("sandbox.image_us.after_copy", |parts| parts.after);
    Ok(())
}

fn compare(lane: &mut Instance, picture: &[u8], native: &[f32]) -> anyhow::Result<bool> {
    let reply = lane.call(picture.len(), &mut |room| room.copy_from_slice(picture), &mut |_| {})?;
    let frame = Frame::decode(reply.output.context("a result without a tensor")?)?;
    let tensor = frame.tensors().next().context("the picture's frame is empty")?;
    let in_place = tensor.data.as_ptr().addr().is_multiple_of(align_of::<f32>());
    let native: Vec<u8> = native.iter().flat_map(|number| number.to_le_bytes()).collect();
    Ok(in_place && tensor.shape == (&image::SHAPE).into() && tensor.data == native)
}

/// Before the copy: the guest's `alloc`, and possibly the reset. After the copy: the guest's `transform`.
fn timed(lane: &mut Instance, picture: &[u8], parts: &mut Parts) -> anyhow::Result<()> {
    let began = Instant::now();
    let (mut copy_began, mut copy_ended) = (began, began);
    let reply = lane.call(
        picture.len(),
        &mut |room| {
            copy_began = Instant::now();
            room.copy_from_slice(black_box(picture));
            copy_ended = Instant::now();
        },
        &mut |_| {},
    )?;
    black_box(reply.output);
    parts.before += copy_began - began;
    parts.copy += copy_ended - copy_began;
    parts.after += copy_ended.elapsed();
    Ok(())
}

/// Measured in new processes. This process would reuse memory.
fn instance_memory() -> anyhow::Result<Figure> {
    let program = std::env::current_exe()?;
    let ask = |_| {
        let output = std::process::Command::new(&program).arg("instance-memory").output()?;
        let text = String::from_utf8_lossy(&output.stdout);
        text.trim().parse().with_context(|| format!("instance-memory: {}", String::from_utf8_lossy(&output.stderr)))
    };
    let answers = (0..3).map(ask).collect::<anyhow::Result<Vec<f64>>>()?;
    Ok(Figure::of("sandbox.instance_kb", "KiB resident per warm instance", answers))
}

/// The growth of this process per warm instance of a small plugin, in KiB.
pub fn resident_per_instance() -> anyhow::Result<f64> {
    let plugin = plugin(&Sandbox::new(Ceilings::default())?, "digits-pre-1.0.0")?;
    let payload = Load::pictures()?.into_iter().next().context("the first held-out picture")?.0;
    let before = resident_kib()?;
    let mut lanes: Vec<_> = (0..WARM).map(|_| plugin.instance()).collect();
    for lane in &mut lanes {
        for _ in 0..3 {
            call(lane, &payload)?;
        }
    }
    Ok(resident_kib()?.saturating_sub(before) as f64 / WARM as f64)
}

fn resident_kib() -> anyhow::Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("VmRSS in /proc/self/status")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}
