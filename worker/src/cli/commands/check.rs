//! `inferbus check`: checks a bundle as a worker would, without NATS.

use std::path::PathBuf;

use anyhow::{Context as _, bail};
use clap::Args;
use inferbus::config::Compute;
use inferbus_catalog::{Bundle, Grant, Plugin, Role};
use inferbus_engine::{Port, opsets};
use inferbus_pipeline::Stage;
use serde_json::json;

use crate::cli::local_bundle::{self, LocalBundle};
use crate::cli::print::{self, Format};

const EXAMPLES: &str = "\
Examples:
  inferbus check plugins/examples/digits/bundle-1.0.0
  inferbus check ./defect-1.3.0 --sample frame.bin";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// Folder with a bundle.toml
    #[arg(value_name = "FOLDER")]
    folder: PathBuf,
    /// Payload to run, instead of the bundle's sample
    #[arg(long, value_name = "FILE")]
    sample: Option<PathBuf>,
    /// Output format
    #[arg(long, value_enum, default_value = "text")]
    output: Format,
    #[command(flatten)]
    compute: Compute,
}

pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let bundle = Bundle::read(&arguments.folder)?;
    local_bundle::inspect(&bundle, &arguments.compute.ceilings.ceilings())?;
    let local = LocalBundle::load(&arguments.compute, &bundle)?;
    let ports = |ports: &[Port]| ports.iter().map(ToString::to_string).collect::<Vec<_>>();
    let (inputs, outputs) = (ports(&local.signature.inputs), ports(&local.signature.outputs));
    let given = arguments
        .sample
        .as_ref()
        .map(|file| std::fs::read(file).with_context(|| format!("the sample {} cannot be read", file.display())));
    let given = given.transpose()?;
    let sample = given.as_deref().or(bundle.file(Role::Sample).map(|file| &**file));
    let sample = sample.map(|payload| run_sample(&local, payload)).transpose()?;
    let digest = bundle.entry.digest();
    let model = bundle.file(Role::Model).map(|file| &**file).unwrap_or_default();
    let opsets = opsets(model)?;
    if arguments.output == Format::Json {
        return print::json(&json!({
            "model": bundle.name.to_string(), "version": bundle.version.to_string(), "digest": digest.to_string(),
            "bytes": model.len(), "opsets": opsets, "inputs": inputs, "outputs": outputs, "batch": local.batch(),
            "sample": sample,
        }));
    }
    print::line!("{} {} {digest}: good", bundle.name, bundle.version);
    print::line!("  model    {} bytes, opset {}", model.len(), opsets.join(", "));
    print::line!("  inputs   {}\n  outputs  {}", inputs.join(", "), outputs.join(", "));
    for (stage, plugin) in [(Stage::Pre, &bundle.entry.pre), (Stage::Post, &bundle.entry.post)] {
        if let Some(plugin) = plugin {
            print::line!("  {:8} {} bytes, granted: {}", stage.name(), plugin.size, granted(plugin));
        }
    }
    for (stage, strategy) in &local.strategies {
        print::line!("  {:8} {strategy}", stage.name());
    }
    if local.batch() > 1 {
        print::line!("  batch    up to {} messages per run", local.batch());
    }
    match sample {
        Some(sample) => print::line!("  sample   {sample}"),
        None => print::line!(
            "  sample   none: the fit of plugins and model was not checked; set one in bundle.toml or with --sample"
        ),
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

fn run_sample(local: &LocalBundle, payload: &[u8]) -> anyhow::Result<String> {
    match local.run(payload).0 {
        Ok(done) => {
            Ok(done.output.map_or_else(|| "no result".into(), |output| String::from_utf8_lossy(&output).into_owned()))
        }
        Err(failure) => bail!("the sample fails in {}: {failure}", failure.stage().name()),
    }
}
