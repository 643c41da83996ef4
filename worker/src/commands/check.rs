//! `inferbus check`: would every worker take this bundle? No bus needed.

use std::path::PathBuf;

use anyhow::{Context as _, bail};
use clap::Args;
use inferbus::config::Compute;
use inferbus::job::Stage;
use inferbus_catalog::{Bundle, Grant, Plugin};
use inferbus_engine::Port;
use serde_json::json;

use super::print::say;
use super::{local, print};
use crate::cli::Format;

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  inferbus check plugins/digits/bundle-1.0.0\n  inferbus check ./defect-1.3.0 --sample frame.bin"
)]
pub struct Arguments {
    /// Folder with a bundle.toml
    #[arg(value_name = "FOLDER")]
    folder: PathBuf,
    /// A payload to run through the bundle
    #[arg(long, value_name = "FILE")]
    sample: Option<PathBuf>,
    #[arg(long, value_enum, default_value = "text")]
    output: Format,
    #[command(flatten)]
    compute: Compute,
}

pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let bundle = Bundle::read(&arguments.folder)?;
    local::inspect(&bundle, &arguments.compute.ceilings.ceilings())?;
    let local = local::Local::load(&arguments.compute, &bundle)?;
    let ports = |ports: &[Port]| ports.iter().map(ToString::to_string).collect::<Vec<_>>();
    let (inputs, outputs) = (ports(&local.signature.inputs), ports(&local.signature.outputs));
    let sample = arguments.sample.as_ref().map(|file| sample(&local, file)).transpose()?;
    let digest = bundle.entry.digest();
    if arguments.output == Format::Json {
        return print::json(&json!({
            "model": bundle.name.to_string(), "version": bundle.version.to_string(), "digest": digest.to_string(),
            "inputs": inputs, "outputs": outputs, "sample": sample,
        }));
    }
    say!("{} {} {digest}: good", bundle.name, bundle.version);
    say!("  inputs   {}\n  outputs  {}", inputs.join(", "), outputs.join(", "));
    for (stage, plugin) in [(Stage::Pre, &bundle.entry.pre), (Stage::Post, &bundle.entry.post)] {
        if let Some(plugin) = plugin {
            say!("  {:8} {} bytes, granted: {}", stage.name(), plugin.size, granted(plugin));
        }
    }
    for (stage, strategy) in &local.strategies {
        say!("  {:8} {strategy}", stage.name());
    }
    if let Some(sample) = sample {
        say!("  sample   {sample}");
    }
    Ok(())
}

fn granted(plugin: &Plugin) -> String {
    let names = plugin.grants.iter().map(|grant| match grant {
        Grant::Log => "log",
        Grant::Emit => "emit",
    });
    let names: Vec<_> = names.collect();
    if names.is_empty() { "nothing".into() } else { names.join(", ") }
}

fn sample(local: &local::Local, file: &PathBuf) -> anyhow::Result<String> {
    let payload = std::fs::read(file).with_context(|| format!("the sample {} cannot be read", file.display()))?;
    match local.run(&payload).0 {
        Ok(done) => {
            Ok(done.output.map_or_else(|| "no result".into(), |output| String::from_utf8_lossy(&output).into_owned()))
        }
        Err(failure) => bail!("the sample {} fails in {}: {failure}", file.display(), failure.stage().name()),
    }
}
