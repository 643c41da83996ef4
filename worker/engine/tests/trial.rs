//! A trial process loads a model before this one: its report, and its possible ends.

use std::{path::PathBuf, time::Duration};

use inferbus_testkit::onnx;

use crate::common::{bytes, runtime};
use inferbus_engine::{EngineFault, Loaded, Options, TrialBounds, TrialProcess};

fn trial() -> TrialProcess {
    let program = PathBuf::from(env!("CARGO_BIN_EXE_inferbus-load-model"));
    TrialProcess { program, arguments: Vec::new(), bounds: TrialBounds::default() }
}

/// A shell script in place of the trial process.
fn script(script: &str) -> TrialProcess {
    TrialProcess { program: "/bin/sh".into(), arguments: vec!["-c".into(), script.into()], ..trial() }
}

fn tried(trial: &TrialProcess, bytes: &[u8]) -> Result<TrialReport, EngineFault> {
    trial.load(&runtime(), bytes, Options::default())
}

#[test]
fn a_good_model_comes_back_with_the_memory_that_it_takes() {
    assert!(tried(&trial(), &bytes("linear")).unwrap().memory < 16 << 20);
    let weighty = onnx::weighty(1024, 8);
    let memory = tried(&trial(), &weighty).unwrap().memory as usize;
    assert!((weighty.len()..2 * weighty.len()).contains(&memory), "{memory} for {}", weighty.len());
}

#[test]
fn a_model_that_the_runtime_refuses_is_refused_in_its_words() {
    let refused = tried(&trial(), &bytes("linear").repeat(2)).err();
    let here = inferbus_engine::OnnxNetwork::load(&runtime(), bytes("linear").repeat(2), Options::default()).err();
    assert!(matches!(refused, Some(EngineFault::Refused(_))), "{refused:?}");
    assert_eq!(refused, here);
}

#[test]
fn a_model_that_takes_too_much_is_stopped() {
    let little = TrialBounds { memory: 256 << 20, memory_per_byte: 0, ..TrialBounds::default() };
    let little = TrialProcess { bounds: little, ..trial() };
    assert!(tried(&little, &bytes("linear")).is_ok());
    let too_much = Err(EngineFault::TrialOutOfMemory { limit: 256 << 20 });
    assert_eq!(tried(&little, &onnx::weighty(1024, 48)), too_much);
    // It asks for it only when it runs.
    assert_eq!(tried(&little, &onnx::greedy(1 << 28)), too_much);
    let short = TrialBounds { processor_time: Duration::from_secs(1), ..TrialBounds::default() };
    let short = TrialProcess { bounds: short, ..trial() };
    let endless = tried(&trial(), &onnx::endless()).unwrap_err();
    assert!(endless.to_string().contains("does not end within 10s"), "{endless}");
    let options = Options { time: Duration::from_secs(60), ..Options::default() };
    let endless = short.load(&runtime(), &onnx::endless(), options);
    assert_eq!(endless, Err(EngineFault::TrialOutOfTime { limit: Duration::from_secs(1) }));
}

#[test]
fn however_the_process_ends_there_is_a_sentence() {
    let model = bytes("linear");
    let died = tried(&script("echo last words >&2; kill -SEGV $$"), &model).unwrap_err();
    assert_eq!(died, EngineFault::TrialDied { how: "signal 11".into(), words: "last words".into() });
    assert!(died.to_string().contains("ended the process that tried it"), "{died}");
    let died = tried(&script("exit 3"), &model).unwrap_err();
    assert!(matches!(&died, EngineFault::TrialDied { how, .. } if how.contains('3')), "{died}");
    let died = tried(&script("echo fine"), &model).unwrap_err();
    assert!(matches!(died, EngineFault::TrialDied { .. }), "{died}");
    let died = tried(&script("echo memory allocation of 7 bytes failed >&2; kill -ABRT $$"), &model).unwrap_err();
    assert!(matches!(died, EngineFault::TrialOutOfMemory { .. }), "{died}");
    let missing = TrialProcess { program: "/nowhere/inferbus".into(), ..trial() };
    let missing = tried(&missing, &model).unwrap_err();
    assert!(matches!(missing, EngineFault::NoTrial { .. }) && missing.may_pass(), "{missing}");
}

#[test]
fn a_process_that_does_not_end_is_ended() {
    let limit = Duration::from_millis(100);
    let waits = script("exec sleep 600");
    let waits = TrialProcess { bounds: TrialBounds { time: limit, ..TrialBounds::default() }, ..waits };
    assert_eq!(tried(&waits, &bytes("linear")), Err(EngineFault::TrialTooSlow { limit }));
}
