//! The frame's guarantees, checked with random tensors and with broken bytes of every known kind.

use super::*;
use crate::limits::{MAX_NAME, MAX_RANK, MAX_TENSORS};
use alloc::{format, string::String, string::ToString, vec, vec::Vec};
use proptest::prelude::*;
use std::{fs, path::Path};

#[derive(Debug, Clone)]
struct Owned {
    name: String,
    dtype: DataType,
    shape: Vec<u64>,
    data: Vec<u8>,
}

impl Owned {
    fn view(&self) -> Tensor<'_> {
        let shape = Shape::from(self.shape.as_slice());
        Tensor { name: &self.name, dtype: self.dtype, shape, data: &self.data }
    }
}

/// A tensor of any type; about half of the dimensions are zero or one.
fn any_tensor() -> impl Strategy<Value = Owned> {
    let dimension = prop_oneof![Just(0u64), Just(1), 2u64..5];
    let shape = prop::collection::vec(dimension, 0..5);
    let dtype = prop::sample::select(DataType::ALL);
    (dtype, shape, "\\PC{0,12}").prop_flat_map(|(dtype, shape, name)| {
        let elements = shape.iter().product::<u64>() as usize;
        data_of(dtype, elements).prop_map(move |data| Owned { name: name.clone(), dtype, shape: shape.clone(), data })
    })
}

fn data_of(dtype: DataType, elements: usize) -> BoxedStrategy<Vec<u8>> {
    let len = (elements * dtype.bits() as usize).div_ceil(8);
    match dtype {
        DataType::String => prop::collection::vec("\\PC{0,9}", elements).prop_map(encode_strings).boxed(),
        DataType::Bool => prop::collection::vec(0u8..2, elements).boxed(),
        _ => prop::collection::vec(any::<u8>(), len).boxed(),
    }
}

/// Up to six tensors with different names.
fn any_tensors() -> impl Strategy<Value = Vec<Owned>> {
    prop::collection::vec(any_tensor(), 0..7).prop_map(|mut tensors| {
        let mut seen = Vec::new();
        tensors.retain(|tensor| {
            let new = !seen.contains(&tensor.name);
            seen.push(tensor.name.clone());
            new
        });
        tensors
    })
}

proptest! {
    #[test]
    fn decoding_what_was_encoded_gives_the_same_tensors(owned in any_tensors()) {
        let tensors: Vec<_> = owned.iter().map(Owned::view).collect();
        let bytes = encode(&tensors).unwrap();
        let frame = Frame::decode(&bytes).unwrap();
        prop_assert_eq!(frame.tensors().collect::<Vec<_>>(), tensors);
        prop_assert_eq!(frame.tensors().len(), owned.len());
        prop_assert!(oracle(&bytes));
    }

    #[test]
    fn encoding_over_used_memory_leaves_none_of_it(owned in any_tensors(), dirt: u8) {
        let tensors: Vec<_> = owned.iter().map(Owned::view).collect();
        let mut place = vec![dirt; encoded_len(&tensors).unwrap()];
        encode_into(&tensors, &mut place).unwrap();
        prop_assert_eq!(place, encode(&tensors).unwrap());
    }

    #[test]
    fn a_blank_that_is_filled_is_what_encoding_gives(owned in any_tensor(), dirt: u8) {
        let Tensor { name, dtype, shape, data } = owned.view();
        if dtype == DataType::String {
            prop_assert!(blank_len(name, dtype, shape).is_err());
        } else {
            let mut place = vec![dirt; blank_len(name, dtype, shape).unwrap()];
            blank_into(name, dtype, shape, &mut place).unwrap().copy_from_slice(data);
            prop_assert_eq!(place, encode(&[owned.view()]).unwrap());
        }
    }

    #[test]
    fn any_bytes_are_a_frame_or_a_fault(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        oracle(&bytes);
        oracle(&[MAGIC.as_slice(), &bytes].concat());
    }

    #[test]
    fn a_damaged_frame_is_a_frame_or_a_fault(
        owned in any_tensors(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in any::<prop::sample::Index>(),
    ) {
        let tensors: Vec<_> = owned.iter().map(Owned::view).collect();
        let mut bytes = encode(&tensors).unwrap();
        for (place, value) in damage {
            let place = place.index(bytes.len());
            bytes[place] = value;
        }
        oracle(&bytes);
        oracle(&bytes[..cut.index(bytes.len())]);
    }

    #[test]
    fn strings_survive(texts in prop::collection::vec("\\PC{0,30}", 0..20)) {
        let data = encode_strings(&texts);
        prop_assert_eq!(strings(&data).collect::<Vec<_>>(), texts);
    }

    #[test]
    fn strings_of_any_bytes_end(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
        prop_assert!(strings(&bytes).count() <= bytes.len() / 4);
    }
}

/// Two small tensors, `a` (two u8) and `b` (a scalar f32): header 0..8, `a` at 8..40, `b` at 40..72.
fn sample() -> Vec<u8> {
    let tensors = [
        Tensor { name: "a", dtype: DataType::U8, shape: (&[2]).into(), data: &[7, 9] },
        Tensor { name: "b", dtype: DataType::F32, shape: (&[]).into(), data: &[0, 0, 128, 63] },
    ];
    encode(&tensors).unwrap()
}

fn fault_of(change: impl FnOnce(&mut Vec<u8>)) -> FrameFault {
    let mut bytes = sample();
    change(&mut bytes);
    Frame::decode(&bytes).unwrap_err()
}

#[test]
fn each_flaw_is_named() {
    use FrameFault as F;
    assert_eq!(sample().len(), 72);
    assert_eq!(fault_of(|b| b[3] = b'2'), F::NotAFrame { found: *b"IBT2" });
    assert_eq!(fault_of(|b| b.truncate(2)), F::Truncated { at: 2, needed: 2 });
    assert_eq!(fault_of(|b| b.truncate(71)), F::Truncated { at: 71, needed: 1 });
    assert_eq!(fault_of(|b| b.push(0)), F::TrailingBytes { end: 72, extra: 1 });
    assert_eq!(fault_of(|b| b[4] = 1), F::TrailingBytes { end: 40, extra: 32 });
    assert_eq!(fault_of(|b| b[5] = 1), F::TooManyTensors { count: 258 });
    assert_eq!(fault_of(|b| b[8] = 0), F::UnknownDataType { tensor: 0, code: 0 });
    assert_eq!(fault_of(|b| b[8] = 27), F::UnknownDataType { tensor: 0, code: 27 });
    assert_eq!(fault_of(|b| b[9] = 33), F::RankTooHigh { tensor: 0, rank: 33 });
    assert_eq!(fault_of(|b| b[11] = 5), F::NameTooLong { tensor: 0, len: 0x501 });
    assert_eq!(fault_of(|b| b[12] = 3), F::WrongDataLength { tensor: 0, expected: 2, found: 3 });
    assert_eq!(fault_of(|b| b[23] = 128), F::DimensionTooLarge { tensor: 0, dimension: (1 << 63) + 2 });
    assert_eq!(fault_of(|b| b[24] = 0xff), F::NameNotUtf8 { tensor: 0 });
    assert_eq!(fault_of(|b| b[25] = 1), F::PaddingNotZero { at: 25 });
    assert_eq!(fault_of(|b| b[39] = 1), F::PaddingNotZero { at: 39 });
    assert_eq!(fault_of(|b| b[48] = b'a'), F::SameName { tensor: 1, earlier: 0 });
    assert_eq!(fault_of(|b| (b[8], b[33]) = (9, 7)), F::BadBool { tensor: 0, element: 0, found: 7 });
}

#[test]
fn a_shape_that_cannot_be_counted_is_a_fault() {
    let huge = [1 << 40, 1 << 40];
    let tensor = Tensor { name: "", dtype: DataType::U8, shape: (&huge).into(), data: &[] };
    assert_eq!(encode(&[tensor]), Err(FrameFault::TooManyElements { tensor: 0 }));
    let bits = Tensor { dtype: DataType::Complex128, shape: (&[1 << 60]).into(), ..tensor };
    assert_eq!(encode(&[bits]), Err(FrameFault::TooManyElements { tensor: 0 }));
    let empty = Tensor { shape: (&[1 << 40, 0, 1 << 40]).into(), ..tensor };
    assert!(oracle(&encode(&[empty]).unwrap()), "a zero empties it, in any position");
}

#[test]
fn the_number_of_strings_must_match_the_shape() {
    let data = encode_strings(["one", "two"]);
    let tensor = |shape| encode(&[Tensor { name: "s", dtype: DataType::String, shape, data: &data }]);
    assert!(tensor((&[2]).into()).is_ok());
    assert_eq!(tensor((&[1]).into()), Err(FrameFault::TooManyStrings { tensor: 0, elements: 1 }));
    assert_eq!(tensor((&[3]).into()), Err(FrameFault::BadStrings { tensor: 0, element: 2 }));
    assert_eq!(tensor((&[1 << 62]).into()), Err(FrameFault::BadStrings { tensor: 0, element: 2 }));
}

#[test]
fn the_bounds_hold_on_both_sides() {
    let names: Vec<_> = (0..=MAX_TENSORS).map(|index| index.to_string()).collect();
    let empty = Tensor { name: "", dtype: DataType::U8, shape: (&[0]).into(), data: &[] };
    let tensors: Vec<_> = names.iter().map(|name| Tensor { name, ..empty }).collect();
    assert!(oracle(&encode(&tensors[..MAX_TENSORS]).unwrap()));
    assert_eq!(encode(&tensors), Err(FrameFault::TooManyTensors { count: MAX_TENSORS + 1 }));

    let name = "n".repeat(MAX_NAME + 1);
    assert!(oracle(&encode(&[Tensor { name: &name[1..], ..empty }]).unwrap()));
    let fault = FrameFault::NameTooLong { tensor: 0, len: MAX_NAME + 1 };
    assert_eq!(encode(&[Tensor { name: &name, ..empty }]), Err(fault));

    let shape = [0; MAX_RANK + 1];
    assert!(oracle(&encode(&[Tensor { shape: shape[1..].into(), ..empty }]).unwrap()));
    let fault = FrameFault::RankTooHigh { tensor: 0, rank: MAX_RANK + 1 };
    assert_eq!(encode(&[Tensor { shape: (&shape).into(), ..empty }]), Err(fault));
}

#[test]
fn a_buffer_of_another_length_is_refused() {
    let fault = FrameFault::WrongBufferLength { expected: 8, found: 9 };
    assert_eq!(encode_into(&[], &mut [0; 9]), Err(fault));
}

#[test]
fn the_corpus_of_the_fuzzer_still_holds() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/frame");
    let files = fs::read_dir(&corpus).expect("the corpus is committed");
    let bytes: Vec<_> = files.map(|file| fs::read(file.unwrap().path()).unwrap()).collect();
    let frames = bytes.iter().filter(|bytes| oracle(bytes)).count();
    assert!(frames >= 4, "the corpus has frames: {frames}");
    assert!(frames < bytes.len(), "the corpus has broken frames too");
}

#[test]
fn messages_name_the_fault_and_its_place() {
    let message = |fault: FrameFault| format!("{fault}");
    assert_eq!(
        message(FrameFault::NotAFrame { found: [0xff, b'B', 0, b'1'] }),
        "not a tensor frame: it starts with \"\\xffB\\x001\" instead of \"IBT1\""
    );
    assert_eq!(
        message(FrameFault::WrongDataLength { tensor: 2, expected: 256, found: 64 }),
        "tensor 2: its type and shape need 256 bytes of data, it has 64"
    );
}
