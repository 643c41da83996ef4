//! The hot functions on the path of every message, one by one, so a changed count identifies the function.
//!
//! Guarantees: results are checked in every call. The functions do not use servers, files or the network. Only the
//! sandbox's clock depends on time.

use std::hint::black_box;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use async_nats::HeaderMap;
use inferbus::lanes::queue::{Queue, Queued};
use inferbus::models::registry::{Found, Registry, Slot};
use inferbus::nats::headers::{of_identity, of_message, write_encoding};
use inferbus_abi::frame::{self, DataType, Frame, Shape, Tensor};
use inferbus_catalog::{Digest, Mapping, ModelName, SubjectFilter, parse_version};
use inferbus_engine::{Model, ModelFault};
use inferbus_open_inference::{Form, pack};
use inferbus_pipeline::batch::BatchPolicy;
use inferbus_pipeline::encoding::Decoded;
use inferbus_pipeline::{
    Context, Encoding, Identity, MessageTimes, Parts, Payload, Plan, ResultEncoding, Stage, Transform, single,
};
use inferbus_sandbox::{Bounds, Ceilings, Grants, LogLine, Plugin, Sandbox};
use serde_json::json;
use tracing::Span;

/// A prepared function for repeated calls.
pub type Call = Box<dyn FnMut() -> anyhow::Result<()>>;

pub struct Hot {
    pub name: &'static str,
    /// Calls of the short run, enough to make one-time work negligible.
    pub calls: u64,
    pub prepare: fn() -> anyhow::Result<Call>,
}

pub const ALL: &[Hot] = &[
    Hot { name: "frame.decode", calls: 2000, prepare: frame_decode },
    Hot { name: "frame.encode", calls: 2000, prepare: frame_encode },
    Hot { name: "headers.result", calls: 2000, prepare: result_headers },
    Hot { name: "job.model_only", calls: 2000, prepare: model_only },
    Hot { name: "job.three_stages", calls: 1000, prepare: three_stages },
    Hot { name: "queue.push_take", calls: 2000, prepare: push_take },
    Hot { name: "registry.find", calls: 2000, prepare: registry_find },
    Hot { name: "sandbox.echo", calls: 1000, prepare: sandbox_echo },
    Hot { name: "subject.mapped", calls: 2000, prepare: subject_mapped },
    Hot { name: "v2.json_decode", calls: 100, prepare: json_decode },
    Hot { name: "v2.json_encode", calls: 100, prepare: json_encode },
    Hot { name: "v2.packed_decode", calls: 200, prepare: packed_decode },
];

/// The size of a small picture.
const ELEMENTS: usize = 784;
const WAITING_LINES: usize = 8;
const MODELS: usize = 100;
/// Few, because memory is reserved for all of them.
const INSTANCES: u32 = 4;

/// A plugin that echoes its input.
const ECHO: &str = r#"(module
    (memory (export "memory") 1)
    (func (export "alloc") (param i32) (result i32) i32.const 1024)
    (func (export "transform") (param $ptr i32) (param $len i32) (result i64)
        (i64.or (i64.shl (i64.extend_i32_u (local.get $ptr)) (i64.const 32))
                (i64.extend_i32_u (local.get $len)))))"#;

fn numbers() -> Vec<f32> {
    // Short numbers, like those of pictures.
    (0..ELEMENTS).map(|at| (at % 256) as f32 / 256.0).collect()
}

fn tensor(data: &[u8]) -> Tensor<'_> {
    Tensor { name: "x", dtype: DataType::F32, shape: Shape::from(&[1, ELEMENTS as u64]), data }
}

fn framed() -> anyhow::Result<Vec<u8>> {
    let numbers = numbers();
    let label = Tensor { name: "label", dtype: DataType::I64, shape: Shape::from(&[1]), data: &[0; 8] };
    Ok(frame::encode(&[tensor(bytemuck::cast_slice(&numbers)), label])?)
}

fn identity() -> anyhow::Result<Identity> {
    Ok(Identity { model: "digits".parse()?, version: parse_version("1.0.0")?, digest: Digest::of(b"") })
}

fn frame_decode() -> anyhow::Result<Call> {
    let bytes = framed()?;
    Ok(Box::new(move || {
        let frame = Frame::decode(black_box(&bytes))?;
        let len: usize = frame.tensors().map(|tensor| tensor.data.len()).sum();
        ensure!(len == ELEMENTS * 4 + 8, "the frame's tensors have {len} bytes");
        Ok(())
    }))
}

fn frame_encode() -> anyhow::Result<Call> {
    let (numbers, expected) = (numbers(), framed()?);
    Ok(Box::new(move || {
        let label = Tensor { name: "label", dtype: DataType::I64, shape: Shape::from(&[1]), data: &[0; 8] };
        let bytes = frame::encode(black_box(&[tensor(bytemuck::cast_slice(&numbers)), label]))?;
        ensure!(bytes.len() == expected.len(), "a frame of {} bytes", bytes.len());
        Ok(())
    }))
}

fn result_headers() -> anyhow::Result<Call> {
    let bundle = of_identity(&identity()?);
    let mut incoming = HeaderMap::new();
    incoming.insert("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
    let plan = Plan::chain(true, true);
    let mut times = MessageTimes::default();
    for ((stage, _), micros) in plan.steps().zip([12, 345, 6]) {
        times.set_step(stage, Duration::from_micros(micros));
    }
    Ok(Box::new(move || {
        let mut headers = of_message(black_box(&bundle), &plan, &times, &Span::none(), Some(&incoming));
        write_encoding(&mut headers, ResultEncoding::Frame);
        ensure!(headers.len() == bundle.len() + 2, "a result with {} headers", headers.len());
        Ok(())
    }))
}

fn registry_find() -> anyhow::Result<Call> {
    let registry = Registry::default();
    let names = (0..MODELS).map(|at| Ok((format!("model-{at}").parse::<ModelName>()?, Slot::cold())));
    registry.add(names.collect::<anyhow::Result<Vec<_>>>()?);
    Ok(Box::new(move || {
        let found = registry.find(black_box("model-42"));
        ensure!(matches!(&found, Found::Cold(name) if name.as_str() == "model-42"), "the model was not found");
        Ok(())
    }))
}

fn subject_mapped() -> anyhow::Result<Call> {
    let mapping = Mapping::new("camera.*.frames.>".parse::<SubjectFilter>()?, "results.{{wildcard(1)}}.digits")?;
    Ok(Box::new(move || {
        let subject = mapping.subject(black_box("camera.door-7.frames.high.1"));
        ensure!(subject.as_deref() == Some("results.door-7.digits"), "the subject became {subject:?}");
        Ok(())
    }))
}

struct Item {
    line: usize,
    since: Instant,
}

impl Queued for Item {
    fn same_line(&self, other: &Self) -> bool {
        self.line == other.line
    }
    fn policy(&self) -> BatchPolicy {
        BatchPolicy::SINGLE
    }
    fn is_urgent(&self) -> bool {
        false
    }
    fn bytes(&self) -> usize {
        ELEMENTS
    }
    fn queued_at(&self) -> Instant {
        self.since
    }
    fn may_start(&self) -> bool {
        true
    }
    fn start(&self) {}
}

/// Each line has one waiting item. A taken item is queued again.
fn push_take() -> anyhow::Result<Call> {
    let queue = Queue::new(WAITING_LINES);
    let since = Instant::now();
    for line in 0..WAITING_LINES {
        queue.push(Item { line, since }).ok().context("the queue is full")?;
    }
    let mut turn = Vec::with_capacity(1);
    Ok(Box::new(move || {
        ensure!(queue.take(black_box(&mut turn)), "the queue is closed");
        let item = turn.pop().context("an item of the queue")?;
        queue.push(item).ok().context("the queue is full")
    }))
}

fn echo() -> anyhow::Result<Plugin> {
    let sandbox = Sandbox::new(Ceilings { instances: INSTANCES, ..Ceilings::default() })?;
    // A simulated processor is fifty times slower.
    let bounds = Bounds { time: Ceilings::default().bounds.time, ..Bounds::default() };
    Ok(Plugin::load(&sandbox, &wat::parse_str(ECHO)?, Grants::default(), bounds, b"")?)
}

fn sandbox_echo() -> anyhow::Result<Call> {
    let mut lane = echo()?.instance();
    let input = framed()?;
    Ok(Box::new(move || {
        let reply = lane.call(input.len(), &mut |room| room.copy_from_slice(black_box(&input)), &mut |_| {})?;
        ensure!(reply.output.map(<[u8]>::len) == Some(input.len()), "the echo differs");
        Ok(())
    }))
}

/// A model that returns its first input, to count the work around a model.
struct Same;

impl Model for Same {
    fn run(&mut self, inputs: &[Tensor<'_>], take: &mut dyn FnMut(&[Tensor<'_>])) -> Result<(), ModelFault> {
        take(inputs.get(..1).unwrap_or_default());
        Ok(())
    }
}

/// A context with a fixed time.
struct Still(Instant);

impl Context for Still {
    fn now(&self) -> Instant {
        self.0
    }

    fn log(&self, _: Stage, _: LogLine<'_>) {}
}

fn job(mut parts: Parts) -> anyhow::Result<Call> {
    let (payload, identity, around) = (framed()?, identity()?, Still(Instant::now()));
    let numbers = numbers();
    let expected = frame::encode(&[tensor(bytemuck::cast_slice(&numbers))])?;
    Ok(Box::new(move || {
        let payload = Payload { bytes: black_box(&payload), encoding: Encoding::Frame, identity: &identity };
        let output = single::run(&mut parts, payload, &around).0?.output.context("a result of the message")?;
        ensure!(output == expected, "the result differs");
        Ok(())
    }))
}

fn model_only() -> anyhow::Result<Call> {
    job(Parts::chain(None, Box::new(Same), None))
}

fn three_stages() -> anyhow::Result<Call> {
    let plugin = echo()?;
    let stage = || Some(Box::new(plugin.instance()) as Box<dyn Transform>);
    job(Parts::chain(stage(), Box::new(Same), stage()))
}

fn json_form() -> Form {
    Form::Json { header_len: None }
}

fn document() -> serde_json::Value {
    json!({ "id": "1", "inputs": [{ "name": "x", "datatype": "FP32", "shape": [1, ELEMENTS], "data": numbers() }] })
}

fn decode(form: Form, payload: Vec<u8>) -> anyhow::Result<Call> {
    let identity = identity()?;
    Ok(Box::new(move || {
        let decoded = Encoding::Open(form).decode(black_box(&payload), &identity)?;
        let len: usize = decoded.tensors().iter().map(|tensor| tensor.data.len()).sum();
        ensure!(len == ELEMENTS * 4, "the request's tensors have {len} bytes");
        Ok(())
    }))
}

fn json_decode() -> anyhow::Result<Call> {
    decode(json_form(), serde_json::to_vec(&document())?)
}

fn packed_decode() -> anyhow::Result<Call> {
    decode(Form::MessagePack, pack(&document()))
}

fn json_encode() -> anyhow::Result<Call> {
    let (identity, numbers) = (identity()?, numbers());
    Ok(Box::new(move || {
        // The shortest request, because its decoding is counted, too.
        let decoded = Encoding::Open(json_form()).decode(br#"{"inputs":[]}"#, &identity)?;
        let output = Tensor { name: "y", ..tensor(bytemuck::cast_slice(&numbers)) };
        let (bytes, _) = Decoded::encode(Some(&decoded), black_box(&[output]))?;
        ensure!(bytes.len() > ELEMENTS, "a response of {} bytes", bytes.len());
        Ok(())
    }))
}
