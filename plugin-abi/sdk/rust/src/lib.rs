//! Write an Inferbus plugin as a typed function and nothing else.
//!
//! A `pre` plugin turns a message's payload into the model's inputs, a `post` plugin the model's outputs into the result:
//!
//! ```
//! use inferbus_plugin::Tensor;
//!
//! #[inferbus_plugin::transform]
//! fn pixels(payload: &[u8]) -> Result<Tensor<f32>, String> {
//!     if payload.len() != 64 {
//!         return Err(format!("an image has 64 pixels, this one has {}", payload.len()));
//!     }
//!     let pixels: Vec<f32> = payload.iter().map(|&pixel| f32::from(pixel) / 255.0).collect();
//!     Ok(Tensor::new("pixels", [1, 64], pixels))
//! }
//! # fn main() {}
//! ```
//!
//! - The argument is anything that implements [`FromInput`]: `&[u8]`, `&str`, a [`Tensor`] or a whole [`Frame`] of tensors.
//! - What is returned is anything that implements [`IntoOutput`]: bytes, text, tensors; `Option` filters, `Result` refuses.
//! - [`macro@init`] takes the entry's config, [`log!`] writes a log line, [`emit`] sends a message beside the result.
//!
//! Compile it as a `cdylib` for `wasm32-unknown-unknown`. What the functions are on the wire is told in `ABI.md`.
//!
//! Memory: the heap begins in what is left of the module's first pages (feature `heap`, on by default). A call that stays within them
//! is cheapest; a plugin for large payloads asks the linker for more, with `-Clink-arg=--initial-memory=262144` for example.
//!
//! A large tensor is best written where the worker reads it: [`Output::tensor`] has the elements written there and copies nothing.
//!
//! It promises that a plugin imports nothing that it does not use. Three things use `log`, which needs that grant: [`log!`],
//! an [`macro@init`] (a refused config is explained by a log line), and the feature `panic-log`, which is on by default: a
//! panic writes its message before it traps. Without any of them a plugin needs no grant, and a panic is a bare trap.

mod boundary;
mod element;
#[cfg(all(target_family = "wasm", feature = "heap"))]
mod heap;
mod input;
mod output;
mod ring;
mod run;
mod tensor;

pub use element::{Element, Number};
pub use inferbus_abi::frame::{DataType, Frame, FrameFault, Shape, Tensor as TensorView};
pub use inferbus_plugin_macros::{init, transform};
pub use input::FromInput;
pub use output::{InitOutput, IntoOutput, Output};
pub use ring::{Level, emit};
pub use tensor::Tensor;

/// What the macros write calls of; not for authors.
#[doc(hidden)]
pub mod __private {
    pub use crate::boundary::alloc;
    pub use crate::ring::log;
    pub use crate::run::{init, transform};
}

/// Compiles the Rust plugin of the contract, so that the document stays true.
#[cfg(doctest)]
#[doc = include_str!("../../../ABI.md")]
struct Contract;
