//! A workload for all peers: folder, payloads, and the check of results.

use std::path::PathBuf;

use anyhow::ensure;
use bytes::Bytes;

use super::kind::{Kind, Protocol};
use crate::load::Load;
use crate::project::root;
use crate::workloads::kinds::Workload;

const IN_FLIGHT: usize = 64;

/// Checks the results of the request with this number.
pub(super) type Check = dyn Fn(usize, &[Bytes]) -> anyhow::Result<()>;

/// The task of all contestants.
pub struct PeerWorkload {
    pub workload: String,
    /// The last token of the subject.
    pub model: String,
    pub folder: PathBuf,
    pub in_flight: usize,
    pub payloads: Vec<Bytes>,
    /// Separate result messages of a request. Its reply is empty then.
    pub extra: usize,
    pub(super) check: Box<Check>,
}

impl PeerWorkload {
    pub fn digits() -> anyhow::Result<Self> {
        let (payloads, labels): (Vec<Bytes>, Vec<u64>) = Load::pictures()?.into_iter().unzip();
        let check = move |number: usize, results: &[Bytes]| {
            let [result] = results else { anyhow::bail!("{} results instead of one", results.len()) };
            let result: serde_json::Value = serde_json::from_slice(result)?;
            ensure!(result["label"].as_u64() == Some(labels[number % labels.len()]), "a wrong label: {result}");
            Ok(())
        };
        let folder = root().join("plugins/examples/digits/bundle-1.0.0");
        let (workload, model) = ("tiny".into(), "digits".into());
        Ok(Self { workload, model, folder, in_flight: IN_FLIGHT, payloads, extra: 0, check: Box::new(check) })
    }

    pub fn of(workload: Workload) -> anyhow::Result<Self> {
        let (kind, payloads, extra) = (workload.kind, workload.payloads.clone(), workload.extra());
        let check = move |number: usize, results: &[Bytes]| workload.check(number, results, true);
        let (name, folder) = (kind.name.to_owned(), kind.python_folder());
        let (model, in_flight, check) = (name.clone(), kind.in_flight, Box::new(check));
        Ok(Self { model, workload: name, folder, in_flight, payloads, extra, check })
    }

    /// The reason why a peer cannot do it, if any.
    pub(super) fn unsupported(&self, kind: &Kind) -> Option<String> {
        let unfit = self.extra > 0 && kind.protocol != Protocol::Nats;
        unfit.then(|| format!("it cannot publish the {} results of a message", self.extra))
    }
}
