//! The reset strategy of each stored plugin between two messages, found by loading it here.

use inferbus::models::loader::load_plugin;
use inferbus_catalog::{Catalog, Entry, Plugin, Role};
use inferbus_sandbox::{Ceilings, Sandbox};
use serde_json::{Map, Value, json};

use super::child_process;

/// The strategy of one plugin, or the reason for its absence.
pub struct PluginStrategy {
    pub role: Role,
    pub strategy: Result<String, String>,
}

/// Fetches and loads every plugin as a worker with these ceilings does. It does not need the model.
pub async fn find(catalog: &Catalog, entry: &Entry, ceilings: &Ceilings) -> Vec<PluginStrategy> {
    let mut found = Vec::new();
    for (role, plugin) in [(Role::Pre, &entry.pre), (Role::Post, &entry.post)] {
        if let Some(plugin) = plugin {
            found.push(PluginStrategy { role, strategy: strategy(catalog, entry, plugin, ceilings).await });
        }
    }
    found
}

async fn strategy(catalog: &Catalog, entry: &Entry, plugin: &Plugin, ceilings: &Ceilings) -> Result<String, String> {
    let wasm = catalog.artifact(&plugin.artifact()).await.map_err(|fault| fault.to_string())?;
    let (entry, plugin, ceilings) = (entry.clone(), plugin.clone(), ceilings.clone());
    let load = move || {
        let compiler = child_process::compiler().map_err(|fault| fault.to_string())?;
        let sandbox = Sandbox::new(ceilings).map_err(|fault| fault.to_string())?.compiling_with(compiler);
        let loaded = load_plugin(&sandbox, &entry, &plugin, &wasm).map_err(|fault| format!("the plugin {fault}"))?;
        Ok(loaded.strategy().to_string())
    };
    // Compiling blocks for seconds, and the connection must stay responsive.
    tokio::task::spawn_blocking(load).await.unwrap_or_else(|fault| Err(fault.to_string()))
}

/// By role: a `strategy`, or a `problem`.
pub fn json(found: &[PluginStrategy]) -> Value {
    let value = |found: &PluginStrategy| match &found.strategy {
        Ok(strategy) => json!({ "strategy": strategy }),
        Err(why) => json!({ "problem": why }),
    };
    Value::Object(found.iter().map(|found| (found.role.name().to_owned(), value(found))).collect::<Map<_, _>>())
}
