//! The compiled module of a plugin, from the cache or from the compiler.

use std::borrow::Cow;

use wasmtime::{Engine, Module};

use super::cache::{Cache, CacheKey};
use super::compiler::Compiler;
use super::{Origin, Source};
use crate::load::load_fault::LoadFault;
use crate::text::host_text;

/// The module of this source, from a valid file of the cache or else from the compiler. `rewritten` returns the bytes
/// to compile.
pub(crate) fn obtain<'a>(
    engine: &Engine,
    compiler: &Compiler,
    cache: Option<&Cache>,
    source: &Source<'_>,
    rewritten: impl FnOnce() -> Result<Cow<'a, [u8]>, LoadFault>,
) -> Result<(Module, Origin), LoadFault> {
    let cache = cache.map(|cache| (cache, CacheKey::of(engine, source)));
    if let Some((cache, key)) = &cache
        && let Some(code) = cache.get(key)
    {
        match code.module(engine) {
            Ok(module) => return Ok((module, Origin::Cached)),
            Err(error) => cache.forget(key, &host_text(&error)),
        }
    }
    let code = compiler.compile(&rewritten()?)?;
    let module = code.module(engine).map_err(|error| LoadFault::Compile(host_text(&error)))?;
    if let Some((cache, key)) = &cache {
        cache.put(key, &code);
    }
    Ok((module, Origin::Compiled))
}
