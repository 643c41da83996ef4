//! The attributes `#[transform]` and `#[init]`: they put the contract's exports beside a typed function.
//!
//! They promise that a function which cannot be one is refused where it stands, in words. Use them through `inferbus_plugin`.

#![forbid(unsafe_code)]

mod export;

use proc_macro::TokenStream;

/// Makes a function the plugin's `transform`: it is called once for every message.
///
/// Its argument is anything that implements `FromInput`, what it returns anything that implements `IntoOutput`.
#[proc_macro_attribute]
pub fn transform(arguments: TokenStream, function: TokenStream) -> TokenStream {
    export::expand(&export::TRANSFORM, arguments.into(), function.into()).into()
}

/// Makes a function the plugin's `init`: it is called once, before the first message, with the entry's config.
///
/// Its argument is anything that implements `FromInput`, usually `&str`: the config as JSON, or nothing where the entry has none.
/// It returns nothing or a `Result`; an error keeps the plugin from being loaded.
#[proc_macro_attribute]
pub fn init(arguments: TokenStream, function: TokenStream) -> TokenStream {
    export::expand(&export::INIT, arguments.into(), function.into()).into()
}
