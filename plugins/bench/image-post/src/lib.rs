//! The five likeliest classes of a picture, the likeliest first.

#![forbid(unsafe_code)]

use bench_kernels::odds::best_as_json;
use inferbus_plugin::Tensor;

#[inferbus_plugin::transform]
fn five(odds: Tensor<f32>) -> Result<String, &'static str> {
    best_as_json(&odds.elements).ok_or("the model knows fewer than five classes")
}
