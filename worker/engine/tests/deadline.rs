//! A run past its time is stopped, the next one is not, and no memory stays behind. A separate executable: it
//! measures the memory of its process.

mod common;

use std::{sync::Barrier, time::Duration};

use common::{floats, integers, runtime, tensor};
use inferbus_abi::frame::DataType;
use inferbus_engine::{Model, ModelFault, Network, OnnxNetwork, Options, Sharing, stuck_runs};
use inferbus_testkit::memory::own_resident;
use inferbus_testkit::onnx;

/// Long enough for a short run on a busy machine.
const LIMIT: Duration = Duration::from_millis(200);
/// More than a short run takes, and less than an endless one collects.
const MUCH: u64 = 32 << 20;
const SHORT: i64 = 10;
const ENDLESS: i64 = i64::MAX;

fn counting(sharing: Sharing) -> OnnxNetwork {
    let options = Options { time: LIMIT, sharing, ..Options::default() };
    OnnxNetwork::load(&runtime(), onnx::turns(), options).unwrap_or_else(|fault| panic!("{fault}"))
}

fn turn(session: &mut dyn Model, turns: i64) -> Result<i64, ModelFault> {
    let (data, mut count) = (integers(&[turns]), None);
    session.run(&[tensor("x", DataType::I64, &[], &data)], &mut |outputs| {
        count = outputs[0].data.first_chunk().map(|bytes| i64::from_le_bytes(*bytes));
    })?;
    count.ok_or_else(|| panic!("no count"))
}

#[test]
fn a_run_past_its_time_is_stopped_and_the_next_one_is_not() {
    for sharing in [Sharing::One, Sharing::Each] {
        let network = counting(sharing);
        let mut session = network.session().unwrap();
        for _ in 0..3 {
            assert_eq!(turn(session.as_mut(), SHORT), Ok(SHORT));
            let stopped = turn(session.as_mut(), ENDLESS);
            assert_eq!(stopped, Err(ModelFault::OutOfTime { limit: LIMIT }));
            assert_eq!(turn(session.as_mut(), SHORT), Ok(SHORT));
        }
    }
    assert_eq!(stuck_runs(), 0);
}

#[test]
fn who_runs_beside_an_endless_run_of_the_same_session_is_not_stopped() {
    let network = counting(Sharing::One);
    let (mut endless, mut short) = (network.session().unwrap(), network.session().unwrap());
    let begin = Barrier::new(2);
    std::thread::scope(|scope| {
        let running = scope.spawn(|| {
            begin.wait();
            turn(endless.as_mut(), ENDLESS)
        });
        begin.wait();
        while !running.is_finished() {
            assert_eq!(turn(short.as_mut(), SHORT), Ok(SHORT));
        }
        assert_eq!(running.join().unwrap(), Err(ModelFault::OutOfTime { limit: LIMIT }));
    });
}

/// The next run frees the memory collected by a stopped run.
#[test]
fn stopped_runs_leave_no_memory_behind() {
    let options = Options { time: LIMIT, ..Options::default() };
    let network = OnnxNetwork::load(&runtime(), onnx::collecting(), options).unwrap();
    let mut session = network.session().unwrap();
    let data = floats(&[1.0; 1024]);
    let mut run = |turns| {
        let turns = integers(&[turns]);
        let inputs = [tensor("x", DataType::I64, &[], &turns), tensor("v", DataType::F32, &[1024], &data)];
        session.run(&inputs, &mut |_| {})
    };
    assert_eq!(run(SHORT), Ok(()));
    let before = own_resident();
    assert_eq!(run(ENDLESS), Err(ModelFault::OutOfTime { limit: LIMIT }));
    let stopped = own_resident();
    assert_eq!(run(SHORT), Ok(()));
    let after = own_resident();
    println!("resident: {before} bytes before a run was stopped, {stopped} after it, {after} after a complete one");
    assert!(stopped > before + MUCH, "it collected nothing");
    assert!(after < before + MUCH, "{before} bytes grew to {after}");
}
