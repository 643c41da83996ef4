//! Models run: every type, names, shapes, alignment, and several sessions at once.

use crate::common::{Owned, bytes, floats, integers, network, run, runtime, tensor};
use inferbus_abi::frame::{DataType, Frame, encode, encode_strings, encoded_len};
use inferbus_engine::{Dim, ModelFault, Network, OnnxNetwork, Options, Port};

const NUMBERS: [DataType; 12] = [
    DataType::F32,
    DataType::F64,
    DataType::F16,
    DataType::Bf16,
    DataType::I8,
    DataType::I16,
    DataType::I32,
    DataType::I64,
    DataType::U8,
    DataType::U16,
    DataType::U32,
    DataType::U64,
];

/// The one output of a model, given its one input.
fn only(name: &str, input: inferbus_abi::frame::Tensor<'_>) -> Owned {
    let mut outputs = run(&network(name), &[input]).unwrap_or_else(|why| panic!("{name}: {why}"));
    assert_eq!(outputs.len(), 1);
    outputs.remove(0)
}

fn expected(dtype: DataType, shape: &[u64], data: &[u8]) -> Owned {
    Owned { name: "y".into(), dtype, shape: shape.into(), data: data.into() }
}

#[test]
fn every_type_comes_back_as_it_went_in() {
    for dtype in NUMBERS {
        let len = (6 * dtype.bits() / 8) as u8;
        let data: Vec<u8> = (1..=len).collect();
        let output = only(&format!("identity_{dtype}"), tensor("x", dtype, &[2, 3], &data));
        assert_eq!(output, expected(dtype, &[2, 3], &data));
    }
    let output = only("identity_bool", tensor("x", DataType::Bool, &[1, 3], &[1, 0, 1]));
    assert_eq!(output, expected(DataType::Bool, &[1, 3], &[1, 0, 1]));
}

#[test]
fn strings_come_back_whole() {
    let data = encode_strings(["", "two words", "grüße 🦀", "nul\0inside", "", "last"]);
    let output = only("identity_string", tensor("x", DataType::String, &[3, 2], &data));
    assert_eq!(output, expected(DataType::String, &[3, 2], &data));
    let output = only("identity_string", tensor("x", DataType::String, &[0, 2], &[]));
    assert_eq!(output, expected(DataType::String, &[0, 2], &[]));
}

#[test]
fn data_is_right_wherever_it_lies_in_memory() {
    for dtype in NUMBERS {
        let len = 6 * dtype.bits() as usize / 8;
        let memory: Vec<u8> = (0..len as u8 + 16).collect();
        for offset in 0..16 {
            let data = &memory[offset..offset + len];
            let output = only(&format!("identity_{dtype}"), tensor("x", dtype, &[6, 1], data));
            assert_eq!(output.data, data, "{dtype} at {offset}");
        }
    }
}

#[test]
fn several_named_inputs_come_in_any_order() {
    let network = network("two_ports");
    let left = floats(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    let right = integers(&[7, -8]);
    let left = tensor("left", DataType::F32, &[2, 3], &left);
    let right = tensor("right", DataType::I64, &[2], &right);
    let expected = [
        Owned {
            name: "doubled".into(),
            dtype: DataType::F32,
            shape: vec![2, 3],
            data: floats(&[2.0, 4.0, 6.0, 8.0, 10.0, 12.0]),
        },
        Owned { name: "negated".into(), dtype: DataType::I64, shape: vec![2], data: integers(&[-7, 8]) },
    ];
    assert_eq!(run(&network, &[left, right]).unwrap(), expected);
    assert_eq!(run(&network, &[right, left]).unwrap(), expected);
}

#[test]
fn the_signature_says_what_the_model_takes_and_gives() {
    let network = network("linear");
    let port = |name: &str, size| Port {
        name: name.into(),
        dtype: DataType::F32,
        shape: vec![Dim::Symbolic("batch".into()), Dim::Fixed(size)],
    };
    assert_eq!(network.signature().inputs, [port("x", 4)]);
    assert_eq!(network.signature().outputs, [port("y", 3)]);
    assert_eq!(network.signature().inputs[0].to_string(), "f32 [batch, 4]");
}

#[test]
fn a_symbolic_dimension_takes_any_size_and_none() {
    let rows = |count: u64| (0..count * 4).map(|index| index as f32).collect::<Vec<_>>();
    for batch in [0, 1, 2, 33] {
        let input = rows(batch);
        let data = floats(&input);
        let output = only("linear", tensor("x", DataType::F32, &[batch, 4], &data));
        let weight = |row: usize, column: usize| (row * 3 + column) as f32;
        let result: Vec<f32> = input
            .chunks(4)
            .flat_map(|row| {
                let cell = |column| (0..4).map(|index| row[index] * weight(index, column)).sum::<f32>();
                [cell(0) + 1.0, cell(1) + 2.0, cell(2) + 3.0]
            })
            .collect();
        assert_eq!(output, expected(DataType::F32, &[batch, 3], &floats(&result)));
    }
}

#[test]
fn a_single_unnamed_tensor_is_the_only_input() {
    let data = floats(&[1.0]);
    let output = only("scalar", tensor("", DataType::F32, &[], &data));
    assert_eq!(output, expected(DataType::F32, &[], &floats(&[2.0])));
}

#[test]
fn an_input_without_a_shape_takes_any() {
    for shape in [vec![], vec![2], vec![1, 2, 1]] {
        let count: u64 = shape.iter().product();
        let data = floats(&vec![1.5; count as usize]);
        let output = only("unranked", tensor("x", DataType::F32, &shape, &data));
        assert_eq!(output, expected(DataType::F32, &shape, &floats(&vec![-1.5; count as usize])));
    }
}

#[test]
fn an_output_that_is_the_input_itself_can_be_read() {
    let data = floats(&[1.0, -2.0]);
    let outputs = run(&network("passthrough"), &[tensor("x", DataType::F32, &[2], &data)]).unwrap();
    let [same, negated] = outputs.try_into().unwrap();
    assert_eq!((same.name.as_str(), same.data), ("x", data));
    assert_eq!((negated.name.as_str(), negated.data), ("y", floats(&[-1.0, 2.0])));
}

#[test]
fn a_frame_goes_in_and_a_frame_comes_out() {
    let data = floats(&[1.0, 2.0, 3.0, 4.0]);
    let payload = encode(&[tensor("x", DataType::F32, &[1, 4], &data)]).unwrap();
    let inputs: Vec<_> = Frame::decode(&payload).unwrap().tensors().collect();
    let mut reply = Vec::new();
    let mut session = network("linear").session().unwrap();
    session
        .run(&inputs, &mut |outputs| {
            assert!(encoded_len(outputs).is_ok());
            reply = encode(outputs).unwrap();
        })
        .unwrap();
    let reply = Frame::decode(&reply).unwrap();
    assert_eq!(reply.get("y").unwrap().data, floats(&[61.0, 72.0, 83.0]));
}

#[test]
fn a_session_serves_on_after_a_fault() {
    let mut session = network("gather").session().unwrap();
    let mut gather = |index: i64| {
        let data = integers(&[index]);
        let mut value = None;
        session
            .run(&[tensor("index", DataType::I64, &[1], &data)], &mut |outputs| {
                value = outputs[0].data.first_chunk().map(|bytes| f32::from_le_bytes(*bytes));
            })
            .map(|()| value.unwrap())
    };
    assert_eq!(gather(1), Ok(20.0));
    let fault = gather(3).unwrap_err();
    assert!(matches!(&fault, ModelFault::Failed(why) if why.contains("indices")), "{fault}");
    assert!(!fault.is_callers());
    assert_eq!(gather(2), Ok(30.0));
}

/// A product large enough for both sessions to run at once, each on several threads.
#[test]
fn sessions_of_one_network_agree_with_each_other_and_with_arithmetic() {
    const SIZE: usize = 192;
    let cell = |row: usize, column: usize, seed: usize| ((row * 31 + column * 17 + seed) % 13) as f32 - 6.0;
    let matrix = |seed| -> Vec<f32> { (0..SIZE * SIZE).map(|at| cell(at / SIZE, at % SIZE, seed)).collect() };
    // Whole numbers this small are exact in f32, so the order of summation does not matter.
    let product = |a: &[f32], b: &[f32]| -> Vec<f32> {
        (0..SIZE * SIZE).map(|at| (0..SIZE).map(|k| a[at / SIZE * SIZE + k] * b[k * SIZE + at % SIZE]).sum()).collect()
    };
    for threads in [1, 2] {
        let network =
            OnnxNetwork::load(&runtime(), bytes("matmul"), Options { threads, ..Options::default() }).unwrap();
        let lane = |seed: usize| {
            let (a, b) = (matrix(seed), matrix(seed + 5));
            let expected = floats(&product(&a, &b));
            let (a, b) = (floats(&a), floats(&b));
            let shape = [SIZE as u64, SIZE as u64];
            let inputs = [tensor("a", DataType::F32, &shape, &a), tensor("b", DataType::F32, &shape, &b)];
            let mut session = network.session().unwrap();
            for _ in 0..50 {
                let mut same = false;
                session.run(&inputs, &mut |outputs| same = outputs[0].data == expected).unwrap();
                assert!(same);
            }
        };
        std::thread::scope(|scope| {
            for seed in [1, 2] {
                scope.spawn(move || lane(seed));
            }
        });
    }
}
