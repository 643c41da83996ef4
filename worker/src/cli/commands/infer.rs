//! `inferbus infer`: one payload through a local bundle, or through the workers.

use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow, bail};
use async_nats::RequestErrorKind;
use clap::Args;
use inferbus::config::Compute;
use inferbus::limits;
use inferbus::nats::connect::Connection;
use inferbus::nats::headers::{ERROR, ERROR_CODE};
use inferbus_catalog::{Bundle, ModelName};
use inferbus_pipeline::outcome;

use crate::cli::exit::NotFound;
use crate::cli::local_bundle::LocalBundle;

const EXAMPLES: &str = "\
Examples:
  inferbus infer plugins/examples/digits/bundle-1.0.0 image.dcam     # a local bundle, without NATS
  inferbus infer digits image.dcam                          # the workers
  cat image.dcam | inferbus infer digits -

Standard output gets the unchanged result, standard error the version and the times.";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// Folder with a bundle.toml, or name of a served model
    #[arg(value_name = "FOLDER|MODEL")]
    target: String,
    /// File with the payload; `-` for standard input
    #[arg(value_name = "FILE", default_value = "-")]
    file: PathBuf,
    /// Prefix of the request subjects
    #[arg(long, value_name = "SUBJECT", env = "INFERBUS_PREFIX", default_value = "infer")]
    prefix: String,
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    compute: Compute,
}

pub async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let payload = payload(&arguments.file)?;
    if Path::new(&arguments.target).is_dir() {
        return run_locally(&arguments, &payload);
    }
    let model: ModelName = arguments
        .target
        .parse()
        .with_context(|| format!("`{}` is neither a folder nor a valid model name", arguments.target))?;
    request(&arguments, &model, payload).await
}

fn payload(file: &Path) -> anyhow::Result<Vec<u8>> {
    let mut payload = Vec::new();
    let bound = limits::PAYLOAD as u64 + 1;
    if file == Path::new("-") {
        std::io::stdin().take(bound).read_to_end(&mut payload).context("standard input cannot be read")?;
    } else {
        let open =
            std::fs::File::open(file).with_context(|| format!("the payload {} cannot be read", file.display()))?;
        open.take(bound)
            .read_to_end(&mut payload)
            .with_context(|| format!("the payload {} cannot be read", file.display()))?;
    }
    if payload.len() > limits::PAYLOAD {
        bail!("the payload exceeds the limit of {} bytes", limits::PAYLOAD);
    }
    Ok(payload)
}

fn run_locally(arguments: &Arguments, payload: &[u8]) -> anyhow::Result<()> {
    let bundle = Bundle::read(Path::new(&arguments.target))?;
    let (result, times) = LocalBundle::load(&arguments.compute, &bundle)?.run(payload);
    let version = bundle.version.to_string();
    let done = match result {
        Ok(done) => done,
        Err(failure) => bail!("{}", outcome::sentence(bundle.name.as_ref(), &version, failure.stage(), &failure)),
    };
    for emit in &done.emits {
        eprintln!("emit {}: {}", emit.topic, String::from_utf8_lossy(&emit.payload));
    }
    eprintln!("{} {version}: pre {:?}, model {:?}, post {:?}", bundle.name, times.pre, times.infer, times.post);
    write_result(done.output.as_deref())
}

async fn request(arguments: &Arguments, model: &ModelName, payload: Vec<u8>) -> anyhow::Result<()> {
    let client = arguments.connection.command().await?;
    let subject = format!("{}.{model}", arguments.prefix);
    let reply = match client.request(subject.clone(), payload.into()).await {
        Ok(reply) => reply,
        Err(fault) => {
            let text = format!("no reply on `{subject}`: {fault}; `inferbus status` shows which workers run");
            return Err(if fault.kind() == RequestErrorKind::NoResponders {
                NotFound(text).into()
            } else {
                anyhow!(text)
            });
        }
    };
    let header = |name: &str| reply.headers.as_ref().and_then(|headers| headers.get(name)).map(ToString::to_string);
    if let Some(code) = header(ERROR_CODE) {
        let text = format!("{code}: {}", header(ERROR).unwrap_or_default());
        return Err(if code == "404" { NotFound(text).into() } else { anyhow!(text) });
    }
    let named = |name| header(name).unwrap_or_default();
    eprintln!(
        "{} {} {}: {} µs",
        named("Inferbus-Model"),
        named("Inferbus-Version"),
        named("Inferbus-Digest"),
        named("Inferbus-Stage-Micros")
    );
    write_result(header("Inferbus-Result").is_none().then_some(&reply.payload))
}

fn write_result(result: Option<&[u8]>) -> anyhow::Result<()> {
    let Some(result) = result else {
        eprintln!("no result");
        return Ok(());
    };
    let mut out = std::io::stdout().lock();
    out.write_all(result)?;
    if std::io::IsTerminal::is_terminal(&out) {
        out.write_all(b"\n")?;
    }
    Ok(out.flush()?)
}
