//! Loads versions and routes from the catalog.

use std::sync::Arc;

use inferbus_catalog::{Catalog, CatalogFault, Digest, ModelName, Route, RouteName, RouteSummary, Version};

use super::fault::OfflineFault;
use crate::models::bundle::Bundle;
use crate::models::loader::{Artifacts, Loader};
use crate::observe::metrics::Metrics;
use inferbus_pipeline::Identity;

/// Fetches a version and loads it as a worker does. The default is the active version.
pub async fn version(
    catalog: &Catalog,
    loader: &Arc<Loader>,
    model: &ModelName,
    version: Option<&Version>,
) -> Result<Arc<Bundle>, OfflineFault> {
    let (version, wanted) = match version {
        Some(version) => (version.clone(), None),
        None => active(catalog, model).await?,
    };
    let (entry, digest, _) = catalog.entry(model, &version).await?;
    if let Some(wanted) = wanted.filter(|wanted| *wanted != digest) {
        return Err(OfflineFault::OtherDigest { model: model.clone(), version, wanted, found: digest });
    }
    let artifacts = Artifacts::fetch(catalog, &entry, None).await?;
    let identity = Identity { model: model.clone(), version: version.clone(), digest };
    let loader = loader.clone();
    // Loading blocks for seconds, and the connection must stay responsive.
    let loaded = tokio::task::spawn_blocking(move || loader.load(identity, &entry, &artifacts, &Metrics::new())).await;
    let loaded = loaded.map_err(|fault| OfflineFault::LoadPanicked(fault.to_string()))?;
    loaded.map(Arc::new).map_err(|fault| OfflineFault::Bundle { model: model.clone(), version, fault: Box::new(fault) })
}

async fn active(catalog: &Catalog, model: &ModelName) -> Result<(Version, Option<Digest>), OfflineFault> {
    let (pointer, _) = catalog.pointer(model).await?.ok_or_else(|| CatalogFault::NoPointer { name: model.clone() })?;
    let pointer = pointer.map_err(|problems| OfflineFault::Pointer { model: model.clone(), problems })?;
    Ok((pointer.version, pointer.digest))
}

pub async fn route(catalog: &Catalog, name: &RouteName) -> Result<Route, OfflineFault> {
    let found = catalog.routes().await?.into_iter().find(|summary| summary.name == *name);
    let unknown = || CatalogFault::UnknownRoute { name: name.clone() };
    let RouteSummary { route, .. } = found.ok_or_else(unknown)?;
    route.map_err(|problems| OfflineFault::BadRoute { name: name.clone(), problems })
}
