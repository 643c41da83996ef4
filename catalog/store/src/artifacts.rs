//! Artifacts in the Object Store, named by their digests, in the format of the `nats object` command.
//!
//! Guarantees: a returned artifact has the size and digest in its entry. The object's own metadata only locates its
//! chunks. Links are never followed. A missing chunk ends a read. An object replaced during a read is read again, a
//! bounded number of times.

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

/// The metadata of an object, as specified for the Object Store and shared with other clients.
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

/// A callback with the number of processed bytes.
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

    /// Reads and hashes all bytes without keeping them.
    pub(crate) async fn verify(&self, wanted: &Artifact, on_bytes: OnBytes<'_>) -> Result<(), CatalogFault> {
        let meta = self.meta(wanted).await?;
        self.read(wanted, meta, None, on_bytes).await
    }

    /// Checks the name and size of the object without reading its chunks.
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
                Err(CatalogFault::Damaged { digest, reason: "its metadata lacks the name of its chunks".to_owned() })
            }
            _ => Ok(meta),
        }
    }

    /// Reads the object of `meta`, or the new object if it is replaced during the read.
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

    /// Stores the bytes under their digest and replaces any object there. They are visible only once all are confirmed.
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
        // The first of two concurrent uploads wins. The other one deletes its chunks.
        if self.bucket.put_only(&meta_key(digest), meta.to_bytes(digest)?, expect).await?.is_none() {
            self.forget_chunks(&meta.nuid).await;
        } else if let Some(before) = before.and_then(|before| serde_json::from_slice::<Meta>(&before.value).ok()) {
            self.forget_chunks(&before.nuid).await;
        }
        Ok(())
    }

    /// Unreferenced chunks only use storage, so a failed deletion is not an error of the caller.
    async fn forget_chunks(&self, nuid: &str) {
        if !is_nuid(nuid) {
            return;
        }
        if let Err(fault) = self.bucket.purge(&chunk_key(nuid)).await {
            tracing::warn!(%fault, "cannot delete unreferenced chunks of the Object Store");
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

/// Whether the name of the chunks is one plain token. Other names could match foreign subjects.
fn is_nuid(nuid: &str) -> bool {
    !nuid.is_empty() && nuid.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

fn meta_key(digest: Digest) -> String {
    format!("M.{}", URL_SAFE.encode(digest.to_string()))
}

fn chunk_key(nuid: &str) -> String {
    format!("C.{nuid}")
}
