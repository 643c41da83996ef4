//! Tensors, models and options without a fit are rejected with a sentence.

use crate::common::{bytes, floats, integers, load, network, run, runtime, tensor};
use inferbus_abi::frame::{DataType, encode_strings};
use inferbus_engine::{EngineFault, ModelFault, Network, OnnxNetwork, Options, limits};

fn fault(model: &str, inputs: &[inferbus_abi::frame::Tensor<'_>]) -> ModelFault {
    match run(&network(model), inputs) {
        Err(fault) => fault,
        Ok(outputs) => panic!("{model} took it and gave {outputs:?}"),
    }
}

#[test]
fn an_unknown_input_is_answered_with_the_known_ones() {
    let data = floats(&[0.0; 4]);
    let unknown = |input: &str, known: &str| ModelFault::UnknownInput { input: input.into(), known: known.into() };
    assert_eq!(fault("linear", &[tensor("z", DataType::F32, &[1, 4], &data)]), unknown("z", "\"x\""));
    let good = tensor("x", DataType::F32, &[1, 4], &data);
    let extra = tensor("z", DataType::F32, &[1, 4], &data);
    assert_eq!(fault("linear", &[good, extra]), unknown("z", "\"x\""));
    let unnamed = tensor("", DataType::F32, &[1, 4], &data);
    assert_eq!(fault("two_ports", &[unnamed]), unknown("", "\"left\", \"right\""));
    assert_eq!(fault("linear", &[good, unnamed]), unknown("", "\"x\""));
    assert_eq!(unknown("z", "\"x\"").to_string(), "unknown input \"z\"; the model takes \"x\"");
}

#[test]
fn a_missing_or_repeated_input_is_named() {
    let data = integers(&[1]);
    let right = tensor("right", DataType::I64, &[1], &data);
    assert_eq!(fault("two_ports", &[right]), ModelFault::MissingInput { input: "left".into() });
    assert_eq!(fault("linear", &[]), ModelFault::MissingInput { input: "x".into() });
    let data = floats(&[0.0; 4]);
    let x = tensor("x", DataType::F32, &[1, 4], &data);
    assert_eq!(fault("linear", &[x, x]), ModelFault::RepeatedInput { input: "x".into() });
}

#[test]
fn a_wrong_type_or_shape_says_what_was_expected() {
    let data = floats(&[0.0; 4]);
    let wrong = fault("linear", &[tensor("x", DataType::I32, &[1, 4], &data)]);
    let (expected, got) = (DataType::F32, DataType::I32);
    assert_eq!(wrong, ModelFault::WrongType { input: "x".into(), expected, got });
    assert_eq!(wrong.to_string(), "the model's input \"x\" takes f32, not i32");
    for shape in [&[4, 1][..], &[4], &[1, 1, 4], &[]] {
        let wrong = fault("linear", &[tensor("x", DataType::F32, shape, &data)]);
        let (expected, got) = ("[batch, 4]".to_owned(), format!("{shape:?}"));
        assert_eq!(wrong, ModelFault::WrongShape { input: "x".into(), expected, got });
        assert!(wrong.is_callers());
    }
}

/// Frames cannot carry these, but a run takes any tensors and passes their memory to native code.
#[test]
fn data_that_does_not_fit_its_shape_never_reaches_the_runtime() {
    let bad = |model: &str, dtype, shape: &[u64], data: &[u8]| {
        let fault = fault(model, &[tensor("x", dtype, shape, data)]);
        assert!(matches!(&fault, ModelFault::BadData { input, .. } if input == "x"), "{fault}");
        assert!(fault.is_callers());
    };
    let huge = i64::MAX as u64;
    bad("linear", DataType::F32, &[1, 4], &[0; 15]);
    bad("linear", DataType::F32, &[2, 4], &[0; 16]);
    bad("identity_f32", DataType::F32, &[huge, 2], &[0; 8]);
    bad("identity_f32", DataType::F32, &[huge + 1, 0], &[]);
    bad("identity_bool", DataType::Bool, &[1, 2], &[1, 2]);
    let two = encode_strings(["a", "b"]);
    bad("identity_string", DataType::String, &[1, 3], &two);
    bad("identity_string", DataType::String, &[1, 1], &two);
    bad("identity_string", DataType::String, &[1, 2], &two[..two.len() - 1]);
    bad("identity_string", DataType::String, &[huge, 1], &two);
    bad("identity_string", DataType::String, &[1, 1], &[1, 0, 0, 0, 0xff]);
    bad("unranked", DataType::F32, &[1; limits::MAX_RANK + 1], &[0; 4]);
}

#[test]
fn an_empty_tensor_with_a_huge_dimension_does_no_harm() {
    let shape = [0, i64::MAX as u64];
    match run(&network("identity_f32"), &[tensor("x", DataType::F32, &shape, &[])]) {
        Ok(outputs) => assert_eq!(outputs[0].shape, shape),
        Err(fault) => assert!(matches!(fault, ModelFault::Failed(_)), "{fault}"),
    }
}

#[test]
fn bytes_that_are_no_model_are_refused_with_a_sentence() {
    let refuse = |bytes: &[u8]| OnnxNetwork::load(&runtime(), bytes, Options::default()).err();
    let linear = bytes("linear");
    assert!(matches!(refuse(b""), Some(EngineFault::Refused(_))));
    assert!(matches!(refuse(b"\x7fELF\x02\x01\x01garbage"), Some(EngineFault::NotOnnx { .. })));
    assert!(matches!(refuse(&linear[..linear.len() - 1]), Some(EngineFault::NotOnnx { .. })));
    // A field known to protobuf, of a kind unknown to ONNX: the runtime itself rejects it.
    let mut other = linear.clone();
    let operator = other.windows(6).position(|at| at == b"MatMul").unwrap();
    other[operator] = b'X';
    let refused = refuse(&other).unwrap();
    assert!(matches!(&refused, EngineFault::Refused(why) if why.contains("XatMul")), "{refused}");
    for at in 0..linear.len() {
        let _ = refuse(&linear[..at]);
    }
}

#[test]
fn models_that_reach_outside_are_refused() {
    let external = load("external").err();
    assert_eq!(external, Some(EngineFault::ExternalData { tensor: "outside".into() }));
}

/// A file can be both: well-formed protobuf, and marked as ONNX Runtime's own, unscreened format.
#[test]
fn a_model_is_never_taken_for_the_runtimes_own_format() {
    let mut both = vec![0x7a, 14, 0, 0];
    both.extend_from_slice(b"ORTM");
    both.resize(16, 0);
    let refused = OnnxNetwork::load(&runtime(), both, Options::default()).err();
    assert_eq!(refused, Some(EngineFault::OrtFormat));
}

#[test]
fn models_whose_ports_are_not_tensors_are_refused() {
    for (model, port) in [("sequence_output", "y"), ("nested_sequence_input", "deep")] {
        assert_eq!(load(model).err(), Some(EngineFault::NotATensor { port: port.into() }));
    }
}

#[test]
fn threads_are_bounded() {
    for threads in [0, limits::MAX_THREADS + 1] {
        let refused = OnnxNetwork::load(&runtime(), bytes("linear"), Options { threads, ..Options::default() }).err();
        assert_eq!(refused, Some(EngineFault::BadThreads { threads }));
    }
}

#[test]
fn a_session_outlives_its_network() {
    let mut session = network("scalar").session().unwrap();
    let data = floats(&[4.0]);
    let mut ran = false;
    session.run(&[tensor("x", DataType::F32, &[], &data)], &mut |_| ran = true).unwrap();
    assert!(ran);
}
