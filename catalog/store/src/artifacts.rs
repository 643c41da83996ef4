//! Artifacts in the Object Store, kept as the ordinary `nats object` command keeps them, under their digest.
//!
//! Promises: what is read has the size and the digest that the entry demands; what the object says about
//! itself only helps to find its chunks. Links are never followed. A missing chunk ends a read, and an object
//! that is replaced meanwhile is read again; neither waits for ever.

use std::collections::VecDeque;

use async_nats::jetstream::Context;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE;
use bytes::{Bytes, BytesMut};
use inferbus_catalog_document::{Artifact, Digest, DigestHasher};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::bucket::{Bucket, Expect};
use crate::fault::CatalogFault;
use crate::limits;

#[derive(Clone)]
pub(crate) struct Artifacts {
    pub(crate) bucket: Bucket,
}

/// What the Object Store convention says about an object; other clients write and read the same.
#[derive(Debug, Serialize, Deserialize)]
struct Meta {
    name: String,
    bucket: String,
    #[serde(default)]
    nuid: String,
    #[serde(default)]
    size: u64,
    #[serde(default)]
    chunks: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    digest: Option<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    deleted: bool,
    #[serde(default)]
    options: Option<MetaOptions>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct MetaOptions {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    link: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    max_chunk_size: Option<usize>,
}

/// Called with the number of bytes done so far.
pub(crate) type OnBytes<'a> = &'a mut (dyn FnMut(u64) + Send);

impl Artifacts {
    pub(crate) async fn open(context: &Context, name: &'static str) -> Result<Self, CatalogFault> {
        Ok(Self { bucket: Bucket::objects(context, name).await? })
    }

    pub(crate) async fn get(&self, wanted: &Artifact) -> Result<Bytes, CatalogFault> {
        let mut bytes = BytesMut::new();
        let meta = self.meta(wanted).await?;
        self.read(wanted, meta, Some(&mut bytes), &mut |_| {}).await?;
        Ok(bytes.freeze())
    }

    /// Reads every byte and keeps none.
    pub(crate) async fn verify(&self, wanted: &Artifact, on_bytes: OnBytes<'_>) -> Result<(), CatalogFault> {
        let meta = self.meta(wanted).await?;
        self.read(wanted, meta, None, on_bytes).await
    }

    /// Whether there is an object of the right name and size, without reading it.
    pub(crate) async fn find(&self, wanted: &Artifact) -> Result<(), CatalogFault> {
        self.meta(wanted).await.map(drop)
    }

    async fn meta(&self, wanted: &Artifact) -> Result<Meta, CatalogFault> {
        let digest = wanted.digest;
        if wanted.size > limits::ARTIFACT_BYTES {
            return Err(CatalogFault::TooLarge { digest, size: wanted.size });
        }
        let stored = self.bucket.last(&meta_key(digest)).await?.filter(|stored| !stored.deleted);
        let stored = stored.ok_or(CatalogFault::MissingArtifact { digest })?;
        let meta: Meta = serde_json::from_slice(&stored.value)
            .map_err(|error| CatalogFault::Damaged { digest, reason: format!("its metadata is not valid: {error}") })?;
        match &meta {
            Meta { deleted: true, .. } => Err(CatalogFault::MissingArtifact { digest }),
            Meta { options: Some(MetaOptions { link: Some(_), .. }), .. } => {
                Err(CatalogFault::LinkedArtifact { digest })
            }
            Meta { size, .. } if *size != wanted.size => {
                Err(CatalogFault::WrongSize { digest, expected: wanted.size, found: *size })
            }
            _ if !is_nuid(&meta.nuid) => {
                Err(CatalogFault::Damaged { digest, reason: "its metadata names no chunks".to_owned() })
            }
            _ => Ok(meta),
        }
    }

    /// Reads the object that `meta` describes, or its successor if it is replaced under way.
    async fn read(
        &self,
        wanted: &Artifact,
        mut meta: Meta,
        mut keep: Option<&mut BytesMut>,
        on_bytes: OnBytes<'_>,
    ) -> Result<(), CatalogFault> {
        let mut attempt = 1;
        loop {
            let fault = match self.read_chunks(wanted, &meta, keep.as_deref_mut(), on_bytes).await {
                Err(fault @ CatalogFault::Truncated { .. }) if attempt < limits::READ_ATTEMPTS => fault,
                done => return done,
            };
            let now = self.meta(wanted).await?;
            if now.nuid == meta.nuid {
                return Err(fault);
            }
            meta = now;
            attempt += 1;
        }
    }

    async fn read_chunks(
        &self,
        wanted: &Artifact,
        meta: &Meta,
        mut keep: Option<&mut BytesMut>,
        on_bytes: OnBytes<'_>,
    ) -> Result<(), CatalogFault> {
        let Artifact { digest, size: expected } = *wanted;
        if let Some(keep) = keep.as_deref_mut() {
            keep.clear();
            keep.reserve(usize::try_from(expected.min(limits::FIRST_RESERVE)).unwrap_or(0));
        }
        let key = chunk_key(&meta.nuid);
        let (mut hasher, mut found, mut from) = (DigestHasher::default(), 0, 0);
        while found < expected {
            let chunk = self.bucket.next(&key, from).await?;
            let chunk = chunk.ok_or(CatalogFault::Truncated { digest, expected, found })?;
            if chunk.value.is_empty() {
                return Err(CatalogFault::Damaged { digest, reason: "it has an empty chunk".to_owned() });
            }
            found += chunk.value.len() as u64;
            if found > expected {
                return Err(CatalogFault::WrongSize { digest, expected, found });
            }
            from = chunk.revision + 1;
            hasher.update(&chunk.value);
            if let Some(keep) = keep.as_deref_mut() {
                keep.extend_from_slice(&chunk.value);
            }
            on_bytes(found);
        }
        match hasher.finish() {
            found if found == digest => Ok(()),
            found => Err(CatalogFault::WrongDigest { expected: digest, found }),
        }
    }

    /// Stores the bytes under their digest in place of whatever is there. Nobody sees them before all are confirmed.
    pub(crate) async fn put(&self, bytes: &Bytes, on_bytes: OnBytes<'_>) -> Result<(), CatalogFault> {
        let digest = Digest::of(bytes);
        let before = self.bucket.last(&meta_key(digest)).await?;
        let expect = Expect::Revision(before.as_ref().map_or(0, |before| before.revision));
        let nuid = self.bucket.unique_token();
        let (chunks, chunk_size) = match self.put_chunks(&chunk_key(&nuid), bytes, on_bytes).await {
            Ok(sent) => sent,
            Err(fault) => {
                self.forget_chunks(&nuid).await;
                return Err(fault);
            }
        };
        let meta = Meta {
            name: digest.to_string(),
            bucket: self.bucket.name.to_owned(),
            nuid,
            size: bytes.len() as u64,
            chunks,
            digest: Some(format!("SHA-256={}", URL_SAFE.encode(digest.as_bytes()))),
            deleted: false,
            options: Some(MetaOptions { link: None, max_chunk_size: Some(chunk_size) }),
        };
        // Of two that store the same at once the first wins, and the other takes its own chunks away.
        if self.bucket.put_only(&meta_key(digest), meta.to_bytes(digest)?, expect).await?.is_none() {
            self.forget_chunks(&meta.nuid).await;
        } else if let Some(before) = before.and_then(|before| serde_json::from_slice::<Meta>(&before.value).ok()) {
            self.forget_chunks(&before.nuid).await;
        }
        Ok(())
    }

    /// Chunks that no metadata names only take room, so failing to remove them fails nothing else.
    async fn forget_chunks(&self, nuid: &str) {
        if !is_nuid(nuid) {
            return;
        }
        if let Err(fault) = self.bucket.purge(&chunk_key(nuid)).await {
            tracing::warn!(%fault, "chunks that nobody needs stay in the Object Store");
        }
    }

    async fn put_chunks(&self, key: &str, bytes: &Bytes, on_bytes: OnBytes<'_>) -> Result<(u64, usize), CatalogFault> {
        let chunk_size = limits::CHUNK_BYTES.min(self.bucket.largest_payload() / 2).max(1);
        let mut in_flight = VecDeque::new();
        let (mut chunks, mut done) = (0, 0);
        let mut rest = bytes.clone();
        loop {
            if in_flight.len() >= limits::CHUNKS_IN_FLIGHT || rest.is_empty() {
                let Some((ack, len)) = in_flight.pop_front() else {
                    return Ok((chunks, chunk_size));
                };
                self.bucket.confirm(key, ack).await?;
                done += len;
                on_bytes(done);
            } else {
                let chunk = rest.split_to(chunk_size.min(rest.len()));
                let len = chunk.len() as u64;
                in_flight.push_back((self.bucket.append(key, chunk).await?, len));
                chunks += 1;
            }
        }
    }
}

impl Meta {
    fn to_bytes(&self, digest: Digest) -> Result<Bytes, CatalogFault> {
        let reason = |error| format!("its metadata cannot be written: {error}");
        let text = serde_json::to_vec(self).map_err(|error| CatalogFault::Damaged { digest, reason: reason(error) })?;
        Ok(text.into())
    }
}

/// Whether the name of a set of chunks is one plain token, and so cannot reach into other subjects.
fn is_nuid(nuid: &str) -> bool {
    !nuid.is_empty() && nuid.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

fn meta_key(digest: Digest) -> String {
    format!("M.{}", URL_SAFE.encode(digest.to_string()))
}

fn chunk_key(nuid: &str) -> String {
    format!("C.{nuid}")
}
