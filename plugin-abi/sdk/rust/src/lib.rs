//! Write an Inferbus plugin as one typed function.
//!
//! A `pre` plugin turns a message's payload into the model's inputs.
//! A `post` plugin turns the model's outputs into the result:
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
//! - The argument implements [`FromInput`]: `&[u8]`, `&str`, a [`Tensor`] or a whole [`Frame`] of tensors.
//! - The return value implements [`IntoOutput`]: bytes, text or tensors. `Option` filters, `Result` rejects messages.
//! - [`macro@init`] receives the entry's config, [`log!`] writes a log line, [`emit`] sends an extra message.
//!
//! Compile it as a `cdylib` for `wasm32-unknown-unknown`. `ABI.md` in the crate `inferbus-abi` specifies the exports.
//!
//! # Memory
//!
//! The heap starts in the free rest of the module's initial memory (feature `heap`, on by default). Calls within the
//! initial memory are cheapest. For large payloads, request more, for example with
//! `-Clink-arg=--initial-memory=262144`.
//!
//! For a large tensor, use [`Output::tensor`]: it writes the elements in place and avoids a copy.
//!
//! # Grants
//!
//! A plugin only imports the host functions it uses. Three features use `log` and need its grant:
//!
//! - [`log!`];
//! - [`macro@init`], to log the reason for a rejected config;
//! - the feature `panic-log`, on by default: a panic logs its message before it traps.
//!
//! Without them a plugin does not need any grant, and a panic is a bare trap.

mod boundary;
mod element;
#[cfg(all(target_family = "wasm", feature = "heap"))]
mod heap;
mod host_functions;
mod input;
mod output;
mod run;
mod tensor;

pub use element::{Element, Number};
pub use host_functions::{Level, emit};
pub use inferbus_abi::frame::{DataType, Frame, FrameFault, Shape, Tensor as TensorView};
pub use inferbus_plugin_macros::{init, transform};
pub use input::FromInput;
pub use output::{InitOutput, IntoOutput, Output};
pub use tensor::Tensor;

/// For the macros' generated code only.
#[doc(hidden)]
pub mod __private {
    pub use crate::boundary::alloc;
    pub use crate::host_functions::log;
    pub use crate::run::{init, transform};
}

/// Compiles the Rust example of the contract.
#[cfg(doctest)]
#[doc = include_str!("../../../ABI.md")]
struct Contract;

/// Compiles the example of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
