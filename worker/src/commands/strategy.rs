//! How each plugin of a stored entry is brought back between two messages, and why: found out by loading it here.

use inferbus::models::bundle::load_plugin;
use inferbus_catalog::{Catalog, Entry, Plugin, Role};
use inferbus_sandbox::{Ceilings, Sandbox};
use serde_json::{Map, Value, json};

use super::compile_plugin;

/// What is found out about one plugin, or why it cannot be.
pub struct Found {
    pub role: Role,
    pub strategy: Result<String, String>,
}

/// Fetches every plugin and loads it as a worker with these ceilings does. The model is not needed for it.
pub async fn find(catalog: &Catalog, entry: &Entry, ceilings: &Ceilings) -> Vec<Found> {
    let mut found = Vec::new();
    for (role, plugin) in [(Role::Pre, &entry.pre), (Role::Post, &entry.post)] {
        if let Some(plugin) = plugin {
            found.push(Found { role, strategy: strategy(catalog, entry, plugin, ceilings).await });
        }
    }
    found
}

async fn strategy(catalog: &Catalog, entry: &Entry, plugin: &Plugin, ceilings: &Ceilings) -> Result<String, String> {
    let wasm = catalog.artifact(&plugin.artifact()).await.map_err(|fault| fault.to_string())?;
    let (entry, plugin, ceilings) = (entry.clone(), plugin.clone(), ceilings.clone());
    let load = move || {
        let compiler = compile_plugin::compiler().map_err(|fault| fault.to_string())?;
        let sandbox = Sandbox::new(ceilings).map_err(|fault| fault.to_string())?.compiling_with(compiler);
        let loaded = load_plugin(&sandbox, &entry, &plugin, &wasm).map_err(|fault| format!("the plugin {fault}"))?;
        Ok(loaded.strategy().to_string())
    };
    // Compiling takes its time, and the connection must be answered meanwhile.
    tokio::task::spawn_blocking(load).await.unwrap_or_else(|fault| Err(fault.to_string()))
}

/// By stage: `strategy`, or `problem` where it cannot be told.
pub fn json(found: &[Found]) -> Value {
    let told = |found: &Found| match &found.strategy {
        Ok(strategy) => json!({ "strategy": strategy }),
        Err(why) => json!({ "problem": why }),
    };
    Value::Object(found.iter().map(|found| (found.role.name().to_owned(), told(found))).collect::<Map<_, _>>())
}
