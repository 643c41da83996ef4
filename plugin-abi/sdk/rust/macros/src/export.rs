//! Both attributes: check the function, keep it unchanged, and generate the exports that call it.

use proc_macro2::TokenStream;
use quote::{ToTokens, quote};
use syn::{Error, FnArg, GenericParam, ItemFn, Result, parse2};

/// One of the contract's exports.
pub(crate) struct Export {
    name: &'static str,
    argument: &'static str,
    write: fn(&syn::Ident) -> TokenStream,
}

pub(crate) const TRANSFORM: Export =
    Export { name: "transform", argument: "the input, for example `payload: &[u8]`", write: write_transform };

pub(crate) const INIT: Export =
    Export { name: "init", argument: "the config, for example `config: &str`", write: write_init };

/// The function and its exports, or a compile error with the reason.
pub(crate) fn expand(export: &Export, arguments: TokenStream, function: TokenStream) -> TokenStream {
    match checked(export, arguments, function) {
        Ok(function) => {
            let exports = (export.write)(&function.sig.ident);
            quote! { #function #exports }
        }
        Err(error) => error.into_compile_error(),
    }
}

fn checked(export: &Export, arguments: TokenStream, function: TokenStream) -> Result<ItemFn> {
    let name = export.name;
    if !arguments.is_empty() {
        return Err(Error::new_spanned(arguments, format!("#[{name}] does not take arguments")));
    }
    let item = function.clone();
    let function: ItemFn =
        parse2(function).map_err(|_| Error::new_spanned(item, format!("#[{name}] must be on a function")))?;
    let signature = &function.sig;
    if let Some(token) = &signature.asyncness {
        return Err(Error::new_spanned(
            token,
            format!("#[{name}]: a plugin cannot wait, so the function cannot be async"),
        ));
    }
    if let Some(token) = &signature.unsafety {
        return Err(Error::new_spanned(
            token,
            format!("#[{name}]: the worker calls the function, so it cannot be unsafe"),
        ));
    }
    let is_generic = |parameter: &&GenericParam| !matches!(parameter, GenericParam::Lifetime(_));
    if let Some(parameter) = signature.generics.params.iter().find(is_generic) {
        return Err(Error::new_spanned(
            parameter,
            format!("#[{name}]: the function needs concrete types, it cannot be generic"),
        ));
    }
    match signature.inputs.iter().collect::<Vec<_>>().as_slice() {
        [FnArg::Typed(_)] => Ok(function),
        [FnArg::Receiver(receiver)] => {
            Err(Error::new_spanned(receiver, format!("#[{name}] must be on a free function, not on a method")))
        }
        _ => {
            let place: &dyn ToTokens = if signature.inputs.is_empty() { &signature.ident } else { &signature.inputs };
            Err(Error::new_spanned(
                place,
                format!("#[{name}]: the function takes exactly one argument, {}", export.argument),
            ))
        }
    }
}

// On native targets the exports are compiled but not exported, so that an author's tests check their types.

fn write_transform(function: &syn::Ident) -> TokenStream {
    quote! {
        const _: () = {
            #[allow(dead_code)]
            #[cfg_attr(target_family = "wasm", unsafe(export_name = "alloc"))]
            extern "C" fn exported_alloc(len: usize) -> *mut u8 {
                ::inferbus_plugin::__private::alloc(len)
            }

            #[allow(dead_code)]
            #[cfg_attr(target_family = "wasm", unsafe(export_name = "transform"))]
            extern "C" fn exported_transform(ptr: *const u8, len: usize) -> i64 {
                ::inferbus_plugin::__private::transform(ptr, len, #function)
            }
        };
    }
}

fn write_init(function: &syn::Ident) -> TokenStream {
    quote! {
        const _: () = {
            #[allow(dead_code)]
            #[cfg_attr(target_family = "wasm", unsafe(export_name = "init"))]
            extern "C" fn exported_init(ptr: *const u8, len: usize) -> i32 {
                ::inferbus_plugin::__private::init(ptr, len, #function)
            }
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rejection(arguments: &str, function: &str) -> String {
        let (arguments, function) = (arguments.parse().unwrap(), function.parse().unwrap());
        checked(&TRANSFORM, arguments, function).map(|_| ()).unwrap_err().to_string()
    }

    #[test]
    fn an_unsuitable_function_is_rejected_with_an_explanation() {
        let one = "the function takes exactly one argument, the input, for example `payload: &[u8]`";
        for (arguments, function, expected) in [
            ("fast", "fn f(payload: &[u8]) {}", "#[transform] does not take arguments"),
            ("", "struct Plugin;", "#[transform] must be on a function"),
            ("", "fn f() {}", one),
            ("", "fn f(a: &[u8], b: &[u8]) {}", one),
            ("", "fn f(&self) {}", "#[transform] must be on a free function, not on a method"),
            ("", "async fn f(payload: &[u8]) {}", "cannot be async"),
            ("", "unsafe fn f(payload: &[u8]) {}", "cannot be unsafe"),
            ("", "fn f<T>(payload: T) {}", "cannot be generic"),
            ("", "fn f<const N: usize>(payload: [u8; N]) {}", "cannot be generic"),
        ] {
            let rejection = rejection(arguments, function);
            assert!(rejection.contains(expected), "{function}: {rejection}");
        }
    }

    #[test]
    fn a_rejection_becomes_a_compile_error() {
        let expanded = expand(
            &INIT,
            TokenStream::new(),
            quote!(
                fn configure() {}
            ),
        )
        .to_string();
        assert!(expanded.contains("compile_error"), "{expanded}");
        assert!(expanded.contains("exactly one argument, the config"), "{expanded}");
    }

    #[test]
    fn the_function_stays_as_it_was() {
        let function = quote! {
            /// Documented.
            pub fn identity<'a>(payload: &'a [u8]) -> &'a [u8] { payload }
        };
        let expanded = expand(&TRANSFORM, TokenStream::new(), function.clone()).to_string();
        assert!(expanded.starts_with(&function.to_string()), "{expanded}");
    }
}
