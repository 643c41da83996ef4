//! Checks of the catalog and the workers: loadable versions, ready workers, one version of Inferbus.

use std::collections::BTreeMap;

use crate::doctor::facts::Facts;
use crate::doctor::finding::{Problem, danger, unknown, warning};

pub fn catalog(facts: &Facts) -> Vec<Problem> {
    let models = match &facts.models {
        Ok(models) => models,
        Err(why) => {
            let message = format!("the catalog is not readable: {why}");
            return vec![unknown(message, "create a missing catalog with `inferbus push`")];
        }
    };
    let broken = models.iter().filter_map(|model| Some((&model.name, model.problem.as_ref()?)));
    let remedy = "push that version again, or run `inferbus rollback`; \
                  running workers keep their version, new workers cannot load this one";
    broken
        .map(|(name, problem)| danger(format!("the active version of {name} cannot be loaded: {problem}"), remedy))
        .collect()
}

pub fn workers(facts: &Facts) -> Vec<Problem> {
    let workers = match &facts.workers {
        Ok(workers) => workers,
        Err(why) => {
            let message = format!("the status of the workers is not readable: {why}");
            return vec![unknown(message, "allow this connection to publish on $SRV.>")];
        }
    };
    let active = facts.models.iter().flatten().count();
    if workers.is_empty() && active > 0 {
        return vec![warning("no worker answers", "start one with `inferbus worker`")];
    }
    let mut problems = Vec::new();
    for worker in workers {
        let status = &worker.status;
        if !status.ready {
            let message = format!("the worker {} is not ready: {}", status.worker, status.unready.join("; "));
            problems.push(warning(message, "see `inferbus status` and the worker's log"));
        }
        if let Some(why) = &status.catalog {
            let message = format!("the worker {} does not follow the catalog: {why}", status.worker);
            problems.push(warning(message, "check its catalog permissions with `inferbus doctor --as-worker`"));
        }
        let failed = status
            .models
            .iter()
            .filter(|model| model.version.is_some())
            .filter_map(|model| Some((model, model.error.as_ref()?)));
        for (model, error) in failed {
            let message = format!("the worker {} serves an older version of {}: {error}", status.worker, model.model);
            problems.push(warning(message, "fix the wanted version, or run `inferbus rollback`"));
        }
    }
    problems
}

pub fn versions(facts: &Facts) -> Vec<Problem> {
    let mut versions: BTreeMap<&str, usize> = BTreeMap::new();
    for worker in facts.workers.iter().flatten() {
        *versions.entry(&worker.version).or_default() += 1;
    }
    if versions.len() < 2 {
        return Vec::new();
    }
    let counted: Vec<String> = versions.iter().map(|(version, count)| format!("{count} of {version}")).collect();
    let message = format!("workers run several versions of Inferbus: {}", counted.join(", "));
    vec![warning(message, "finish the update: workers share consumers, and old workers may reject new catalog entries")]
}
