//! The cost of one call with a rewind and with a fresh instance, by the plugin's memory, payload and active lanes:
//! `cargo run -p inferbus-sandbox --example cost`.

use std::error::Error;
use std::hint::black_box;
use std::thread;

use inferbus_sandbox::{Bounds, Ceilings, Fault, Grants, Instance, Plugin, Sandbox};

const CALLS: u32 = 10_000;
/// The quickest round counts, because other work on the machine only adds time.
const ROUNDS: u32 = 7;
const WARM: usize = 100;

/// A plugin with a dropped segment gets fresh instances, even if the code never runs.
const FRESH: &str = r#"(data $unused "x") (func (data.drop $unused))"#;

fn main() -> Result<(), Box<dyn Error>> {
    let sandbox = Sandbox::new(Ceilings::default())?;
    let load = |pages, more| {
        Plugin::load(&sandbox, &wat::parse_str(echo(pages, more))?, Grants::default(), Bounds::default(), b"")
            .map_err(Box::<dyn Error>::from)
    };
    for (pages, len) in [(1, 0), (2, 0), (2, 784), (2, 65_536), (4, 784), (8, 784), (18, 784), (18, 150_528)] {
        let (rewind, fresh) = (load(pages, "")?, load(pages, FRESH)?);
        for lanes in [1, 2] {
            let (mut rewound, mut made) = (f64::INFINITY, f64::INFINITY);
            for _ in 0..ROUNDS {
                rewound = rewound.min(mean(&rewind, lanes, len)?);
                made = made.min(mean(&fresh, lanes, len)?);
            }
            println!(
                "{:4} KiB of memory, {len:6} bytes in, {lanes} lanes: {rewound:6.2} µs rewound, {made:6.2} µs fresh: \
                 {:.2} ×",
                pages * 64,
                rewound / made
            );
        }
    }
    let grows = wat::parse_str(
        echo(2, "").replace("(global.set $stack", "(drop (memory.grow (i32.const 1))) (global.set $stack"),
    )?;
    let grows = Plugin::load(&sandbox, &grows, Grants::default(), Bounds::default(), b"")?;
    for lanes in [1, 2] {
        let cost = (0..ROUNDS).map(|_| mean(&grows, lanes, 784)).collect::<Result<Vec<_>, _>>()?;
        println!("grown by each message, {lanes} lanes: {:.2} µs", cost.into_iter().fold(f64::INFINITY, f64::min));
    }
    let small = load(2, "")?;
    println!("{} KiB of resident memory per warm instance of 128 KiB", resident(&small)? / WARM as u64);
    Ok(())
}

/// Microseconds per call, with `lanes` concurrent callers.
fn mean(plugin: &Plugin, lanes: u32, len: usize) -> Result<f64, Box<dyn Error>> {
    let threads: Vec<_> =
        (0..lanes).map(|_| plugin.instance()).map(|lane| thread::spawn(move || micros(lane, len))).collect();
    let mut sum = 0.0;
    for thread in threads {
        sum += thread.join().map_err(|_| "a lane panicked")??;
    }
    Ok(sum / f64::from(lanes))
}

fn micros(mut lane: Instance, len: usize) -> Result<f64, Fault> {
    let input = vec![7; len];
    let started = std::time::Instant::now();
    for _ in 0..CALLS {
        call(&mut lane, &input)?;
    }
    Ok(started.elapsed().as_secs_f64() * 1e6 / f64::from(CALLS))
}

fn call(lane: &mut Instance, input: &[u8]) -> Result<(), Fault> {
    let reply = lane.call(input.len(), &mut |room| room.copy_from_slice(input), &mut |_| {})?;
    black_box(reply.output);
    Ok(())
}

/// The growth of the process in KiB with this many warm instances.
fn resident(plugin: &Plugin) -> Result<u64, Box<dyn Error>> {
    let before = resident_kib()?;
    let mut lanes: Vec<_> = (0..WARM).map(|_| plugin.instance()).collect();
    for lane in &mut lanes {
        for _ in 0..3 {
            call(lane, &[7; 784])?;
        }
    }
    Ok(resident_kib()?.saturating_sub(before))
}

fn resident_kib() -> Result<u64, Box<dyn Error>> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS in /proc/self/status")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}

/// Replies with its input like a Rust guest: with data beside the heap and writes to a stack.
fn echo(pages: u32, more: &str) -> String {
    format!(
        r#"(module
          (memory (export "memory") {pages})
          (global $stack (mut i32) (i32.const 512))
          (data (i32.const 512) "some static data of the guest")
          (func (export "alloc") (param i32) (result i32) i32.const 1024)
          (func (export "transform") (param $ptr i32) (param $len i32) (result i64)
            (global.set $stack (i32.sub (global.get $stack) (i32.const 256)))
            (i32.store (global.get $stack) (local.get $len))
            (i64.or (i64.shl (i64.extend_i32_u (local.get $ptr)) (i64.const 32))
                    (i64.extend_i32_u (local.get $len))))
          {more})"#
    )
}
