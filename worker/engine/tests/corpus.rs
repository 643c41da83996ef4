//! Hundreds of bad models: each is rejected, or survives a trial process and then this one.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::common::{bytes, runtime};
use inferbus_engine::{EngineFault, Network, OnnxNetwork, Options, TrialBounds, TrialProcess, stuck_runs, warm_up};
use inferbus_testkit::bad_models::{Bad, corpus};
use inferbus_testkit::memory::own_resident;

const SEED: u64 = 20_261_121;
const REAL: [&str; 6] = ["linear", "matmul", "gather", "two_ports", "identity_string", "scalar"];
const THREADS: usize = 2;

fn trial() -> TrialProcess {
    let bounds = TrialBounds {
        processor_time: Duration::from_secs(5),
        time: Duration::from_secs(60),
        memory: 384 << 20,
        ..TrialBounds::default()
    };
    TrialProcess { program: PathBuf::from(env!("CARGO_BIN_EXE_inferbus-load-model")), arguments: Vec::new(), bounds }
}

/// The end of a model in a few words; a fault of the engine fails the test.
fn meet(trial: &TrialProcess, bad: &Bad) -> &'static str {
    let options = Options { time: Duration::from_millis(100), ..Options::default() };
    match trial.load(&runtime(), &bad.bytes, options) {
        Ok(_) => {}
        Err(fault) => return refusal(&bad.name, &fault),
    }
    match OnnxNetwork::load(&runtime(), &bad.bytes, options) {
        Ok(network) => {
            let session = network.session();
            let mut session = session.unwrap_or_else(|fault| panic!("{} without a session: {fault}", bad.name));
            warm_up(network.signature(), session.as_mut());
            "loaded"
        }
        Err(fault) => panic!("{} survived its trial and was refused then: {fault}", bad.name),
    }
}

fn refusal(name: &str, fault: &EngineFault) -> &'static str {
    let sentence = fault.to_string();
    assert!(!sentence.is_empty() && !sentence.contains('\n') && sentence.len() < 2048, "{name}: {sentence}");
    match fault {
        EngineFault::NoTrial { .. } | EngineFault::TrialTooSlow { .. } => panic!("{name}: {sentence}"),
        EngineFault::Refused(_) | EngineFault::InTrial(_) => "refused by the runtime",
        EngineFault::TrialDied { how, words } => {
            println!("{name}: died of {how} {words}");
            "ended the process"
        }
        EngineFault::TrialOutOfTime { .. } | EngineFault::TrialOutOfMemory { .. } => "took too much",
        _ => "refused unread",
    }
}

#[test]
fn no_bad_model_ends_this_process() {
    let real: Vec<_> = REAL.iter().map(|name| bytes(name)).collect();
    let all = corpus(SEED, &real);
    assert!(all.len() > 300, "{}", all.len());
    let (trial, next, ends) = (trial(), AtomicUsize::new(0), Mutex::new(BTreeMap::new()));
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                while let Some(bad) = all.get(next.fetch_add(1, Ordering::Relaxed)) {
                    *ends.lock().unwrap().entry(meet(&trial, bad)).or_insert(0) += 1;
                }
            });
        }
    });
    let ends = ends.into_inner().unwrap();
    println!("{} bad models: {ends:?}; {} MiB resident", all.len(), own_resident() >> 20);
    assert_eq!(ends.values().sum::<i32>() as usize, all.len());
    assert_eq!(stuck_runs(), 0);
    assert!(own_resident() < 2 << 30, "{} MiB", own_resident() >> 20);
}
