//! The path without a broker: a fake network, real plugins, and the test's clock.

#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

use std::cell::{Cell, RefCell};
use std::time::{Duration, Instant};

use inferbus_abi::frame::{self, DataType, Shape, Tensor};
use inferbus_catalog_document::{Digest, parse_version};
use inferbus_engine::{Dim, FakeNetwork, ModelFault, Network as _, Port, Signature};
use inferbus_open_inference::{Content, Form};
use inferbus_pipeline::batch::{self, Message};
use inferbus_pipeline::{
    Context, Done, Encoding, Failure, Identity, MessageTimes, Parts, Payload, Plan, ResultEncoding, Stage, Transform,
    single,
};
use inferbus_sandbox::{Bounds, Ceilings, Emit, Grants, LogLine, Plugin, Sandbox};

/// A world whose clock advances by one millisecond per reading.
struct World {
    plan: Plan,
    began: Instant,
    looks: Cell<u32>,
    log: RefCell<Vec<String>>,
    runs: RefCell<Vec<usize>>,
}

fn world(plan: &Plan) -> World {
    World {
        plan: plan.clone(),
        began: Instant::now(),
        looks: Cell::default(),
        log: RefCell::default(),
        runs: RefCell::default(),
    }
}

impl Context for World {
    fn now(&self) -> Instant {
        self.looks.set(self.looks.get() + 1);
        self.began + Duration::from_millis(1) * self.looks.get()
    }

    fn model_ran(&self, messages: usize) {
        self.runs.borrow_mut().push(messages);
    }

    fn log(&self, stage: Stage, line: LogLine<'_>) {
        self.log.borrow_mut().push(format!("{} {:?} {}", self.plan.name(stage), line.level, line.text));
    }
}

/// Adds one to each of its bytes.
fn network() -> FakeNetwork {
    let port = |name: &str| Port { name: name.into(), dtype: DataType::U8, shape: vec![Dim::Symbolic("n".into())] };
    let signature = Signature { inputs: vec![port("x")], outputs: vec![port("y")] };
    FakeNetwork::new(signature, |inputs, take| {
        if inputs[0].data == b"fail" {
            return Err(ModelFault::Failed("told to".into()));
        }
        let data: Vec<u8> = inputs[0].data.iter().map(|byte| byte + 1).collect();
        take(&[Tensor { name: "y", data: &data, ..*inputs[0] }]);
        Ok(())
    })
}

fn plugin(wat: &str) -> Box<dyn Transform> {
    let sandbox = Sandbox::new(Ceilings::default()).unwrap();
    let bounds = Bounds { time: Duration::from_secs(10), ..Bounds::default() };
    let wasm = wat::parse_str(wat).unwrap();
    Box::new(Plugin::load(&sandbox, &wasm, Grants { log: true, emit: true }, bounds, b"").unwrap().instance())
}

fn parts(pre: Option<&str>, post: Option<&str>) -> Parts {
    Parts::chain(pre.map(plugin), network().session().unwrap(), post.map(plugin))
}

fn identity() -> Identity {
    Identity { model: "adder".parse().unwrap(), version: parse_version("1.0.0").unwrap(), digest: Digest::of(b"") }
}

fn run(parts: Parts, payload: &[u8]) -> (Result<Done, Failure>, MessageTimes, Vec<String>) {
    run_on(parts, payload, Encoding::Frame)
}

fn run_on(mut parts: Parts, payload: &[u8], encoding: Encoding) -> (Result<Done, Failure>, MessageTimes, Vec<String>) {
    let world = world(&parts.plan);
    let payload = Payload { bytes: payload, encoding, identity: &identity() };
    let (result, times) = single::run(&mut parts, payload, &world);
    (result, times, world.log.into_inner())
}

/// Adds one to each byte of all rows at once; a 255 anywhere fails them all.
fn rows() -> FakeNetwork {
    let open = |name: &str| Port { name: name.into(), dtype: DataType::U8, shape: vec![Dim::Symbolic("n".into())] };
    FakeNetwork::new(Signature { inputs: vec![open("x")], outputs: vec![open("y")] }, |inputs, take| {
        if inputs[0].data.contains(&255) {
            return Err(ModelFault::Failed("told to".into()));
        }
        let data: Vec<u8> = inputs[0].data.iter().map(|byte| byte + 1).collect();
        take(&[Tensor { name: "y", data: &data, ..*inputs[0] }]);
        Ok(())
    })
}

type End = Result<Option<Vec<u8>>, (u16, &'static str)>;

/// Runs payloads together: their outcomes, their emitted topics, and the size of each run.
fn run_together(
    pre: Option<&str>,
    post: Option<&str>,
    payloads: &[(&[u8], bool)],
) -> (Vec<(End, Vec<String>)>, Vec<usize>) {
    let mut parts = Parts::chain(pre.map(plugin), rows().session().unwrap(), post.map(plugin));
    let world = world(&parts.plan);
    let span = tracing::Span::none();
    let late = |late: bool| late.then_some(world.began);
    let identity = identity();
    let messages: Vec<_> = payloads
        .iter()
        .map(|(bytes, is_late)| Message {
            payload: Payload { bytes, encoding: Encoding::Frame, identity: &identity },
            deadline: late(*is_late),
            span: &span,
        })
        .collect();
    let ends = batch::run(&mut parts, rows().signature(), &messages, &world);
    let ends = ends.into_iter().map(|(result, _)| match result {
        Ok(done) => {
            let topics = done.emits.into_iter().map(|emit| emit.topic).collect();
            (Ok(done.output.map(|output| output.to_vec())), topics)
        }
        Err(failure) => (Err((failure.verdict().code, world.plan.name(failure.stage))), Vec::new()),
    });
    (ends.collect(), world.runs.into_inner())
}

fn given(data: &[u8]) -> End {
    let shape = [data.len() as u64];
    let tensor = Tensor { name: "y", dtype: DataType::U8, shape: Shape::from(&shape[..]), data };
    Ok(Some(frame::encode(&[tensor]).unwrap()))
}

#[test]
fn messages_share_a_run_and_each_has_its_own_result_and_emits() {
    let frames = [frame_of(&[1]), frame_of(&[2, 3]), frame_of(&[4])];
    let payloads: Vec<_> = frames.iter().map(|frame| (frame.as_slice(), false)).collect();
    let (ends, runs) = run_together(Some(&echo("one")), Some(&echo("two")), &payloads);
    let topics = || vec!["one".to_owned(), "two".to_owned()];
    assert_eq!(ends, [&[2][..], &[3, 4], &[5]].map(|data| (given(data), topics())));
    assert_eq!(runs, [3]);
}

#[test]
fn whatever_is_wrong_with_one_message_leaves_its_neighbours_alone() {
    let frames = [frame_of(&[1]), b"no frame".to_vec(), frame_of(&[255]), frame_of(&[3]), frame_of(&[4])];
    let payloads: Vec<_> = frames.iter().enumerate().map(|(index, frame)| (frame.as_slice(), index == 3)).collect();
    let (ends, runs) = run_together(None, None, &payloads);
    let ends: Vec<_> = ends.into_iter().map(|(end, _)| end).collect();
    let (bad, failed, late) = (Err((400, "model")), Err((500, "model")), Err((408, "model")));
    assert_eq!(ends, [given(&[2]), bad, failed, late, given(&[5])]);
    assert_eq!(runs, [3, 1, 1, 1], "once for the remaining messages, then once for each");
}

#[test]
fn messages_that_a_plugin_filters_or_refuses_are_not_in_the_run() {
    let frame = frame_of(&[1]);
    let payloads = [(frame.as_slice(), false); 2];
    let (ends, runs) = run_together(Some(&constant(NOTHING, "")), None, &payloads);
    assert_eq!((ends, runs), (vec![(Ok(None), Vec::new()); 2], Vec::new()));
    let (ends, runs) = run_together(None, Some(&constant(ERROR_OF_4, "away")), &payloads);
    assert_eq!((ends, runs), (vec![(Err((422, "post")), Vec::new()); 2], vec![2]));
}

fn frame_of(data: &[u8]) -> Vec<u8> {
    let shape = [data.len() as u64];
    frame::encode(&[Tensor { name: "x", dtype: DataType::U8, shape: Shape::from(&shape[..]), data }]).unwrap()
}

/// A module that replies with its input, logs, and emits its input under `topic`.
fn echo(topic: &str) -> String {
    format!(
        r#"(module
  (import "inferbus" "log" (func $log (param i32 i32 i32)))
  (import "inferbus" "emit" (func $emit (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 16) "{topic}")
  (func (export "alloc") (param i32) (result i32) i32.const 1024)
  (func (export "transform") (param $ptr i32) (param $len i32) (result i64)
    (call $log (i32.const 2) (i32.const 16) (i32.const {len}))
    (drop (call $emit (i32.const 16) (i32.const {len}) (local.get $ptr) (local.get $len)))
    (i64.or (i64.shl (i64.extend_i32_u (local.get $ptr)) (i64.const 32)) (i64.extend_i32_u (local.get $len)))))"#,
        len = topic.len()
    )
}

/// A module with a constant reply.
fn constant(packed: &str, data: &str) -> String {
    format!(
        r#"(module (memory (export "memory") 1) (data (i32.const 16) "{data}")
  (func (export "alloc") (param i32) (result i32) i32.const 1024)
  (func (export "transform") (param i32 i32) (result i64) {packed}))"#
    )
}

const NOTHING: &str = "(i64.const 0)";
const ERROR_OF_4: &str = "(i64.const 0x8000001000000004)";
const OUTPUT_OF_4: &str = "(i64.const 0x0000001000000004)";
const TRAP: &str = "(unreachable)";

#[test]
fn a_payload_goes_through_all_stages_and_emits_come_in_order() {
    let (result, times, log) = run(parts(Some(&echo("one")), Some(&echo("two"))), &frame_of(b"abcd"));
    let done = result.unwrap();
    let seen = frame::Frame::decode(done.output.as_deref().unwrap()).unwrap();
    assert_eq!(seen.tensors().map(|tensor| tensor.data).collect::<Vec<_>>(), [b"bcde"]);
    assert_eq!(done.emits.iter().map(|emit: &Emit| emit.topic.as_str()).collect::<Vec<_>>(), ["one", "two"]);
    assert_eq!(log, ["pre Info one", "post Info two"]);
    let plan = Plan::chain(true, true);
    let steps: Vec<_> = plan.steps().map(|(stage, name)| (name, times.step(stage).as_millis())).collect();
    assert_eq!(steps, [("pre", 1), ("model", 1), ("post", 1)]);
    assert_eq!([times.lane_wait, times.batch_wait], [Duration::ZERO; 2]);
}

#[test]
fn without_plugins_tensors_go_in_and_tensors_come_out() {
    let (result, times, _) = run(parts(None, None), &frame_of(b"abcd"));
    let output = result.unwrap().output.unwrap();
    assert_eq!(frame::Frame::decode(&output).unwrap().tensors().next().unwrap().data, b"bcde");
    assert!(times.step(Plan::chain(false, false).model()) > Duration::ZERO);
}

#[test]
fn a_plugin_that_gives_nothing_ends_the_message_well() {
    let (in_pre, times, _) = run(parts(Some(&constant(NOTHING, "")), None), b"anything");
    assert!(in_pre.unwrap().output.is_none());
    assert_eq!(
        times.step(Plan::chain(true, false).model()),
        Duration::ZERO,
        "the model must not run for a message that pre filtered"
    );
    let (in_post, ..) = run(parts(None, Some(&constant(NOTHING, ""))), &frame_of(b"abcd"));
    assert!(in_post.unwrap().output.is_none());
}

/// Every failure of the path: pre, post, payload, stage, code, label.
#[test]
fn every_failure_has_its_stage_and_its_code() {
    type Case<'a> = (&'a str, Option<String>, Option<String>, Vec<u8>, &'static str, u16, &'static str);
    let other =
        frame::encode(&[Tensor { name: "z", dtype: DataType::U8, shape: Shape::from(&[1][..]), data: b"z" }]).unwrap();
    let some = |packed, data| Some(constant(packed, data));
    let cases: Vec<Case<'_>> = vec![
        ("pre refuses", some(ERROR_OF_4, "no!!"), None, b"x".to_vec(), "pre", 422, "refused"),
        ("pre traps", some(TRAP, ""), None, b"x".to_vec(), "pre", 500, "trapped"),
        ("pre returns junk", some(OUTPUT_OF_4, "junk"), None, b"x".to_vec(), "pre", 502, "misfit"),
        ("pre's tensors do not fit", Some(echo("t")), None, other.clone(), "model", 502, "misfit"),
        ("the payload is no frame", None, None, b"junk".to_vec(), "model", 400, "bad_tensors"),
        ("the payload's tensors do not fit", None, None, other, "model", 400, "bad_tensors"),
        ("the model fails", None, None, frame_of(b"fail"), "model", 500, "model_failed"),
        ("post refuses", None, some(ERROR_OF_4, "no!!"), frame_of(b"x"), "post", 422, "refused"),
        ("post traps", None, some(TRAP, ""), frame_of(b"x"), "post", 500, "trapped"),
    ];
    for (what, pre, post, payload, stage, code, label) in cases {
        let parts = parts(pre.as_deref(), post.as_deref());
        let plan = parts.plan.clone();
        let (result, ..) = run(parts, &payload);
        let failure = result.expect_err(what);
        let verdict = failure.verdict();
        assert_eq!((plan.name(failure.stage), verdict.code, verdict.label), (stage, code, label), "{what}: {failure}");
    }
}

#[test]
fn a_failed_message_leaves_the_parts_as_they_were() {
    let mut parts = parts(None, None);
    let world = world(&parts.plan);
    let (bad, good, identity) = (frame_of(b"fail"), frame_of(b"abcd"), identity());
    let mut ran =
        |bytes| single::run(&mut parts, Payload { bytes, encoding: Encoding::Frame, identity: &identity }, &world).0;
    assert!(ran(&bad).is_err());
    assert!(ran(&good).is_ok());
}

const JSON: Encoding = Encoding::Open(Form::Json { header_len: None });

/// A request of the Open Inference Protocol with these bytes for `x`.
fn asking(data: &[u8], more: &str) -> Vec<u8> {
    let len = data.len();
    format!(r#"{{"inputs":[{{"name":"x","datatype":"UINT8","shape":[{len}],"data":{data:?}}}]{more}}}"#).into_bytes()
}

#[test]
fn a_result_is_written_as_its_payload_was() {
    let (result, ..) = run_on(parts(None, None), &asking(b"abcd", r#","id":"7""#), JSON);
    let done = result.unwrap();
    assert_eq!(done.encoding, ResultEncoding::Open(Content::Json));
    let expected = concat!(
        r#"{"model_name":"adder","model_version":"1.0.0","id":"7","#,
        r#""outputs":[{"name":"y","datatype":"UINT8","shape":[4],"data":[98,99,100,101]}]}"#
    );
    assert_eq!(done.output.unwrap().as_ref(), expected.as_bytes());

    let binary = asking(b"abcd", r#","parameters":{"binary_data_output":true}"#);
    let done = run_on(parts(None, None), &binary, JSON).0.unwrap();
    let ResultEncoding::Open(Content::Binary { header_len }) = done.encoding else { panic!("{:?}", done.encoding) };
    assert_eq!(&done.output.unwrap()[header_len..], b"bcde");

    let done = run(parts(None, None), &frame_of(b"abcd")).0.unwrap();
    assert_eq!(done.encoding, ResultEncoding::Frame);
    let done = run_on(parts(None, Some(&echo("t"))), &asking(b"abcd", ""), JSON).0.unwrap();
    assert_eq!(done.encoding, ResultEncoding::Raw);
}

#[test]
fn a_request_that_cannot_be_answered_is_the_callers() {
    let failed = |payload: &[u8]| {
        let failure = run_on(parts(None, None), payload, JSON).0.unwrap_err();
        (failure.verdict().code, failure.stage, failure.to_string())
    };
    let (code, stage, text) = failed(b"{");
    assert_eq!((code, stage), (400, Stage::FIRST), "{text}");
    assert!(text.contains("is not JSON"), "{text}");
    let (code, _, text) = failed(&asking(b"abcd", r#","outputs":[{"name":"z"}]"#));
    assert_eq!(code, 400, "{text}");
    assert!(text.contains(r#"output "z""#) && text.contains(r#""y""#), "{text}");
}
