//! Loads the ONNX Runtime library: explicitly, before its first use, once per process.
//!
//! The crate `ort` panics on an unusable library, so every possible failure is checked here first.

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
    /// The library's own version, such as `1.31.1`.
    pub version: String,
    pub path: PathBuf,
    /// The execution providers in this build of the library.
    pub providers: Vec<String>,
    pub(crate) environment: Environment,
}

impl Runtime {
    /// Whether this build of the library has the provider.
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

/// The environment variable to disable ONNX Runtime's telemetry.
pub(crate) const TELEMETRY: &str = "ORT_DISABLE_TELEMETRY";

/// Loads the library from `path`, from beside this program, or from the system's search path, in this order.
///
/// A second call returns the same runtime, or a fault if its path differs. A failed call may be repeated.
pub fn load_runtime(path: Option<&Path>) -> Result<Runtime, EngineFault> {
    let path = locate(path);
    let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
    match &*loaded {
        Some(runtime) if runtime.path == path => Ok(runtime.clone()),
        Some(runtime) => Err(EngineFault::AlreadyLoaded { loaded: runtime.path.clone(), asked: path }),
        None => Ok(loaded.insert(load(path)?).clone()),
    }
}

/// The path to load. The system resolves a bare name unless the file is beside this program.
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
    disable_telemetry();
    // Held until `ort` has loaded it too, so that it is not unloaded in between.
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

/// Since 1.29, official builds record facts about models and machine in the user's home folder and upload them.
/// They do so during start-up, before `with_telemetry` takes effect. Only this variable prevents it.
fn disable_telemetry() {
    if std::env::var_os(TELEMETRY).is_none() {
        // SAFETY: Rust code reads the environment under a lock shared with this call. The only native reader is the
        // library, and it is not loaded yet. This runs once, at program start, under the lock of `LOADED`.
        unsafe { std::env::set_var(TELEMETRY, "1") };
    }
}

/// Opens the library and queries its version and its API, as `ort` will.
fn probe(path: &Path) -> Result<(Library, String), EngineFault> {
    if has_folder(path) && !path.exists() {
        return Err(EngineFault::LibraryMissing { path: path.into() });
    }
    // SAFETY: loading a library runs its initialisers. The operator chose the file, as they chose this program.
    let library = unsafe { Library::new(path) }.map_err(|why| unusable(path, &why))?;
    let not_onnx_runtime = || EngineFault::NotOnnxRuntime { path: path.into() };
    type GetApiBase = unsafe extern "C" fn() -> *const sys::OrtApiBase;
    // SAFETY: ONNX Runtime exports this symbol with this type in every version.
    let get: Symbol<'_, GetApiBase> = unsafe { library.get("OrtGetApiBase") }.map_err(|_| not_onnx_runtime())?;
    // SAFETY: the function takes zero arguments and returns null or a table with the library's lifetime.
    let base = unsafe { get().as_ref() }.ok_or_else(not_onnx_runtime)?;
    // SAFETY: the table's functions may be called at any time; the version is a constant C string.
    let version = unsafe { CStr::from_ptr((base.GetVersionString)()) }.to_string_lossy().into_owned();
    let wrong = || EngineFault::WrongVersion { path: path.into(), version: one_line(&version) };
    // The version is checked first: a library prints a complaint when it lacks an API.
    // SAFETY: as above; the function returns null for an unknown API.
    if !is_supported(&version) || unsafe { (base.GetApi)(MIN_RUNTIME_MINOR) }.is_null() {
        return Err(wrong());
    }
    Ok((library, version))
}

/// The loader's message is the source of its error, not the error's text.
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
    // SAFETY: `names` and `len` are ours to write to.
    unsafe { ort::Error::result_from_status((ort::api().GetAvailableProviders)(&mut names, &mut len)) }?;
    let mut found = Vec::new();
    for index in 0..usize::try_from(len).unwrap_or(0) {
        // SAFETY: the call above succeeded, so `names` holds `len` C strings.
        let name = unsafe { CStr::from_ptr(*names.add(index)) };
        found.push(name.to_string_lossy().into_owned());
    }
    // SAFETY: pointer and length come from the library and are no longer used.
    unsafe { ort::Error::result_from_status((ort::api().ReleaseAvailableProviders)(names, len)) }?;
    Ok(found)
}

/// Without a logger, ONNX Runtime writes to standard error.
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
    fn the_oldest_supported_version_is_the_stated_minimum() {
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
