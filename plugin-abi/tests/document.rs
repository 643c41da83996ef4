//! Checks ABI.md against the code: the decoded example, the complete table of types, and the bounds.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test's helper may panic as its tests do")]

use inferbus_abi::frame::{DataType, Frame, MAGIC, Tensor, encode};
use inferbus_abi::limits;

const DOCUMENT: &str = include_str!("../ABI.md");

/// The example's bytes. Each line's offset must match.
fn example() -> Vec<u8> {
    let (_, after) = DOCUMENT.split_once("```text\noffset").expect("the example");
    let (table, _) = after.split_once("```").expect("its end");
    let mut bytes = Vec::new();
    for line in table.lines().skip(1) {
        let (offset, rest) = line.split_at(8);
        assert_eq!(offset.trim().parse(), Ok(bytes.len()), "{line}");
        let hex = rest.get(..49).unwrap_or(rest).split_whitespace();
        bytes.extend(hex.map(|byte| u8::from_str_radix(byte, 16).expect(line)));
    }
    bytes
}

#[test]
fn the_example_is_the_described_frame() {
    let pixels = [0.5f32.to_le_bytes(), 1.0f32.to_le_bytes()].concat();
    let count = 3i64.to_le_bytes();
    let tensors = [
        Tensor { name: "pixels", dtype: DataType::F32, shape: (&[1, 2]).into(), data: &pixels },
        Tensor { name: "count", dtype: DataType::I64, shape: (&[]).into(), data: &count },
    ];
    let bytes = example();
    assert_eq!(Frame::decode(&bytes).unwrap().tensors().collect::<Vec<_>>(), tensors);
    assert_eq!(encode(&tensors).unwrap(), bytes);
}

#[test]
fn every_data_type_is_listed_under_its_number() {
    let table = DOCUMENT.lines().filter(|line| line.starts_with("| ")).map(|line| line.replace('–', "0"));
    let rows: Vec<String> = table.collect();
    for dtype in DataType::ALL {
        let row = format!("| {} | {} | {} |", *dtype as u8, dtype.name(), dtype.bits());
        assert!(rows.iter().any(|line| line.contains(&row)), "no row {row}");
    }
}

#[test]
fn the_magic_and_the_bounds_match_the_code() {
    assert!(DOCUMENT.contains(std::str::from_utf8(&MAGIC).unwrap()));
    assert!(DOCUMENT.contains(&format!("the number of tensors, at most {}", limits::MAX_TENSORS)));
    assert!(DOCUMENT.contains(&format!("the number of dimensions, at most {}", limits::MAX_RANK)));
    assert!(DOCUMENT.contains(&format!("the length of the name, at most {}", limits::MAX_NAME)));
}

#[test]
fn the_c_header_numbers_the_data_types_alike() {
    let header = include_str!("../sdk/c/inferbus.h");
    let (_, after) = header.split_once("INFERBUS_F32 = 1").expect("the enumeration");
    let (rest, _) = after.split_once('}').expect("its end");
    let names = rest.split(',').map(str::trim).filter(|name| !name.is_empty());
    let listed: Vec<String> = names.map(|name| name.trim_start_matches("INFERBUS_").to_lowercase()).collect();
    let known: Vec<&str> = DataType::ALL.iter().skip(1).map(|dtype| dtype.name()).collect();
    assert_eq!(listed, known);
}
