//! `make bench-parts`: how long each hot function takes on this machine, with criterion's statistics.
//!
//! They are those whose instructions `make guard` counts, prepared and checked in the same way. No goal is judged by what this
//! prints.
#![forbid(unsafe_code)]

#[path = "../src/bin/inferbus-bench-hot/functions.rs"]
#[allow(dead_code, reason = "criterion finds out by itself how often to call")]
mod functions;

use anyhow::Context as _;
use criterion::Criterion;

fn main() -> anyhow::Result<()> {
    let mut criterion = Criterion::default().configure_from_args();
    for hot in functions::ALL {
        let mut call = (hot.prepare)().context(hot.name)?;
        let mut ended = Ok(());
        criterion.bench_function(hot.name, |bencher| {
            bencher.iter(|| {
                if let Err(fault) = call() {
                    ended = Err(fault);
                }
            });
        });
        ended.context(hot.name)?;
    }
    criterion.final_summary();
    Ok(())
}
