//! Over the memory of a plugin: a call without writes, and a call with writes to every page.
//!
//! Memory is rewound after each call. Only touched pages should be rewound.

use std::hint::black_box;

use anyhow::{Context as _, ensure};
use inferbus_sandbox::{Bounds, Ceilings, Grants, Instance, Plugin, Sandbox};

use super::points::{Points, ROUNDS};
use crate::machine::clock::micros;
use crate::paper::curve::Kind;
use crate::paper::figures::Figures;

/// Of 64 KiB each.
const PAGES: [usize; 6] = [1, 4, 16, 64, 256, 1024];
const PAGE: usize = 64 << 10;
/// Calls of a round.
const IDLE_CALLS: usize = 20_000;
const BUSY_PAGES: usize = 20_000;
const LEAST_CALLS: usize = 50;
/// The input and its address. The plugin returns it in place.
const INPUT: &[u8] = b"sixteen bytes...";
const AT: usize = 1024;

pub fn measure(figures: &mut Figures) -> anyhow::Result<()> {
    let sandbox = Sandbox::new(Ceilings::default())?;
    let plugins = PAGES.map(|pages| {
        let load = |touches| load(&sandbox, pages, touches);
        anyhow::Ok((pages, load(false)?, load(true)?))
    });
    let plugins = plugins.into_iter().collect::<anyhow::Result<Vec<_>>>()?;
    let mut lanes: Vec<_> =
        plugins.iter().map(|(pages, idle, busy)| (*pages, idle.instance(), busy.instance())).collect();
    let mut memory = vec![1; PAGE * PAGES.into_iter().max().unwrap_or_default()];
    let mut points = Points::default();
    for number in 0..=ROUNDS {
        for (pages, idle, busy) in &mut lanes {
            let calls = (BUSY_PAGES / *pages).max(LEAST_CALLS);
            let (idle, busy) = (micros(IDLE_CALLS, || call(idle))?, micros(calls, || call(busy))?);
            let bare = bare(&mut memory[..*pages * PAGE], calls)?;
            eprintln!("{pages:5} pages: {idle:.2} µs, all touched {busy:.1} µs, bare {bare:.1} µs");
            let values = [idle, busy, bare, busy / bare];
            // The first round is a warm-up.
            if number > 0 {
                points.add((*pages * PAGE) as f64, &values);
            }
        }
    }
    let curves = [
        ("plugin_memory.call", Kind::Cost, "µs CPU per call, one page touched"),
        ("plugin_memory.touching_call", Kind::Cost, "µs CPU per call, every page touched"),
        ("plugin_memory.bare", Kind::Cost, "µs CPU to touch and clear as much natively"),
        ("plugin_memory.touching_vs_bare", Kind::Cost, "× touching and clearing natively"),
    ];
    points.curves(figures, "bytes of a plugin's memory", &curves);
    Ok(())
}

/// Native writes to every 4 KiB, then a clear of all memory.
fn bare(memory: &mut [u8], calls: usize) -> anyhow::Result<f64> {
    micros(calls, || {
        memory.iter_mut().step_by(4096).for_each(|byte| *byte = black_box(1));
        black_box(&mut *memory).fill(0);
        Ok(())
    })
}

/// A plugin that returns its input. With `touches`, it first writes to every 4 KiB of its memory except the first.
fn load(sandbox: &Sandbox, pages: usize, touches: bool) -> anyhow::Result<Plugin> {
    let touch = if touches {
        format!(
            "(local.set $at (i32.const 4096)) (loop $again
                (i32.store (local.get $at) (i32.const 1))
                (local.set $at (i32.add (local.get $at) (i32.const 4096)))
                (br_if $again (i32.lt_u (local.get $at) (i32.const {}))))",
            pages * PAGE
        )
    } else {
        String::new()
    };
    let source = format!(
        r#"(module (memory (export "memory") {pages})
            (func (export "alloc") (param i32) (result i32) (i32.const {AT}))
            (func (export "transform") (param $ptr i32) (param $len i32) (result i64) (local $at i32)
                {touch}
                (i64.or
                    (i64.shl (i64.extend_i32_u (local.get $ptr)) (i64.const 32))
                    (i64.extend_i32_u (local.get $len)))))"#
    );
    let bounds = Bounds { memory: pages * PAGE, ..Bounds::default() };
    let grants = Grants { log: false, emit: false };
    Plugin::load(sandbox, &wat::parse_str(source)?, grants, bounds, b"").with_context(|| format!("{pages} pages"))
}

fn call(lane: &mut Instance) -> anyhow::Result<()> {
    let reply = lane.call(INPUT.len(), &mut |room| room.copy_from_slice(black_box(INPUT)), &mut |_| {})?;
    ensure!(reply.output == Some(INPUT), "the plugin did not return its input");
    Ok(())
}
