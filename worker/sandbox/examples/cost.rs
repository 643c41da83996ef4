//! What one call costs, by the plugin's memory, payload and lanes at work: `cargo run -p inferbus-sandbox --example cost`.

use std::error::Error;
use std::hint::black_box;
use std::thread;

use inferbus_sandbox::{Bounds, Ceilings, Fault, Grants, Instance, Plugin, Sandbox};

const CALLS: u32 = 20_000;

fn main() -> Result<(), Box<dyn Error>> {
    let sandbox = Sandbox::new(Ceilings::default())?;
    for (pages, len) in [(2, 0), (2, 784), (2, 65_536), (18, 784), (18, 150_528)] {
        let plugin = Plugin::load(&sandbox, &echo(pages)?, Grants::default(), Bounds::default(), b"")?;
        for lanes in [1, 2] {
            let threads: Vec<_> =
                (0..lanes).map(|_| plugin.instance()).map(|lane| thread::spawn(move || micros(lane, len))).collect();
            let mut costs = Vec::new();
            for thread in threads {
                costs.push(thread.join().map_err(|_| "a lane panicked")??);
            }
            let mean = costs.iter().sum::<f64>() / costs.len() as f64;
            println!("{pages:3} pages of memory, {len:7} bytes in, {lanes} lanes: {mean:6.2} µs per call");
        }
    }
    Ok(())
}

fn micros(mut lane: Instance, len: usize) -> Result<f64, Fault> {
    let input = vec![7; len];
    let started = std::time::Instant::now();
    for _ in 0..CALLS {
        let reply = lane.call(len, &mut |room| room.copy_from_slice(&input), &mut |_| {})?;
        black_box(reply.output);
    }
    Ok(started.elapsed().as_secs_f64() * 1e6 / f64::from(CALLS))
}

/// Answers with its input, as a Rust guest does: with data beside the heap and a stack that is written to.
fn echo(pages: u32) -> Result<Vec<u8>, wat::Error> {
    wat::parse_str(format!(
        r#"(module
          (memory (export "memory") {pages})
          (data (i32.const 512) "some static data of the guest")
          (func (export "alloc") (param i32) (result i32) i32.const 1024)
          (func (export "transform") (param $ptr i32) (param $len i32) (result i64)
            (i32.store (i32.const 256) (local.get $len))
            (i64.or (i64.shl (i64.extend_i32_u (local.get $ptr)) (i64.const 32))
                    (i64.extend_i32_u (local.get $len)))))"#
    ))
}
