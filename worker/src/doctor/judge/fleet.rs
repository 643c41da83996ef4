//! The catalog and the workers: whether what is active can be loaded, and whether everybody serves it.

use std::collections::BTreeMap;

use crate::doctor::facts::Facts;
use crate::doctor::finding::{Remark, danger, unknown, warning};

pub fn catalog(facts: &Facts) -> Vec<Remark> {
    let models = match &facts.models {
        Ok(models) => models,
        Err(why) => {
            return vec![unknown(
                format!("the catalog could not be read: {why}"),
                "`inferbus push` makes one that is missing",
            )];
        }
    };
    let broken = models.iter().filter_map(|model| Some((&model.name, model.problem.as_ref()?)));
    let todo = "push that version again, or `inferbus rollback`: workers that run keep what they have, new ones do not start it";
    broken
        .map(|(name, problem)| danger(format!("the active version of {name} cannot be loaded: {problem}"), todo))
        .collect()
}

pub fn workers(facts: &Facts) -> Vec<Remark> {
    let workers = match &facts.workers {
        Ok(workers) => workers,
        Err(why) => {
            return vec![unknown(
                format!("the workers could not be asked: {why}"),
                "let this connection publish on $SRV.>",
            )];
        }
    };
    let active = facts.models.iter().flatten().count();
    if workers.is_empty() && active > 0 {
        return vec![warning("no worker answers", "start one with `inferbus worker`")];
    }
    let mut remarks = Vec::new();
    for worker in workers {
        let status = &worker.status;
        if !status.ready {
            let what = format!("the worker {} is not ready: {}", status.worker, status.unready.join("; "));
            remarks.push(warning(what, "`inferbus status` and the worker's log say more"));
        }
        if let Some(why) = &status.catalog {
            let what = format!("the worker {} does not follow the catalog: {why}", status.worker);
            remarks.push(warning(what, "see whether it may read the catalog: `inferbus doctor --as-worker`"));
        }
        let failed = status
            .models
            .iter()
            .filter(|model| model.version.is_some())
            .filter_map(|model| Some((model, model.error.as_ref()?)));
        for (model, error) in failed {
            let what = format!("the worker {} serves an older version of {}: {error}", status.worker, model.model);
            remarks.push(warning(what, "mend that version, or `inferbus rollback`"));
        }
    }
    remarks
}

pub fn versions(facts: &Facts) -> Vec<Remark> {
    let mut versions: BTreeMap<&str, usize> = BTreeMap::new();
    for worker in facts.workers.iter().flatten() {
        *versions.entry(&worker.version).or_default() += 1;
    }
    if versions.len() < 2 {
        return Vec::new();
    }
    let counted: Vec<String> = versions.iter().map(|(version, count)| format!("{count} of {version}")).collect();
    let what = format!("workers of several versions of Inferbus run: {}", counted.join(", "));
    vec![warning(what, "finish the update: they share consumers, and an entry that one takes the other may refuse")]
}
