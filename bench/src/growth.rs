//! The growth of costs with sizes and numbers: one file per family of curves.
//!
//! Guarantees: the points of a curve alternate where possible, so a noisy machine affects all of them. Every answer is
//! checked.

mod catalog;
mod in_flight;
mod payload;
mod plugin_memory;
mod points;
mod routes;
mod site;
mod workers;

use anyhow::ensure;

use crate::paper::figures::Figures;

const NAMES: [&str; 6] = ["payload", "in-flight", "models", "workers", "routes", "plugin-memory"];

/// Measures the named curves, or all.
pub async fn measure(names: &[String], figures: &mut Figures) -> anyhow::Result<()> {
    let unknown = names.iter().find(|name| !NAMES.contains(&name.as_str()));
    ensure!(unknown.is_none(), "the curve {unknown:?} does not exist; known curves are {}", NAMES.join(", "));
    for name in NAMES.into_iter().filter(|name| names.is_empty() || names.iter().any(|wanted| wanted == name)) {
        eprintln!("growth: {name}");
        match name {
            "payload" => payload::measure(figures).await?,
            "in-flight" => in_flight::measure(figures).await?,
            "models" => catalog::measure(figures).await?,
            "workers" => workers::measure(figures).await?,
            "routes" => routes::measure(figures).await?,
            _ => plugin_memory::measure(figures)?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_unknown_curve_is_rejected() {
        let fault = measure(&["payloads".into()], &mut Figures::default()).await.unwrap_err();
        assert!(fault.to_string().contains("payloads") && fault.to_string().contains("in-flight"), "{fault}");
    }
}
