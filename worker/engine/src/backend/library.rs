//! Loading the ONNX Runtime library: explicitly, before anything else needs it, once per process.
//!
//! The crate `ort` panics on a library that it cannot use, so every way to fail is tried here first.

use std::{
    error::Error,
    ffi::CStr,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use libloading::{Library, Symbol};
use ort::{environment::Environment, logging::LogLevel, sys};

use crate::{EngineFault, Provider, fault::one_line, limits::MIN_RUNTIME_MINOR};

/// The loaded library. Cheap to clone; it stays loaded until the process ends.
#[derive(Debug, Clone)]
pub struct Runtime {
    /// As the library says it, such as `1.31.1`.
    pub version: String,
    pub path: PathBuf,
    /// The execution providers that the library was built with.
    pub providers: Vec<String>,
    pub(crate) environment: Environment,
}

impl Runtime {
    /// Whether the library was built with this provider.
    pub fn has(&self, provider: Provider) -> bool {
        self.providers.iter().any(|name| name == provider.long_name())
    }

    /// For measurements that compare with bare `ort`: a process has only this one environment.
    #[doc(hidden)]
    pub const fn environment(&self) -> &Environment {
        &self.environment
    }
}

/// ONNX Runtime allows one environment per process and cannot be unloaded, so the first success stays.
static LOADED: Mutex<Option<Runtime>> = Mutex::new(None);

/// The name in the environment by which ONNX Runtime is told not to report on its use.
pub(crate) const TELEMETRY: &str = "ORT_DISABLE_TELEMETRY";

/// Loads the library at `path`, or else the one beside this program, or else the one that the system finds.
///
/// A second call gives the same runtime; for another path it is a fault. A failed call may be repeated.
pub fn load_runtime(path: Option<&Path>) -> Result<Runtime, EngineFault> {
    let path = locate(path);
    let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
    match &*loaded {
        Some(runtime) if runtime.path == path => Ok(runtime.clone()),
        Some(runtime) => Err(EngineFault::AlreadyLoaded { loaded: runtime.path.clone(), asked: path }),
        None => Ok(loaded.insert(load(path)?).clone()),
    }
}

/// Where to load from. A name without a folder is left to the system unless it lies beside this program.
fn locate(path: Option<&Path>) -> PathBuf {
    use std::env::consts::{DLL_PREFIX, DLL_SUFFIX};
    let default = PathBuf::from(format!("{DLL_PREFIX}onnxruntime{DLL_SUFFIX}"));
    let path = path.map_or(default, Path::to_path_buf);
    if has_folder(&path) {
        return std::path::absolute(&path).unwrap_or(path);
    }
    let beside = std::env::current_exe().ok().map(|program| program.with_file_name(&path));
    beside.filter(|file| file.is_file()).unwrap_or(path)
}

fn has_folder(path: &Path) -> bool {
    path.parent().is_some_and(|folder| !folder.as_os_str().is_empty())
}

fn load(path: PathBuf) -> Result<Runtime, EngineFault> {
    keep_to_ourselves();
    // Held until `ort` has loaded it too, so that it is not unloaded and read again in between.
    let (_library, version) = probe(&path)?;
    let did_not_start = |why: String| EngineFault::DidNotStart { path: path.clone(), why: one_line(&why) };
    let builder = ort::init_from(&path).map_err(|why| did_not_start(why.to_string()))?;
    let environment = builder
        .with_name("inferbus")
        .with_telemetry(false)
        .with_logger(Arc::new(log))
        .build()
        .map_err(|why| did_not_start(why.to_string()))?;
    environment.set_log_level(LogLevel::Warning);
    let providers = providers().map_err(|why| did_not_start(why.to_string()))?;
    Ok(Runtime { version, path, providers, environment })
}

/// From 1.29 on, official builds write what they learn of models and machine to a database in the user's home folder, and
/// send it to their maker. They do so while they start, before `with_telemetry` is heard, but for this name.
fn keep_to_ourselves() {
    if std::env::var_os(TELEMETRY).is_none() {
        // SAFETY: whatever else reads the environment of this process in Rust shares a lock with this; native code that
        // reads it is what is about to be loaded. It is done once, when a program starts, under the lock of `LOADED`.
        unsafe { std::env::set_var(TELEMETRY, "1") };
    }
}

/// Opens the library and asks for its version and its API, as `ort` will.
fn probe(path: &Path) -> Result<(Library, String), EngineFault> {
    if has_folder(path) && !path.exists() {
        return Err(EngineFault::LibraryMissing { path: path.into() });
    }
    // SAFETY: loading a library runs its initialisers. The operator names the file, as they name this program.
    let library = unsafe { Library::new(path) }.map_err(|why| unusable(path, &why))?;
    let stranger = || EngineFault::NotOnnxRuntime { path: path.into() };
    type GetApiBase = unsafe extern "C" fn() -> *const sys::OrtApiBase;
    // SAFETY: this is the type that every ONNX Runtime gives the one symbol that it exports.
    let get: Symbol<'_, GetApiBase> = unsafe { library.get("OrtGetApiBase") }.map_err(|_| stranger())?;
    // SAFETY: the function takes nothing and gives null or a table with the library's own lifetime.
    let base = unsafe { get().as_ref() }.ok_or_else(stranger)?;
    // SAFETY: the table's functions may be called at any time; the version is a constant C string.
    let version = unsafe { CStr::from_ptr((base.GetVersionString)()) }.to_string_lossy().into_owned();
    let wrong = || EngineFault::WrongVersion { path: path.into(), version: one_line(&version) };
    // The version is asked first: a library prints a complaint of its own when it lacks an API.
    // SAFETY: as above; the function gives null for an API that it lacks.
    if !is_supported(&version) || unsafe { (base.GetApi)(MIN_RUNTIME_MINOR) }.is_null() {
        return Err(wrong());
    }
    Ok((library, version))
}

/// The loader's own words are the cause of the fault, not its text.
fn unusable(path: &Path, why: &libloading::Error) -> EngineFault {
    let cause = why.source().map_or_else(|| why.to_string(), ToString::to_string);
    EngineFault::LibraryUnusable { path: path.into(), why: one_line(&cause) }
}

fn is_supported(version: &str) -> bool {
    let mut parts = version.split('.').map(|part| part.parse::<u32>().ok());
    parts.next() == Some(Some(1)) && parts.next().flatten().is_some_and(|minor| minor >= MIN_RUNTIME_MINOR)
}

fn providers() -> ort::Result<Vec<String>> {
    let (mut names, mut len) = (std::ptr::null_mut(), 0);
    // SAFETY: both places are ours to be written to.
    unsafe { ort::Error::result_from_status((ort::api().GetAvailableProviders)(&mut names, &mut len)) }?;
    let mut found = Vec::new();
    for index in 0..usize::try_from(len).unwrap_or(0) {
        // SAFETY: the call above succeeded, so `names` holds `len` C strings.
        let name = unsafe { CStr::from_ptr(*names.add(index)) };
        found.push(name.to_string_lossy().into_owned());
    }
    // SAFETY: these are the pointer and the length that the library gave; nothing refers to them any more.
    unsafe { ort::Error::result_from_status((ort::api().ReleaseAvailableProviders)(names, len)) }?;
    Ok(found)
}

/// ONNX Runtime would write to standard error by itself.
fn log(level: LogLevel, _category: &str, _id: &str, location: &str, message: &str) {
    match level {
        LogLevel::Verbose | LogLevel::Info => {
            tracing::debug!(target: "ort", location, "{}", one_line(message))
        }
        LogLevel::Warning => tracing::warn!(target: "ort", location, "{}", one_line(message)),
        LogLevel::Error | LogLevel::Fatal => {
            tracing::error!(target: "ort", location, "{}", one_line(message))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_version_that_serves_is_the_stated_minimum() {
        for version in ["1.17.0", "1.31.1", "1.100.0-dev"] {
            assert!(is_supported(version), "{version}");
        }
        for version in ["1.16.3", "2.0.0", "0.31.0", "1", "", "1.x.0", "-1.17"] {
            assert!(!is_supported(version), "{version}");
        }
    }

    #[test]
    fn a_path_with_a_folder_is_that_file_and_a_bare_name_is_left_to_the_system() {
        assert_eq!(locate(Some(Path::new("/opt/ort.so"))), Path::new("/opt/ort.so"));
        assert!(locate(Some(Path::new("lib/ort.so"))).is_absolute());
        assert_eq!(locate(Some(Path::new("ort-that-nobody-has.so"))), Path::new("ort-that-nobody-has.so"));
    }
}
