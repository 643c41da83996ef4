//! The settings of the worker: flags, environment variables and defaults.
//!
//! A flag takes precedence over its environment variable, and both over the default.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, ValueEnum};
use inferbus_catalog::limits::ENTRY_MEMORY;
use inferbus_catalog::{ByteSize, ModelName, Span, UnitFault};
use inferbus_engine::limits::{MAX_THREADS, TRIAL_MEMORY};
use inferbus_engine::{Allow, Backend, EngineFault, TrialProcess};
use inferbus_sandbox::{Bounds, Ceilings, limits as sandbox};

use crate::limits;
use crate::nats::connect::Connection;

#[derive(Clone, Debug, Args)]
pub struct WorkerConfig {
    #[command(flatten)]
    pub connection: Connection,
    #[command(flatten)]
    pub compute: Compute,
    #[command(flatten)]
    pub loads: LoadSettings,
    #[command(flatten)]
    pub bus: BusSettings,
    /// Address of health, readiness, metrics and the Open Inference Protocol; port 0 chooses a free port and logs it
    #[arg(long, value_name = "ADDR:PORT", env = "INFERBUS_ADMIN", default_value = "127.0.0.1:0")]
    pub admin: SocketAddr,
    /// Reject inference requests at the admin address, `/v2/models/<MODEL>/infer`
    #[arg(long, env = "INFERBUS_NO_HTTP_INFER")]
    pub no_http_infer: bool,
    /// The worker's name in `inferbus status`
    #[arg(long, value_name = "NAME", env = "INFERBUS_WORKER_NAME", default_value_t = default_name())]
    pub worker_name: String,
    #[command(flatten)]
    pub crash_journal: CrashJournalSetting,
    #[command(flatten)]
    pub log: LogSettings,
}

/// The folder of the crash journal, read by the next worker after a crash.
#[derive(Clone, Debug, Args)]
pub struct CrashJournalSetting {
    /// Folder of the crash journal, or `off` [default: inferbus in $XDG_STATE_HOME or ~/.local/state]
    #[arg(long, value_name = "FOLDER", env = "INFERBUS_CRASH_JOURNAL")]
    pub crash_journal: Option<PathBuf>,
}

impl CrashJournalSetting {
    pub fn folder(&self) -> Folder {
        Folder::of(self.crash_journal.as_deref(), "XDG_STATE_HOME", ".local/state", "inferbus")
    }
}

/// The compute resources of bundles, with or without a bus.
#[derive(Clone, Debug, Args)]
pub struct Compute {
    /// Compute threads [default: one per processor]
    #[arg(long, value_name = "N", env = "INFERBUS_LANES",
          value_parser = clap::value_parser!(u16).range(1..=limits::LANES as i64))]
    pub lanes: Option<u16>,
    #[command(flatten)]
    pub engine: EngineSettings,
    #[command(flatten)]
    pub ceilings: CeilingSettings,
    #[command(flatten)]
    pub models: ModelSettings,
    #[command(flatten)]
    pub cache: CacheSetting,
}

/// The engine of models.
#[derive(Clone, Debug, Args)]
pub struct EngineSettings {
    /// Engine of models
    #[arg(long, value_enum, env = "INFERBUS_ENGINE", default_value = "onnxruntime")]
    pub engine: Engine,
    /// The ONNX Runtime library (libonnxruntime.so) [default: the system's]
    #[arg(long, value_name = "FILE", env = "ORT_DYLIB_PATH")]
    pub ort_library: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Engine {
    Onnxruntime,
    /// Without a library, with fewer operators, and without a time limit for a run; requires a build with `--features
    /// tract`
    Tract,
}

impl EngineSettings {
    /// Loads the engine's library, if any.
    pub fn backend(&self) -> Result<Backend, EngineFault> {
        match self.engine {
            Engine::Onnxruntime => Backend::onnx_runtime(self.ort_library.as_deref()),
            Engine::Tract => Backend::tract(),
        }
    }
}

/// The upper bounds of models, and the accepted kinds of models.
#[derive(Clone, Debug, Args)]
pub struct ModelSettings {
    /// Upper bound of engine.time, the time limit of one run
    #[arg(long, value_name = "TIME", env = "INFERBUS_MAX_MODEL_TIME", default_value_t = span(limits::MODEL_TIME))]
    pub max_model_time: Span,
    /// Memory limit of a new model's trial load and run, in addition to 8 times the model's size
    #[arg(long, value_name = "SIZE", env = "INFERBUS_TRIAL_MEMORY", default_value_t = ByteSize::new(TRIAL_MEMORY))]
    pub trial_memory: ByteSize,
    /// Upper bound of engine.threads, the threads of one run [default: one per processor]
    #[arg(long, value_name = "N", env = "INFERBUS_MAX_THREADS",
          value_parser = clap::value_parser!(u16).range(1..=MAX_THREADS as i64))]
    pub max_threads: Option<u16>,
    /// Accept models without a check of their content: only from a source you trust
    #[arg(long, value_name = "WHAT", env = "INFERBUS_ALLOW", value_enum, value_delimiter = ',')]
    pub allow: Vec<Allowed>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Allowed {
    /// Files in the ORT format
    OrtFormat,
    /// Parts compiled for one device
    EpContext,
}

/// [`ModelSettings`] for the loader.
#[derive(Clone, Debug)]
pub struct ModelCeilings {
    pub time: Duration,
    pub threads: usize,
    pub allow: Allow,
}

impl ModelSettings {
    pub fn ceilings(&self) -> ModelCeilings {
        let allows = |what| self.allow.contains(&what);
        let allow = Allow { ort_format: allows(Allowed::OrtFormat), ep_context: allows(Allowed::EpContext) };
        let threads = self.max_threads.map_or_else(processors, usize::from).min(MAX_THREADS);
        ModelCeilings { time: self.max_model_time.duration(), threads, allow }
    }
}

impl ModelSettings {
    /// The trial process with the operator's bounds.
    pub fn bounded(&self, mut process: TrialProcess) -> TrialProcess {
        process.bounds.memory = self.trial_memory.bytes() as u64;
        process
    }
}

fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// The cache of compiled plugins, kept between starts.
#[derive(Clone, Debug, Args)]
pub struct CacheSetting {
    /// Private folder for compiled plugins, or `off` [default: inferbus/plugins in $XDG_CACHE_HOME or ~/.cache]
    #[arg(long, value_name = "FOLDER", env = "INFERBUS_CACHE")]
    pub cache: Option<PathBuf>,
}

/// An optional folder with a default.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Folder {
    Off,
    /// Neither a setting nor a home folder.
    Unknown,
    At(PathBuf),
}

impl Folder {
    fn of(named: Option<&Path>, variable: &str, at_home: &str, own: &str) -> Self {
        let absolute = |name| std::env::var_os(name).map(PathBuf::from).filter(|folder| folder.is_absolute());
        let default = || absolute(variable).or_else(|| Some(absolute("HOME")?.join(at_home)));
        match named {
            Some(folder) if folder.as_os_str() == "off" => Self::Off,
            Some(folder) => Self::At(folder.to_owned()),
            None => default().map_or(Self::Unknown, |folder| Self::At(folder.join(own))),
        }
    }
}

impl CacheSetting {
    pub fn folder(&self) -> Folder {
        Folder::of(self.cache.as_deref(), "XDG_CACHE_HOME", ".cache", "inferbus/plugins")
    }
}

/// The upper bounds of plugins.
#[derive(Clone, Debug, Args)]
pub struct CeilingSettings {
    /// Upper bound of limits.memory, reserved for each plugin instance
    #[arg(long, value_name = "SIZE", env = "INFERBUS_MAX_MEMORY", default_value_t = size(sandbox::MEMORY_CEILING),
          value_parser = memory_ceiling)]
    pub max_memory: ByteSize,
    /// Upper bound of limits.time, the processor time of one plugin call
    #[arg(long, value_name = "TIME", env = "INFERBUS_MAX_TIME", default_value_t = span(sandbox::TIME_CEILING))]
    pub max_time: Span,
    /// Upper bound of limits.output, the size of a plugin's result
    #[arg(long, value_name = "SIZE", env = "INFERBUS_MAX_OUTPUT", default_value_t = size(sandbox::OUTPUT_CEILING))]
    pub max_output: ByteSize,
    /// Plugin instances at once: one per lane, stage and bundle, and one per load
    #[arg(long, value_name = "N", env = "INFERBUS_MAX_INSTANCES", default_value_t = sandbox::INSTANCES,
          value_parser = clap::value_parser!(u32).range(1..=i64::from(sandbox::INSTANCES_CEILING)))]
    pub max_instances: u32,
}

impl CeilingSettings {
    pub fn ceilings(&self) -> Ceilings {
        let ceilings = Ceilings::default();
        Ceilings {
            bounds: Bounds {
                memory: self.max_memory.bytes(),
                time: self.max_time.duration(),
                output: self.max_output.bytes(),
                ..ceilings.bounds
            },
            instances: self.max_instances,
        }
    }
}

/// WebAssembly memory consists of pages of 64 KiB, and a plugin has 32-bit addresses.
fn memory_ceiling(text: &str) -> Result<ByteSize, String> {
    let size: ByteSize = text.parse().map_err(|fault: UnitFault| fault.to_string())?;
    if ENTRY_MEMORY.contains(&(size.bytes() as u64)) {
        return Ok(size);
    }
    let (least, most) = (ByteSize::new(*ENTRY_MEMORY.start()), ByteSize::new(*ENTRY_MEMORY.end()));
    Err(format!("{size} is out of range; allowed: {least} to {most}"))
}

fn size(bytes: usize) -> ByteSize {
    ByteSize::new(bytes as u64)
}

fn span(time: Duration) -> Span {
    Span::from_micros(u64::try_from(time.as_micros()).unwrap_or(u64::MAX))
}

impl Compute {
    pub fn lane_count(&self) -> usize {
        self.lanes.map_or_else(processors, usize::from).min(limits::LANES)
    }
}

/// The memory of models and the time of their loads.
#[derive(Clone, Debug, Args)]
pub struct LoadSettings {
    /// Memory of all loaded models; the least recently used are evicted [default: half of the available memory]
    #[arg(long, value_name = "SIZE", env = "INFERBUS_MEMORY_BUDGET")]
    pub memory_budget: Option<ByteSize>,
    /// Load models at the start while they fit, or at their first message
    #[arg(long, value_enum, env = "INFERBUS_LOAD_POLICY", default_value = "eager")]
    pub load_policy: LoadPolicy,
    /// Disk space for fetched models and plugins, below the folder of --cache, or `off`
    #[arg(long, value_name = "SIZE", env = "INFERBUS_CACHE_SIZE", default_value = "4GiB", value_parser = cache_size)]
    pub cache_size: CacheSize,
    /// Load this model at the start and never evict it; repeat for more
    #[arg(long, value_name = "MODEL", env = "INFERBUS_KEEP_LOADED", value_delimiter = ',')]
    pub keep_loaded: Vec<ModelName>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LoadPolicy {
    Eager,
    Lazy,
}

/// `None`: without a cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheSize(pub Option<ByteSize>);

fn cache_size(text: &str) -> Result<CacheSize, UnitFault> {
    if text == "off" { Ok(CacheSize(None)) } else { text.parse().map(|size| CacheSize(Some(size))) }
}

impl Compute {
    /// The number of bundles supported by the plugin instances. Each bundle takes two per lane. Loading bundles and
    /// bundles with last messages are additional.
    pub fn most_models(&self) -> usize {
        let bundles = self.ceilings.max_instances as usize / (2 * self.lane_count());
        bundles.saturating_sub(2 * limits::LOADS).clamp(1, limits::MODELS)
    }
}

#[derive(Clone, Debug, Args)]
pub struct BusSettings {
    /// Receive requests on `<PREFIX>.<model>`
    #[arg(long, value_name = "SUBJECT", env = "INFERBUS_PREFIX", default_value = "infer", value_parser = plain_subject)]
    pub prefix: String,
    /// Queue group: its workers share the requests
    #[arg(long, value_name = "NAME", env = "INFERBUS_GROUP", default_value = "inferbus", value_parser = plain_subject)]
    pub group: String,
    /// Messages in flight at once; further requests are answered with code 429
    #[arg(long, value_name = "N", env = "INFERBUS_MAX_IN_FLIGHT", default_value_t = limits::IN_FLIGHT as u32,
          value_parser = clap::value_parser!(u32).range(1..=limits::IN_FLIGHT as i64))]
    pub max_in_flight: u32,
}

#[derive(Clone, Debug, Args)]
pub struct LogSettings {
    /// Log filter: a level, or `target=level` pairs
    #[arg(long = "log", value_name = "FILTER", env = "INFERBUS_LOG", default_value = "info,async_nats=warn,ort=warn")]
    pub filter: String,
    /// Format of log lines
    #[arg(long = "log-format", value_enum, env = "INFERBUS_LOG_FORMAT", default_value = "text")]
    pub format: LogFormat,
    /// OTLP endpoint for spans, for example http://localhost:4318 [default: no export]
    #[arg(long, value_name = "URL", env = "OTEL_EXPORTER_OTLP_ENDPOINT")]
    pub otlp_endpoint: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    Text,
    Json,
}

/// Tokens between dots, without wildcards: other subjects would match no request, or too many.
fn plain_subject(text: &str) -> Result<String, String> {
    let plain = |token: &str| !token.is_empty() && !token.contains(|c: char| c.is_whitespace() || "*>".contains(c));
    if text.split('.').all(plain) {
        return Ok(text.to_owned());
    }
    Err("write one or more words with dots between them, without spaces, `*` and `>`".into())
}

fn default_name() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host = match host.trim() {
        "" => "worker",
        host => host,
    };
    format!("{host}-{}", std::process::id())
}
