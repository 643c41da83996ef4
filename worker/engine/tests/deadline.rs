//! A run past its time is stopped, the next one is not, and nothing is left behind.

mod common;

use std::{sync::Barrier, time::Duration};

use common::{author, floats, integers, runtime, tensor};
use inferbus_abi::frame::DataType;
use inferbus_engine::{Model, ModelFault, Network, OnnxNetwork, Options, Sharing, stuck_runs};

/// Long enough for a short run on a busy machine.
const LIMIT: Duration = Duration::from_millis(200);
/// Kilobytes: more than a short run takes, and less than an endless one collects.
const MUCH: u64 = 32 << 10;
const SHORT: i64 = 10;
const ENDLESS: i64 = i64::MAX;

fn counting(sharing: Sharing) -> OnnxNetwork {
    let options = Options { time: LIMIT, sharing, ..Options::default() };
    OnnxNetwork::load(&runtime(), author::turns(), options).unwrap_or_else(|fault| panic!("{fault}"))
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

/// What a stopped run has collected is given back with the next run.
#[test]
fn stopped_runs_leave_no_memory_behind() {
    let options = Options { time: LIMIT, ..Options::default() };
    let network = OnnxNetwork::load(&runtime(), author::collecting(), options).unwrap();
    let mut session = network.session().unwrap();
    let data = floats(&[1.0; 1024]);
    let mut run = |turns| {
        let turns = integers(&[turns]);
        let inputs = [tensor("x", DataType::I64, &[], &turns), tensor("v", DataType::F32, &[1024], &data)];
        session.run(&inputs, &mut |_| {})
    };
    assert_eq!(run(SHORT), Ok(()));
    let before = common::resident();
    assert_eq!(run(ENDLESS), Err(ModelFault::OutOfTime { limit: LIMIT }));
    let stopped = common::resident();
    assert_eq!(run(SHORT), Ok(()));
    let after = common::resident();
    println!("{before} kB resident before a run was stopped, {stopped} kB after, {after} kB after one that was not");
    assert!(stopped > before + MUCH, "it collected nothing");
    assert!(after < before + MUCH, "{before} kB grew to {after} kB");
}
