//! Real plugins in the real sandbox: the contract's own example, and plugins made with the SDK.
//!
//! `make plugins` compiles them into plugins/dist.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test's helper may panic as its tests do")]

use std::{fs, path::PathBuf};

use inferbus_abi::frame::{DataType, Frame, Tensor, encode};
use inferbus_sandbox::{Bounds, Ceilings, Emit, Fault, Grants, Import, LoadFault, Plugin, Sandbox, TrapKind};

const NO_GRANTS: Grants = Grants { log: false, emit: false };
const LOG: Grants = Grants { log: true, emit: false };
const LOG_AND_EMIT: Grants = Grants { log: true, emit: true };

fn load(wasm: &[u8], grants: Grants, config: &str) -> Result<Plugin, LoadFault> {
    let sandbox = Sandbox::new(Ceilings { instances: 8, ..Ceilings::default() }).unwrap();
    Plugin::load(&sandbox, wasm, grants, Bounds::default(), config.as_bytes())
}

fn compiled(name: &str) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../plugins/dist").join(name);
    fs::read(&path).unwrap_or_else(|fault| panic!("{}: {fault}; run `make plugins` first", path.display()))
}

/// The outcome of one message: the output or the fault, the emits, and the log as `level text`.
struct Outcome {
    output: Result<Option<Vec<u8>>, Fault>,
    emits: Vec<Emit>,
    log: Vec<String>,
}

impl Outcome {
    fn text(&self) -> &str {
        std::str::from_utf8(self.output.as_ref().unwrap().as_deref().unwrap()).unwrap()
    }
}

fn send(plugin: &Plugin, message: impl AsRef<[u8]>) -> Outcome {
    let message = message.as_ref();
    let mut log = Vec::new();
    let mut lane = plugin.instance();
    let reply = lane.call(message.len(), &mut |room| room.copy_from_slice(message), &mut |line| {
        log.push(format!("{:?} {}", line.level, line.text));
    });
    let (output, emits) = match reply {
        Ok(reply) => (Ok(reply.output.map(<[u8]>::to_vec)), reply.emits),
        Err(fault) => (Err(fault), Vec::new()),
    };
    Outcome { output, emits, log }
}

fn refusal(plugin: &Plugin, message: impl AsRef<[u8]>) -> String {
    match send(plugin, message).output {
        Err(Fault::Refused(text)) => text,
        other => panic!("not refused: {other:?}"),
    }
}

#[test]
fn the_contracts_wat_plugin_behaves_as_described() {
    let document = include_str!("../../../ABI.md");
    let (_, after) = document.split_once("```wat").unwrap();
    let (source, _) = after.split_once("```").unwrap();
    let echo = load(&wat::parse_str(source).unwrap(), NO_GRANTS, "").unwrap();
    assert_eq!(send(&echo, "hello").output, Ok(Some(b"hello".to_vec())));
    assert_eq!(send(&echo, "").output, Ok(None));
    assert_eq!(send(&echo, [7; 65536]).output, Ok(Some(vec![7; 65536])));
    assert_eq!(send(&echo, [7; 65537]).output, Err(Fault::BadAlloc { len: 65537, ptr: 0 }));
}

/// An image of the digit camera: eight by eight pixels of one brightness, with the flags and the checksum given.
fn image(brightness: u8, flags: u8, crc: u32) -> Vec<u8> {
    let mut image = vec![b'D', b'C', b'A', b'M', 1, flags, 8, 0, 8, 0, 42, 0];
    image.extend(crc.to_le_bytes());
    image.extend([brightness; 64]);
    image
}

/// The CRC-32 of 64 bytes of 51.
const CRC_OF_51: u32 = 0xb671_fe60;

fn pixels(outcome: &Outcome) -> Vec<f32> {
    let output = outcome.output.as_ref().unwrap().as_deref().unwrap();
    let frame = Frame::decode(output).unwrap();
    assert_eq!(frame.len(), 1);
    let tensor = frame.get("pixels").unwrap();
    assert_eq!((tensor.dtype, tensor.shape), (DataType::F32, (&[1, 64]).into()));
    let (pixels, _) = tensor.data.as_chunks();
    pixels.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
}

fn logits(values: [f32; 10]) -> Vec<u8> {
    let data: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    encode(&[Tensor { name: "logits", dtype: DataType::F32, shape: (&[1, 10]).into(), data: &data }]).unwrap()
}

#[test]
fn a_pre_makes_the_models_input_or_a_refusal() {
    let pre = load(&compiled("digits-pre-1.0.0.wasm"), LOG, "").unwrap();
    assert_eq!(pre.inspection().imports, [Import::Log], "it never emits, so it does not import emit");
    let outcome = send(&pre, image(51, 0, CRC_OF_51));
    assert_eq!(pixels(&outcome), [0.2; 64]);
    assert!(outcome.log.is_empty());
    assert!(refusal(&pre, image(51, 0, 0)).starts_with("the pixels were damaged on the way"));
    assert_eq!(refusal(&pre, image(51, 1, CRC_OF_51)), "inverted images are read from version 1.1.0 on");
    assert_eq!(refusal(&pre, ""), "an image starts with a header of 16 bytes, the payload has 0");
}

#[test]
fn the_next_pre_reads_inverted_images_and_logs() {
    let pre = load(&compiled("digits-pre-1.1.0.wasm"), LOG, "").unwrap();
    let outcome = send(&pre, image(51, 1, CRC_OF_51));
    assert_eq!(pixels(&outcome), [0.8; 64]);
    assert_eq!(outcome.log, ["Debug image 42: 8x8, inverted"]);
    assert_eq!(pixels(&send(&pre, image(51, 0, CRC_OF_51))), [0.2; 64]);
}

#[test]
fn a_pres_frame_is_aligned_for_the_model() {
    let pre = load(&compiled("digits-pre-1.0.0.wasm"), LOG, "").unwrap();
    let message = image(51, 0, CRC_OF_51);
    let mut lane = pre.instance();
    let reply = lane.call(message.len(), &mut |room| room.copy_from_slice(&message), &mut |_| {}).unwrap();
    // Memory starts at a page, so host addresses have the alignment of the plugin's.
    assert!(reply.output.unwrap().as_ptr().addr().is_multiple_of(16));
}

#[test]
fn a_post_makes_the_result() {
    let scores = logits([0.0, 2.0, 0.0, 1.0, 0.0, 0.0, 0.0, 9.0, 0.0, 3.0]);
    let post = load(&compiled("digits-post-1.0.0.wasm"), LOG, "").unwrap();
    assert_eq!(send(&post, &scores).text(), r#"{"label":7,"confidence":0.9956}"#);
    assert!(refusal(&post, "logits").starts_with("not a tensor frame"));
    let post = load(&compiled("digits-post-1.1.0.wasm"), LOG, r#"{"threshold":0.999}"#).unwrap();
    assert!(send(&post, &scores).text().contains(r#""certain":false"#));
    let post = load(&compiled("digits-post-1.1.0.wasm"), LOG, "").unwrap();
    assert!(send(&post, &scores).text().contains(r#""certain":true"#));
}

#[test]
fn the_log_has_the_reason_for_a_rejected_config() {
    let fault = load(&compiled("digits-post-1.1.0.wasm"), LOG, r#"{"threshold":2}"#).map(drop).unwrap_err();
    let LoadFault::Init { fault: Fault::InitRefused { code: 1 }, last_words } = fault else {
        panic!("{fault:?}");
    };
    let reason = "the config is wrong: threshold is 2, it must lie between 0 and 1";
    assert_eq!(last_words.as_deref(), Some(reason));
}

#[test]
fn the_sdk_answers_filters_and_refuses() {
    let probe = load(&compiled("probe.wasm"), LOG_AND_EMIT, "").unwrap();
    assert_eq!(send(&probe, "answer yes").text(), "yes");
    assert_eq!(send(&probe, "answer ").output, Ok(Some(Vec::new())), "an empty result is a result");
    assert_eq!(send(&probe, "zeros-again").output, Ok(Some(vec![0; 2000])), "used memory is zeros, too");
    assert_eq!(send(&probe, "nothing").output, Ok(None));
    assert_eq!(refusal(&probe, "refuse not today"), "not today");
    assert_eq!(refusal(&probe, b"\xff"), "the input is not UTF-8 text: byte 0 is wrong");
}

#[test]
fn the_sdk_logs_and_emits() {
    let probe = load(&compiled("probe.wasm"), LOG_AND_EMIT, "").unwrap();
    assert_eq!(send(&probe, "log one two").log, ["Info one two"]);
    let emits = send(&probe, "emit line.7 full").emits;
    assert_eq!(emits, [Emit { topic: "line.7".into(), payload: b"full".to_vec() }]);
    assert_eq!(send(&probe, "emit a.* x").output, Err(Fault::BadEmitTopic("a.*".into())));
    assert_eq!(load(&compiled("probe.wasm"), LOG, "").map(drop), Err(LoadFault::NotGranted { import: "emit" }));
}

#[test]
fn a_panic_leaves_its_message_and_traps() {
    let probe = load(&compiled("probe.wasm"), LOG_AND_EMIT, "").unwrap();
    let outcome = send(&probe, "panic at the disco");
    assert!(matches!(outcome.output, Err(Fault::Trap { kind: TrapKind::Unreachable, .. })));
    let [line] = outcome.log.as_slice() else { panic!("{:?}", outcome.log) };
    assert!(line.starts_with("Error panicked at ") && line.ends_with("at the disco"), "{line}");
}

#[test]
fn a_plugins_misbehaviour_ends_with_its_message() {
    let probe = load(&compiled("probe.wasm"), LOG_AND_EMIT, "").unwrap();
    let Bounds { memory, time, output, .. } = Bounds::default();
    assert_eq!(send(&probe, "spin").output, Err(Fault::OutOfTime { limit: time }));
    assert_eq!(send(&probe, "hoard").output, Err(Fault::OutOfMemory { limit: memory }));
    assert_eq!(
        send(&probe, format!("zeros {}", output + 1)).output,
        Err(Fault::OutputTooLarge { len: output as u32 + 1, limit: output })
    );
    assert!(send(&probe, "recurse").output.is_err());
    assert_eq!(send(&probe, "count").text(), "1");
    assert_eq!(send(&probe, "count").text(), "1", "messages do not share state");
}
