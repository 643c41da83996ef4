//! `make bench-parts`: the duration of each hot function on this machine, with criterion's statistics.
//!
//! The functions, their preparation and their checks are those of `make guard`. The output is not compared with goals.
#![forbid(unsafe_code)]

#[path = "../src/bin/inferbus-bench-hot/functions.rs"]
#[allow(dead_code, reason = "criterion chooses the number of calls")]
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
