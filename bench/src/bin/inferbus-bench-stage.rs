//! A stage as a process: `inferbus-bench-stage turned|planes once|warm`. It is small, because each start costs time.
//!
//! `once` reads its input to the end. `warm` reads a sequence of inputs, each after its length, and answers likewise.
#![forbid(unsafe_code)]

use std::error::Error;
use std::io::{self, Read, Write};

use bench_kernels::{image, tiny};

/// The largest input.
const MAX_INPUT: u32 = 64 << 20;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        [function, "once"] => {
            let mut input = Vec::new();
            io::stdin().lock().read_to_end(&mut input)?;
            Ok(io::stdout().lock().write_all(Stage::default().run(function, &input)?)?)
        }
        [function, "warm"] => warm(function),
        _ => Err("usage: inferbus-bench-stage turned|planes once|warm".into()),
    }
}

fn warm(function: &str) -> Result<(), Box<dyn Error>> {
    let (mut input, mut output) = (io::stdin().lock(), io::stdout().lock());
    let (mut stage, mut room, mut len) = (Stage::default(), Vec::new(), [0; 4]);
    while input.read_exact(&mut len).is_ok() {
        let len = u32::from_le_bytes(len);
        if len > MAX_INPUT {
            return Err("the input is too long".into());
        }
        room.resize(len as usize, 0);
        input.read_exact(&mut room)?;
        let result = stage.run(function, &room)?;
        output.write_all(&[&u32::try_from(result.len())?.to_le_bytes()[..], result].concat())?;
        output.flush()?;
    }
    Ok(())
}

/// Buffers shared by calls.
#[derive(Default)]
struct Stage {
    planes: Vec<f32>,
    bytes: Vec<u8>,
}

impl Stage {
    fn run(&mut self, function: &str, input: &[u8]) -> Result<&[u8], Box<dyn Error>> {
        self.bytes.clear();
        if function == "planes" {
            self.planes.resize(image::LEN, 0.0);
            image::normalise(input, &mut self.planes)?;
            self.bytes.extend(self.planes.iter().flat_map(|number| number.to_le_bytes()));
        } else {
            self.bytes.resize(tiny::LEN, 0);
            tiny::turn(input.try_into()?, &mut self.bytes);
        }
        Ok(&self.bytes)
    }
}
