//! The catalog in NATS: opening it, and reading what it says.
//!
//! Promises: what is returned was read now, from the stream's leader, and checked. Nothing is cached here.

use std::collections::BTreeMap;

use async_nats::jetstream::stream::{self, DiscardPolicy, StorageType};
use async_nats::jetstream::{self, Context, object_store};
use bytes::Bytes;
use inferbus_catalog_document::{
    Artifact, Digest, Entry, ModelName, Pointer, Problems, Route, RouteName, parse_version,
};
use semver::Version;

use crate::artifacts::Artifacts;
use crate::bucket::{Bucket, Contents, Expect, Stored};
use crate::fault::CatalogFault;
use crate::follower::{FollowOptions, Follower};
use crate::limits;

const MODELS: &str = "models";
const ROUTES: &str = "routes";
const ARTIFACTS: &str = "artifacts";

/// A handle; cloning it is cheap.
#[derive(Clone)]
pub struct Catalog {
    pub(crate) models: Bucket,
    pub(crate) routes: Bucket,
    pub(crate) artifacts: Artifacts,
}

/// One model as a list shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelSummary {
    pub name: ModelName,
    /// The pointer and its revision; none if no version is active.
    pub active: Option<(Result<Pointer, Problems>, u64)>,
    /// The versions that have an entry, the oldest first.
    pub versions: Vec<Version>,
    /// Keys under this name that are not versions.
    pub unrecognized_keys: Vec<String>,
}

/// One route as a list shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteSummary {
    pub name: RouteName,
    pub route: Result<Route, Problems>,
    pub revision: u64,
}

impl Catalog {
    /// Uses a catalog that exists.
    pub async fn open(client: async_nats::Client) -> Result<Self, CatalogFault> {
        let catalog = Self::handle(&jetstream::new(client)).await?;
        for bucket in [&catalog.models, &catalog.routes, &catalog.artifacts.bucket] {
            bucket.info().await?;
        }
        Ok(catalog)
    }

    /// Creates what is missing and changes nothing that exists.
    pub async fn create(client: async_nats::Client) -> Result<Self, CatalogFault> {
        let context = jetstream::new(client);
        let catalog = Self::handle(&context).await?;
        for bucket in [&catalog.models, &catalog.routes] {
            create_key_value(&context, bucket).await?;
        }
        if is_missing(&catalog.artifacts.bucket).await? {
            let config = object_store::Config {
                bucket: ARTIFACTS.to_owned(),
                description: Some("Models and plugins, by digest".to_owned()),
                storage: StorageType::File,
                ..Default::default()
            };
            let created = context.create_object_store(config).await;
            created
                .map_err(|error| CatalogFault::from_client(ARTIFACTS, "create the Object Store `artifacts`", &error))?;
        }
        Ok(catalog)
    }

    async fn handle(context: &Context) -> Result<Self, CatalogFault> {
        Ok(Self {
            models: Bucket::key_value(context, MODELS).await?,
            routes: Bucket::key_value(context, ROUTES).await?,
            artifacts: Artifacts::open(context, ARTIFACTS).await?,
        })
    }

    /// Every model that has a pointer or an entry.
    pub async fn models(&self) -> Result<Vec<ModelSummary>, CatalogFault> {
        let pointers = self.models.list("*", Contents::Whole).await?;
        let entries = self.models.list("*.>", Contents::KeysOnly).await?;
        let mut models = BTreeMap::new();
        for pointer in pointers {
            if let Some(model) = summary(&mut models, &pointer.key) {
                model.active = Some((Pointer::parse(&pointer.value), pointer.revision));
            }
        }
        for entry in entries {
            let Some((name, version)) = entry.key.split_once('.') else {
                continue;
            };
            let Some(model) = summary(&mut models, name) else {
                continue;
            };
            match parse_version(version) {
                Ok(version) => model.versions.push(version),
                Err(_) => model.unrecognized_keys.push(entry.key),
            }
        }
        let mut models: Vec<ModelSummary> = models.into_values().collect();
        models.iter_mut().for_each(|model| model.versions.sort());
        Ok(models)
    }

    /// The models that have a pointer, valid or not.
    pub async fn active_names(&self) -> Result<Vec<ModelName>, CatalogFault> {
        let pointers = self.models.list("*", Contents::KeysOnly).await?;
        let mut names: Vec<ModelName> = pointers.iter().filter_map(|pointer| pointer.key.parse().ok()).collect();
        names.sort();
        Ok(names)
    }

    /// The pointer as it stands, with its revision. None if it was deleted or never put.
    pub async fn pointer(&self, name: &ModelName) -> Result<Option<(Result<Pointer, Problems>, u64)>, CatalogFault> {
        let stored = self.models.last(name.as_str()).await?.filter(|stored| !stored.deleted);
        Ok(stored.map(|stored| (Pointer::parse(&stored.value), stored.revision)))
    }

    /// Whether somebody deleted the pointer, as opposed to a catalog that has lost it or never had it.
    pub async fn is_withdrawn(&self, name: &ModelName) -> Result<bool, CatalogFault> {
        Ok(self.models.last(name.as_str()).await?.is_some_and(|stored| stored.deleted))
    }

    /// The entry of a version, its digest, and its revision.
    pub async fn entry(&self, name: &ModelName, version: &Version) -> Result<(Entry, Digest, u64), CatalogFault> {
        let stored = self.stored_entry(name, version).await?.filter(|stored| !stored.deleted);
        let unknown = || CatalogFault::UnknownVersion { name: name.clone(), version: version.clone() };
        let stored = stored.ok_or_else(unknown)?;
        let entry = Entry::parse(&stored.value).map_err(|problems| CatalogFault::BadEntry {
            name: name.clone(),
            version: version.clone(),
            problems,
        })?;
        let digest = entry.digest();
        Ok((entry, digest, stored.revision))
    }

    pub(crate) async fn stored_entry(
        &self,
        name: &ModelName,
        version: &Version,
    ) -> Result<Option<Stored>, CatalogFault> {
        self.models.last(&entry_key(name, version)?).await
    }

    /// The bytes of an artifact: as many as the entry says, with the digest that the entry says.
    pub async fn artifact(&self, artifact: &Artifact) -> Result<Bytes, CatalogFault> {
        self.artifacts.get(artifact).await
    }

    /// In one list, with their values: a read for each would be one of every worker for every route, whenever one of them changes.
    pub async fn routes(&self) -> Result<Vec<RouteSummary>, CatalogFault> {
        let stored = self.routes.list("*", Contents::Whole).await?;
        let summary = |Stored { key, value, revision, .. }: Stored| {
            let name = key.parse::<RouteName>().ok()?;
            Some(RouteSummary { name, route: Route::parse(&value), revision })
        };
        let mut routes: Vec<RouteSummary> = stored.into_iter().filter_map(summary).collect();
        routes.sort_by(|left, right| left.name.cmp(&right.name));
        Ok(routes)
    }

    /// Writes a route, in place of one of the same name. Returns its revision.
    pub async fn put_route(&self, name: &RouteName, route: &Route) -> Result<u64, CatalogFault> {
        let bytes = route.to_bytes();
        Route::parse(&bytes).map_err(|problems| CatalogFault::BadRoute { name: name.clone(), problems })?;
        let revision = self.routes.put(name.as_str(), bytes.into(), Expect::Anything).await?;
        Ok(revision.unwrap_or_default())
    }

    pub async fn delete_route(&self, name: &RouteName) -> Result<(), CatalogFault> {
        match self.routes.last(name.as_str()).await? {
            Some(stored) if !stored.deleted => self.routes.delete(name.as_str()).await,
            _ => Err(CatalogFault::UnknownRoute { name: name.clone() }),
        }
    }

    /// Follows every change from now on, beginning with all that is there.
    pub fn follow(&self, options: FollowOptions) -> Follower {
        Follower::start(self.models.clone(), self.routes.clone(), options)
    }
}

/// The summary of a model, made if it is new; none for a key that is not the name of a model.
fn summary<'a>(models: &'a mut BTreeMap<String, ModelSummary>, key: &str) -> Option<&'a mut ModelSummary> {
    let name: ModelName = key.parse().ok()?;
    let new = || ModelSummary { name, active: None, versions: Vec::new(), unrecognized_keys: Vec::new() };
    Some(models.entry(key.to_owned()).or_insert_with(new))
}

pub(crate) fn entry_key(name: &ModelName, version: &Version) -> Result<String, CatalogFault> {
    if version.build.is_empty() {
        Ok(format!("{name}.{version}"))
    } else {
        Err(CatalogFault::UnusableVersion(version.clone()))
    }
}

async fn is_missing(bucket: &Bucket) -> Result<bool, CatalogFault> {
    match bucket.info().await {
        Ok(_) => Ok(false),
        Err(CatalogFault::MissingBucket { .. }) => Ok(true),
        Err(fault) => Err(fault),
    }
}

async fn create_key_value(context: &Context, bucket: &Bucket) -> Result<(), CatalogFault> {
    let name = bucket.name;
    match bucket.info().await {
        Ok(info) if info.config.max_messages_per_subject < limits::HISTORY => Err(CatalogFault::ShortHistory {
            bucket: name,
            stream: bucket.stream_name().to_owned(),
            found: info.config.max_messages_per_subject,
            needed: limits::HISTORY,
        }),
        Ok(_) => Ok(()),
        Err(CatalogFault::MissingBucket { .. }) => {
            let doing = format!("create the bucket `{name}`");
            let account = context.query_account().await;
            let account = account.map_err(|error| CatalogFault::from_client(name, &doing, &error))?;
            let created = context
                .create_stream(key_value(bucket, account.limits.max_consumers.is_some_and(|most| most > 0)))
                .await
                .map(drop);
            created.map_err(|error| CatalogFault::from_client(name, &doing, &error))
        }
        Err(fault) => Err(fault),
    }
}

/// What the client would make a bucket's stream of, but for the number of consumers: since release 2.15 a server allows a stream
/// a thousand unless the stream says otherwise, and each worker is one. An account's own limit cannot be raised by a stream.
fn key_value(bucket: &Bucket, account_limits_consumers: bool) -> stream::Config {
    stream::Config {
        name: bucket.stream_name().to_owned(),
        subjects: vec![format!("$KV.{}.>", bucket.name)],
        max_messages_per_subject: limits::HISTORY,
        max_consumers: if account_limits_consumers { -1 } else { limits::CONSUMERS },
        storage: StorageType::File,
        discard: DiscardPolicy::New,
        allow_rollup: true,
        deny_delete: true,
        allow_direct: true,
        ..Default::default()
    }
}
