//! Valid, invalid and random requests.
#![allow(clippy::unwrap_used)]

use inferbus_abi::frame::{DataType, Tensor, encode_strings};
use proptest::prelude::*;
use serde::Serialize as _;
use serde_json::{Value, json};

use crate::limits::{MAX_DATA, MAX_DEPTH, MAX_RANK, MAX_TENSORS};
use crate::{Content, Fault, Form, Request, oracle};

const JSON: Form = Form::Json { header_len: None };

fn request(document: &Value) -> Vec<u8> {
    serde_json::to_vec(document).unwrap()
}

fn input(datatype: &str, shape: Value, data: Value) -> Value {
    json!({"inputs": [{"name": "x", "datatype": datatype, "shape": shape, "data": data}]})
}

/// Type, shape and data of the only input.
fn decoded(form: Form, bytes: &[u8]) -> Result<(DataType, Vec<u64>, Vec<u8>), String> {
    let request = Request::decode(form, bytes).map_err(|fault| fault.to_string())?;
    let tensor = request.tensors().next().unwrap();
    Ok((tensor.dtype, tensor.shape.iter().collect(), tensor.data.to_vec()))
}

fn data(datatype: &str, shape: Value, data: Value) -> Result<Vec<u8>, String> {
    decoded(JSON, &request(&input(datatype, shape, data))).map(|(_, _, data)| data)
}

fn refused(document: &Value) -> String {
    Request::decode(JSON, &request(document)).err().unwrap().to_string()
}

#[test]
fn every_datatype_is_read_from_a_list() {
    let case = |datatype, list, bytes: &[u8]| assert_eq!(data(datatype, json!([2]), list).as_deref(), Ok(bytes));
    case("BOOL", json!([true, 0]), &[1, 0]);
    case("UINT8", json!([0, 255]), &[0, 255]);
    case("INT8", json!([-128, 127]), &[128, 127]);
    case("UINT16", json!([1, 65535]), &[1, 0, 255, 255]);
    case("INT16", json!([-1, 256]), &[255, 255, 0, 1]);
    case("UINT32", json!([1, u32::MAX]), &[1, 0, 0, 0, 255, 255, 255, 255]);
    case("INT32", json!([-1, 1]), &[255, 255, 255, 255, 1, 0, 0, 0]);
    case("UINT64", json!([u64::MAX, 0]), &[[255; 8], [0; 8]].concat());
    case("INT64", json!([i64::MIN, -1]), &[i64::MIN.to_le_bytes(), [255; 8]].concat());
    case("FP16", json!([1, -2.0]), &[0x00, 0x3c, 0x00, 0xc0]);
    case("BF16", json!([1.0, -2]), &[0x80, 0x3f, 0x00, 0xc0]);
    case("FP32", json!([0.1, 3]), &[0.1f32.to_le_bytes(), 3f32.to_le_bytes()].concat());
    case("FP64", json!([0.1, 3]), &[0.1f64.to_le_bytes(), 3f64.to_le_bytes()].concat());
    case("BYTES", json!(["ä\n", ""]), &encode_strings(["ä\n", ""]));
}

#[test]
fn data_is_flat_or_nested_as_its_shape() {
    let flat = data("UINT8", json!([2, 3]), json!([1, 2, 3, 4, 5, 6]));
    assert_eq!(flat, Ok(vec![1, 2, 3, 4, 5, 6]));
    assert_eq!(data("UINT8", json!([2, 3]), json!([[1, 2, 3], [4, 5, 6]])), flat);
    assert_eq!(data("UINT8", json!([]), json!([7])), Ok(vec![7]));
    assert_eq!(data("UINT8", json!([0, 3]), json!([])), Ok(vec![]));
    assert_eq!(data("UINT8", json!([2, 0]), json!([[], []])), Ok(vec![]));
    assert_eq!(data("UINT8", json!([2, 0]), json!([])), Ok(vec![]));

    let case = |shape, list, said: &str| {
        let fault = data("UINT8", shape, list).unwrap_err();
        assert!(fault.contains(said), "{fault}");
    };
    case(
        json!([2, 3]),
        json!([[1, 2, 3], [4, 5]]),
        "a list of `data` at depth 1 has 2 entries, and its dimension is 3",
    );
    case(json!([2, 3]), json!([[1, 2, 3]]), "at depth 0 has 1 entries");
    case(json!([2, 3]), json!([[1, 2, 3], 4]), "mixes");
    case(json!([2, 3]), json!([1, [2]]), "mixes");
    case(json!([2, 1]), json!([[[1]], [[2]]]), "deeper");
    case(json!([2]), json!([1, 2, 3]), "more than the 2 elements");
    case(json!([2]), json!([1]), "`data` has 1 elements, and its shape has 2");
    case(json!([2, 0]), json!([1]), "more than the 0 elements");
    case(json!([1]), json!(1), "a list of elements");
    case(json!([1]), json!([null]), "null");
    case(json!([1]), json!([{}]), "map");
}

#[test]
fn an_element_of_another_kind_is_named() {
    let case = |datatype, element, said: &str| {
        let fault = data(datatype, json!([2]), json!([element, element])).unwrap_err();
        assert!(fault.starts_with("input \"x\": element 0: ") && fault.contains(said), "{fault}");
    };
    case("UINT8", json!(256), "256 is out of the range of UINT8");
    case("UINT64", json!(-1), "-1 is out of the range of UINT64");
    case("INT8", json!(1.0), "1.0 is not INT8");
    case("INT32", json!("7"), "\"7\" is not INT32");
    case("BOOL", json!(2), "2 is not BOOL");
    case("FP32", json!(1e39), "1e39 is out of the range of FP32");
    case("FP16", json!(65520), "65520 is out of the range of FP16");
    case("FP32", json!(true), "true is not FP32");
    case("BYTES", json!(1), "1 is not BYTES");
}

#[test]
fn the_order_of_the_keys_means_nothing() {
    let sorted =
        br#"{"inputs":[{"data":[[1],[2]],"datatype":"INT16","name":"x","parameters":{"b":[{}]},"shape":[2,1]}]}"#;
    assert_eq!(decoded(JSON, sorted), Ok((DataType::I16, vec![2, 1], vec![1, 0, 2, 0])));
    let wrong = br#"{"inputs":[{"data":[[1],[99999]],"datatype":"INT16","name":"x","shape":[2,1]}]}"#;
    assert!(decoded(JSON, wrong).unwrap_err().contains("element 1: 99999 is out of the range of INT16"));
}

#[test]
fn an_invalid_request_is_rejected() {
    let not_json = |text: &str| Request::decode(JSON, text.as_bytes()).err().unwrap();
    assert!(matches!(not_json(""), Fault::NotJson(_)));
    assert!(matches!(not_json("{\"inputs\":["), Fault::NotJson(_)));
    assert!(matches!(not_json("{\"inputs\":[]} x"), Fault::NotJson(_)));
    for word in ["NaN", "Infinity", "-Infinity"] {
        let text = format!(r#"{{"inputs":[{{"name":"x","shape":[2],"datatype":"FP32","data":[1.0, {word}]}}]}}"#);
        assert_eq!(not_json(&text), Fault::NotJsonNumber, "{word}");
    }
    assert!(not_json("[]").to_string().contains("a map with `inputs`"));
    assert!(not_json("{}").to_string().contains("`inputs` is missing in the request"));
    assert!(not_json(r#"{"inputs":[],"inputs":[]}"#).to_string().contains("`inputs` is there twice"));

    let part = |key: &str, value: Value| {
        let mut document = input("UINT8", json!([1]), json!([1]));
        document["inputs"][0][key] = value;
        refused(&document)
    };
    assert!(part("datatype", json!("FLOAT")).contains("\"FLOAT\" is not a datatype"));
    assert!(part("shape", json!([-1])).contains("integer `-1`"));
    assert!(part("shape", json!([u64::MAX])).contains("a dimension is larger"));
    assert!(part("shape", json!(vec![1; MAX_RANK + 1])).contains("dimensions"));
    assert!(part("name", json!("n".repeat(2000))).contains("name has more than"));
    assert!(part("data", Value::Null).contains("null"));
    assert!(part("parameters", json!({"binary_data_size": 1})).contains("both `data` and a binary_data_size"));
    assert!(part("parameters", json!({"shared_memory_region": "r"})).contains("shared memory"));

    let one = json!({"name": "x", "datatype": "UINT8", "shape": [1], "data": [1]});
    assert!(refused(&json!({"inputs": [one, one]})).contains("two inputs are called \"x\""));
    let many: Vec<_> = (0..=MAX_TENSORS)
        .map(|index| json!({"name": index.to_string(), "datatype": "UINT8", "shape": [1], "data": [1]}))
        .collect();
    assert!(refused(&json!({ "inputs": many })).contains("more than 256 inputs"));
    let bare = json!({"inputs": [{"name": "x", "datatype": "UINT8", "shape": [1]}]});
    assert!(refused(&bare).contains("neither `data` nor binary data"));
    let mut asking = input("UINT8", json!([1]), json!([1]));
    asking["outputs"] = json!([{"name": "y", "parameters": {"classification": 3}}]);
    assert!(refused(&asking).contains("classification"));
}

#[test]
fn claims_do_not_allocate_memory() {
    for shape in [json!([MAX_DATA]), json!([i64::MAX, i64::MAX]), json!([1u64 << 40])] {
        assert!(data("FP64", shape, json!([1])).is_err());
    }
    // Two bytes of text for each eight of data.
    let text = format!(
        r#"{{"inputs":[{{"name":"x","shape":[{0}],"datatype":"FP64","data":[{1}0]}}]}}"#,
        MAX_DATA / 8 + 1,
        "0,".repeat(MAX_DATA / 8)
    );
    assert!(decoded(JSON, text.as_bytes()).unwrap_err().contains("the tensors take more than"));
}

fn with_binary(inputs: Value, binary: &[u8]) -> (Form, Vec<u8>) {
    let mut bytes = request(&json!({ "inputs": inputs }));
    let form = Form::Json { header_len: Some(bytes.len()) };
    bytes.extend_from_slice(binary);
    (form, bytes)
}

#[test]
fn binary_data_follows_the_json() {
    let inputs = json!([
        {"name": "x", "datatype": "FP16", "shape": [2], "parameters": {"binary_data_size": 4}},
        {"name": "y", "datatype": "UINT8", "shape": [1], "data": [9]},
        {"name": "z", "datatype": "BYTES", "shape": [1, 1], "parameters": {"binary_data_size": 6}},
    ]);
    let (form, bytes) = with_binary(inputs.clone(), b"\x01\x02\x03\x04\x02\0\0\0ab");
    let request = Request::decode(form, &bytes).unwrap();
    let tensors: Vec<_> = request.tensors().collect();
    assert_eq!(tensors[0].data, [1, 2, 3, 4]);
    assert_eq!(tensors[1].data, [9]);
    assert_eq!((tensors[2].data, tensors[2].dtype), (&encode_strings(["ab"])[..], DataType::String));

    let wrong = |binary: &[u8]| {
        let (form, bytes) = with_binary(inputs.clone(), binary);
        Request::decode(form, &bytes).err().unwrap().to_string()
    };
    assert!(wrong(b"\x01\x02\x03").contains("need 4 bytes of data, it has 3"));
    assert!(wrong(b"\x01\x02\x03\x04\x02\0\0\0ab!").contains("the binary data has 11 bytes"));
    assert!(wrong(b"\x01\x02\x03\x04\x03\0\0\0ab").contains("string 0 is cut short"));
    assert!(wrong(b"\x01\x02\x03\x04\x02\0\0\0a\xff").contains("not UTF-8"));
    let (_, bytes) = with_binary(inputs, b"");
    assert!(Request::decode(JSON, &bytes).err().unwrap().to_string().contains("Inference-Header-Content-Length"));
    let fault = Request::decode(Form::Json { header_len: Some(999_999) }, &bytes).err().unwrap();
    assert!(matches!(fault, Fault::HeaderTooLong { header: 999_999, .. }));
    let (form, bytes) = with_binary(
        json!([{"name": "x", "datatype": "BOOL", "shape": [2], "parameters": {"binary_data_size": 2}}]),
        &[1, 2],
    );
    assert!(Request::decode(form, &bytes).err().unwrap().to_string().contains("bool 1 is neither 0 nor 1"));
    let longer = json!([{"name": "x", "datatype": "BYTES", "shape": [1], "parameters": {"binary_data_size": 7}}]);
    let (form, bytes) = with_binary(longer, b"\x02\0\0\0ab!");
    assert!(Request::decode(form, &bytes).err().unwrap().to_string().contains("there are not 1 strings"));
    let (form, bytes) = with_binary(
        json!([{"name": "x", "datatype": "INT64", "shape": [2], "parameters": {"binary_data_size": 2}}]),
        &[1, 2],
    );
    assert!(Request::decode(form, &bytes).err().unwrap().to_string().contains("need 16 bytes of data, it has 2"));
}

fn packed(document: &Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    document.serialize(&mut rmp_serde::Serializer::new(&mut bytes)).unwrap();
    bytes
}

/// `{"inputs":[{"name":"x","datatype":…,"shape":[…],"data":<what follows>`.
fn packed_before_data(datatype: &str, shape: &[u8]) -> Vec<u8> {
    let text = |text: &str| [&[0xa0 | text.len() as u8][..], text.as_bytes()].concat();
    let mut bytes = [&[0x81][..], &text("inputs"), &[0x91, 0x84], &text("name"), &text("x")].concat();
    bytes.extend([&text("datatype")[..], &text(datatype), &text("shape"), &[0x90 | shape.len() as u8], shape].concat());
    bytes.extend(text("data"));
    bytes
}

#[test]
fn message_pack_is_the_same_map() {
    let document = input("INT16", json!([2, 1]), json!([[1], [-2]]));
    let expected = Ok((DataType::I16, vec![2, 1], vec![1, 0, 254, 255]));
    assert_eq!(decoded(Form::MessagePack, &packed(&document)), expected);
    let mut bytes = packed_before_data("INT16", &[2, 1]);
    bytes.extend([0xc4, 4, 1, 0, 254, 255]);
    assert_eq!(decoded(Form::MessagePack, &bytes), expected);
    bytes.push(0xc0);
    assert!(decoded(Form::MessagePack, &bytes).unwrap_err().contains("more follows"));
    bytes.truncate(bytes.len() - 2);
    assert!(decoded(Form::MessagePack, &bytes).unwrap_err().contains("while reading data"));

    let mut bytes = packed_before_data("INT16", &[2, 1]);
    bytes.extend([0xc4, 3, 1, 0, 254]);
    assert!(decoded(Form::MessagePack, &bytes).unwrap_err().contains("need 4 bytes of data, it has 3"));
    let mut bytes = packed_before_data("BYTES", &[2]);
    bytes.extend([0x92, 0xa1, b'a', 0xc4, 1, b'b']);
    assert_eq!(decoded(Form::MessagePack, &bytes), Ok((DataType::String, vec![2], encode_strings(["a", "b"]))));
}

#[test]
fn hostile_message_pack_is_refused() {
    // A list with a claimed length of four billion.
    let mut bytes = packed_before_data("FP64", &[127, 127, 127, 127]);
    bytes.extend([0xdd, 0xff, 0xff, 0xff, 0xff, 0]);
    assert!(Request::decode(Form::MessagePack, &bytes).is_err());
    let mut bytes = packed_before_data("FP64", &[1]);
    bytes.extend([0xc6, 0xff, 0xff, 0xff, 0xff, 0]);
    assert!(Request::decode(Form::MessagePack, &bytes).is_err());
    for deep in [0x91, 0x81] {
        for bytes in [vec![deep; 1 << 20], [&packed_before_data("FP64", &[1])[..], &[deep; 1 << 20]].concat()] {
            assert!(Request::decode(Form::MessagePack, &bytes).is_err());
        }
        // Also under an ignored key.
        let bytes = [&[0x81, 0xa1, b'x'][..], &[deep; MAX_DEPTH + 1], &[0xc0]].concat();
        assert!(matches!(Request::decode(Form::MessagePack, &bytes), Err(Fault::NotMessagePack(_))));
    }
    let nested = format!("{{\"inputs\":{}", "[".repeat(1 << 20));
    assert!(Request::decode(JSON, nested.as_bytes()).is_err());
    let ignored = format!("{{\"x\":{}", "[".repeat(1 << 20));
    assert!(Request::decode(JSON, ignored.as_bytes()).is_err());
}

fn tensor<'a>(name: &'a str, dtype: DataType, shape: &'a [u64], data: &'a [u8]) -> Tensor<'a> {
    Tensor { name, dtype, shape: shape.into(), data }
}

fn respond(form: Form, asked: Value, outputs: &[Tensor<'_>]) -> Result<(Content, Vec<u8>), Fault> {
    let mut document = input("UINT8", json!([1]), json!([1]));
    for (key, value) in asked.as_object().unwrap() {
        document[key] = value.clone();
    }
    let bytes = if form == Form::MessagePack { packed(&document) } else { request(&document) };
    let response = Request::decode(form, &bytes).unwrap().respond(outputs, "m", "1.2.3")?;
    Ok((response.content, response.bytes))
}

#[test]
fn a_response_has_the_requested_outputs() {
    let strings = encode_strings(["ä", ""]);
    let outputs = [
        tensor("a", DataType::F32, &[1, 2], &[0, 0, 0, 0x3f, 0, 0, 0x80, 0xbf]),
        tensor("b", DataType::String, &[2], &strings),
        tensor("c", DataType::Bool, &[0], &[]),
        tensor("d", DataType::F16, &[], &[0, 0x3c]),
    ];
    let (content, bytes) = respond(JSON, json!({"id": "7"}), &outputs).unwrap();
    assert_eq!(content, Content::Json);
    let whole: Value = serde_json::from_slice(&bytes).unwrap();
    let expected = json!({"model_name": "m", "model_version": "1.2.3", "id": "7", "outputs": [
        {"name": "a", "datatype": "FP32", "shape": [1, 2], "data": [0.5, -1.0]},
        {"name": "b", "datatype": "BYTES", "shape": [2], "data": ["ä", ""]},
        {"name": "c", "datatype": "BOOL", "shape": [0], "data": []},
        {"name": "d", "datatype": "FP16", "shape": [], "data": [1.0]},
    ]});
    assert_eq!(whole, expected);

    let asked = json!({"outputs": [{"name": "d"}, {"name": "a", "parameters": {"binary_data": false}}],
        "parameters": {"binary_data_output": true}});
    let (content, bytes) = respond(JSON, asked, &outputs).unwrap();
    let Content::Binary { header_len } = content else { panic!("{content:?}") };
    let header: Value = serde_json::from_slice(&bytes[..header_len]).unwrap();
    let expected = json!([
        {"name": "d", "datatype": "FP16", "shape": [], "parameters": {"binary_data_size": 2}},
        {"name": "a", "datatype": "FP32", "shape": [1, 2], "data": [0.5, -1.0]},
    ]);
    assert_eq!((&header["outputs"], &bytes[header_len..]), (&expected, &[0, 0x3c][..]));

    let fault = respond(JSON, json!({"outputs": [{"name": "e"}]}), &outputs).unwrap_err();
    assert_eq!(fault.to_string(), r#"the model lacks an output "e"; its outputs are "a", "b", "c", "d""#);
    assert!(!fault.is_form());
}

#[test]
fn values_outside_json_are_rejected() {
    let nan = f32::NAN.to_le_bytes();
    let output = [tensor("a", DataType::F32, &[1], &nan)];
    let fault = respond(JSON, json!({}), &output).unwrap_err();
    assert!(matches!(fault, Fault::OutputNotJson { element: 0, .. }) && fault.is_form());
    assert!(respond(JSON, json!({"parameters": {"binary_data_output": true}}), &output).is_ok());
    assert!(respond(Form::MessagePack, json!({"parameters": {"binary_data_output": false}}), &output).is_ok());
    let complex = [tensor("a", DataType::Complex64, &[1], &[0; 8])];
    assert!(matches!(respond(JSON, json!({}), &complex), Err(Fault::OutputType { dtype: "complex64", .. })));
}

#[test]
fn message_pack_has_bytes_unless_a_list_is_requested() {
    let output = [tensor("a", DataType::I16, &[2], &[1, 0, 2, 0])];
    let (content, bytes) = respond(Form::MessagePack, json!({}), &output).unwrap();
    assert_eq!(content, Content::MessagePack);
    assert!(bytes.ends_with(&[0xa4, b'd', b'a', b't', b'a', 0xc4, 4, 1, 0, 2, 0]), "{bytes:?}");
    let asked = json!({"outputs": [{"name": "a", "parameters": {"binary_data": false}}]});
    let (_, bytes) = respond(Form::MessagePack, asked, &output).unwrap();
    assert!(bytes.ends_with(&[0xa4, b'd', b'a', b't', b'a', 0x92, 1, 2]), "{bytes:?}");
}

/// Types with only finite bit patterns.
const WHOLE: [DataType; 8] = [
    DataType::U8,
    DataType::I8,
    DataType::U16,
    DataType::I16,
    DataType::U32,
    DataType::I32,
    DataType::U64,
    DataType::I64,
];

fn some_tensor() -> impl Strategy<Value = (DataType, Vec<u64>, Vec<u8>)> {
    let shape = prop::collection::vec(0u64..4, 0..4);
    let kind = prop_oneof![
        prop::sample::select(&WHOLE[..]).boxed(),
        prop::sample::select(
            &[DataType::F32, DataType::F64, DataType::F16, DataType::Bf16, DataType::Bool, DataType::String][..]
        )
        .boxed(),
    ];
    (shape, kind).prop_flat_map(|(shape, dtype)| {
        let count = shape.iter().product::<u64>() as usize;
        let data = match dtype {
            DataType::String => prop::collection::vec(".{0,5}", count).prop_map(encode_strings).boxed(),
            DataType::Bool => prop::collection::vec(0u8..2, count).boxed(),
            DataType::F32 => prop::collection::vec(prop::num::f32::NORMAL, count)
                .prop_map(|list| list.into_iter().flat_map(f32::to_le_bytes).collect())
                .boxed(),
            DataType::F64 => prop::collection::vec(prop::num::f64::NORMAL, count)
                .prop_map(|list| list.into_iter().flat_map(f64::to_le_bytes).collect())
                .boxed(),
            DataType::F16 | DataType::Bf16 => prop::collection::vec(0u16..0x7c00, count)
                .prop_map(|list| list.into_iter().flat_map(u16::to_le_bytes).collect())
                .boxed(),
            _ => prop::collection::vec(any::<u8>(), count * dtype.bits() as usize / 8).boxed(),
        };
        data.prop_map(move |data| (dtype, shape.clone(), data))
    })
}

/// Rewrites a response as a request with the same tensors.
fn again(content: Content, bytes: &[u8]) -> (Form, Vec<u8>) {
    let form = match content {
        Content::Json => JSON,
        Content::MessagePack => Form::MessagePack,
        Content::Binary { header_len } => Form::Json { header_len: Some(header_len) },
    };
    // The keys differ by one letter; a length prefix precedes each.
    let (from, to): (&[u8], &[u8]) = match form {
        Form::MessagePack => (b"\xa7outputs", b"\xa6inputs"),
        Form::Json { .. } => (b"\"outputs\"", b" \"inputs\""),
    };
    let at = bytes.windows(from.len()).position(|window| window == from).unwrap();
    (form, [&bytes[..at], to, &bytes[at + from.len()..]].concat())
}

proptest! {
    #[test]
    fn what_is_written_is_read_again((dtype, shape, data) in some_tensor(), packed: bool, binary: bool) {
        let form = if packed { Form::MessagePack } else { JSON };
        let asked = json!({"parameters": {"binary_data_output": binary}});
        let (content, bytes) = respond(form, asked, &[tensor("x", dtype, &shape, &data)]).unwrap();
        let (form, bytes) = again(content, &bytes);
        prop_assert_eq!(decoded(form, &bytes), Ok((dtype, shape, data)));
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), header in 0usize..200) {
        oracle(JSON, &bytes);
        oracle(Form::MessagePack, &bytes);
        oracle(Form::Json { header_len: Some(header) }, &bytes);
    }

    #[test]
    fn no_change_to_a_request_makes_it_panic(
        (dtype, shape, data) in some_tensor(), packed: bool, binary: bool,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let form = if packed { Form::MessagePack } else { JSON };
        let asked = json!({"parameters": {"binary_data_output": binary}});
        let (content, bytes) = respond(form, asked, &[tensor("x", dtype, &shape, &data)]).unwrap();
        let (form, mut bytes) = again(content, &bytes);
        for (index, byte) in changes {
            *index.get_mut(&mut bytes) = byte;
        }
        oracle(form, &bytes);
    }
}

#[test]
fn the_corpus_of_the_fuzzer_still_holds() {
    let corpus = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/request");
    let seed = |name: &str| std::fs::read(corpus.join(name)).unwrap();
    assert!(oracle(JSON, &seed("lists")[1..]));
    assert!(!oracle(JSON, &seed("cut")[1..]));
    assert!(oracle(Form::MessagePack, &seed("packed")[1..]));
    let binary = seed("binary");
    assert!(oracle(Form::Json { header_len: Some(binary[0].into()) }, &binary[1..]));
}
