//! Measures reading a request and writing its response, compared with a tensor frame.
//!
//! Run: `cargo run -p inferbus-open-inference --example decoding_cost`.

#![allow(clippy::unwrap_used, reason = "a failed measurement may panic")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use inferbus_abi::frame::{DataType, Frame, Tensor, encode};
use inferbus_open_inference::{Form, Request};

const SPAN: Duration = Duration::from_millis(300);
const ROUNDS: usize = 5;

fn main() {
    for elements in [4_u64, 784, 150_528] {
        println!("{elements} x FP32: microseconds to read the request, to write the response, and the request's bytes");
        let numbers: Vec<f32> = (0..elements).map(|index| (index as f32 * 0.37).sin()).collect();
        let data: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        let shape = [1, elements];
        let tensor = Tensor { name: "x", dtype: DataType::F32, shape: (&shape).into(), data: &data };
        frame(tensor);
        let ask =
            |data: &str| format!(r#"{{"inputs":[{{"name":"x","datatype":"FP32","shape":[1,{elements}],{data}}}]"#);
        let size = format!(r#""parameters":{{"binary_data_size":{}}}"#, data.len());
        let mut binary = format!(r#"{},"parameters":{{"binary_data_output":true}}}}"#, ask(&size)).into_bytes();
        let header_len = Some(binary.len());
        binary.extend_from_slice(&data);
        open("JSON with binary data", Form::Json { header_len }, &binary, tensor);
        open("MessagePack", Form::MessagePack, &packed(tensor), tensor);
        let list = format!("{}}}", ask(&format!(r#""data":{}"#, serde_json::to_string(&numbers).unwrap())));
        open("JSON", Form::Json { header_len: None }, list.as_bytes(), tensor);
    }
}

/// Makes a MessagePack request from a response: the key `outputs` becomes `inputs`.
fn packed(tensor: Tensor<'_>) -> Vec<u8> {
    let request = Request::decode(Form::MessagePack, b"\x81\xa6inputs\x90").unwrap();
    let bytes = request.respond(&[tensor], "m", "1").unwrap().bytes;
    let at = bytes.windows(8).position(|window| window == b"\xa7outputs").unwrap();
    [&bytes[..at], b"\xa6inputs", &bytes[at + 8..]].concat()
}

fn frame(tensor: Tensor<'_>) {
    let bytes = encode(&[tensor]).unwrap();
    let read = least(|| _ = black_box(Frame::decode(black_box(&bytes))));
    let write = least(|| drop(black_box(encode(black_box(&[tensor])))));
    line("tensor frame", read, write, bytes.len());
}

fn open(what: &str, form: Form, bytes: &[u8], tensor: Tensor<'_>) {
    let request = Request::decode(form, bytes).unwrap();
    let read = least(|| drop(black_box(Request::decode(form, black_box(bytes)))));
    let write = least(|| drop(black_box(request.respond(black_box(&[tensor]), "m", "1.0.0"))));
    line(what, read, write, bytes.len());
}

fn line(what: &str, read: Duration, write: Duration, len: usize) {
    let micros = |time: Duration| time.as_secs_f64() * 1e6;
    println!("  {what:22} {:10.2} {:10.2} {len:10}", micros(read), micros(write));
}

/// The mean of the best round, since other work on the machine only adds time.
fn least(mut once: impl FnMut()) -> Duration {
    let round = |_| {
        let (began, mut count) = (Instant::now(), 0);
        while began.elapsed() < SPAN {
            once();
            count += 1;
        }
        began.elapsed() / count
    };
    (0..ROUNDS).map(round).min().unwrap()
}
