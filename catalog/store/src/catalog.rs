//! Opens, creates and reads the catalog in NATS.
//!
//! Guarantees: every result is read from the stream's leader and checked. Nothing is cached.

use std::collections::BTreeMap;

use async_nats::jetstream::stream::{self, DiscardPolicy, StorageType};
use async_nats::jetstream::{self, Context, object_store};
use bytes::Bytes;
use inferbus_catalog_document::{
    Artifact, Digest, Entry, ModelName, Pointer, Problems, Route, RouteName, Version, parse_version,
};

use crate::artifacts::Artifacts;
use crate::bucket::{Bucket, Contents, Expect, Stored};
use crate::fault::CatalogFault;
use crate::follower::{FollowOptions, Follower};
use crate::limits;

const MODELS: &str = "models";
const ROUTES: &str = "routes";
const ARTIFACTS: &str = "artifacts";

/// A handle to the catalog. Cloning is cheap.
#[derive(Clone)]
pub struct Catalog {
    pub(crate) models: Bucket,
    pub(crate) routes: Bucket,
    pub(crate) artifacts: Artifacts,
}

/// One model in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelSummary {
    pub name: ModelName,
    /// The pointer and its revision, or `None` without an active version.
    pub active: Option<(Result<Pointer, Problems>, u64)>,
    /// The versions with an entry, oldest first.
    pub versions: Vec<Version>,
    /// Keys below this name without a valid version.
    pub unrecognized_keys: Vec<String>,
}

/// One route in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteSummary {
    pub name: RouteName,
    pub route: Result<Route, Problems>,
    pub revision: u64,
}

impl Catalog {
    /// Opens an existing catalog.
    pub async fn open(client: async_nats::Client) -> Result<Self, CatalogFault> {
        let catalog = Self::handle(&jetstream::new(client)).await?;
        for bucket in [&catalog.models, &catalog.routes, &catalog.artifacts.bucket] {
            bucket.info().await?;
        }
        Ok(catalog)
    }

    /// Creates the missing buckets and leaves existing ones unchanged.
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

    /// All models with a pointer or an entry.
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

    /// The models with a pointer, valid or not.
    pub async fn active_names(&self) -> Result<Vec<ModelName>, CatalogFault> {
        let pointers = self.models.list("*", Contents::KeysOnly).await?;
        let mut names: Vec<ModelName> = pointers.iter().filter_map(|pointer| pointer.key.parse().ok()).collect();
        names.sort();
        Ok(names)
    }

    /// The pointer and its revision, or `None` if it was deleted or never written.
    pub async fn pointer(&self, name: &ModelName) -> Result<Option<(Result<Pointer, Problems>, u64)>, CatalogFault> {
        let stored = self.models.last(name.as_str()).await?.filter(|stored| !stored.deleted);
        Ok(stored.map(|stored| (Pointer::parse(&stored.value), stored.revision)))
    }

    /// Whether the pointer was deleted explicitly. False for a lost pointer and for one never written.
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

    /// The content of an artifact, checked against its size and digest.
    pub async fn artifact(&self, artifact: &Artifact) -> Result<Bytes, CatalogFault> {
        self.artifacts.get(artifact).await
    }

    /// All routes, in one list request. Separate reads would cost each worker one request per route at every change.
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

    /// Creates or replaces a route. Returns its revision.
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

    /// Follows all changes. The first notification contains all existing models.
    pub fn follow(&self, options: FollowOptions) -> Follower {
        Follower::start(self.models.clone(), self.routes.clone(), options)
    }
}

/// The summary of a model, created if missing, or `None` if `key` is not a model name.
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

/// The client's configuration of a bucket's stream, with a higher consumer limit. Since release 2.15 the default is
/// 1,000 consumers per stream, and each worker needs one. A stream cannot exceed the account's own limit.
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
