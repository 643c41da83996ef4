//! The attributes `#[transform]` and `#[init]`: they add the contract's exports to a typed function.
//!
//! Guarantees: an unsuitable function is a compile error with an explanation. Use them through `inferbus_plugin`.

#![forbid(unsafe_code)]

mod export;

use proc_macro::TokenStream;

/// Makes a function the plugin's `transform`. The worker calls it once for every message.
///
/// Its argument implements `FromInput`, and its return value implements `IntoOutput`.
#[proc_macro_attribute]
pub fn transform(arguments: TokenStream, function: TokenStream) -> TokenStream {
    export::expand(&export::TRANSFORM, arguments.into(), function.into()).into()
}

/// Makes a function the plugin's `init`. The worker calls it with the entry's config, before the first message.
///
/// Its argument implements `FromInput`, usually `&str`: the config as JSON, or empty for an entry without a config.
/// It returns `()` or a `Result`. An error prevents loading the plugin.
#[proc_macro_attribute]
pub fn init(arguments: TokenStream, function: TokenStream) -> TokenStream {
    export::expand(&export::INIT, arguments.into(), function.into()).into()
}
