//! The store as Pingora's cache asks for it: looking up, receiving an answer piece by piece, and handing one out again.
//!
//! Invariant: an answer is taken in when its end has come, whole, or never. Pingora's own `MemCache` is for tests: it has no bound
//! of its own, and packs and unpacks a head for each request.

use std::any::Any;

use async_trait::async_trait;
use bytes::Bytes;
use http::header;
use pingora::{Error, ErrorType, Result};
use pingora_cache::key::CacheHashKey as _;
use pingora_cache::storage::{
    HandleHit, HandleMiss, HitHandler, MissFinishType, MissHandler, PurgeOutcome, PurgeTarget, PurgeType,
    Storage,
};
use pingora_cache::trace::SpanHandle;
use pingora_cache::{CacheKey, CacheMeta};

use super::store::{Key, Object};
use super::{Cache, epoch_of};

/// What is handed out at once: whoever is compressed for waits no longer than for a piece from an upstream.
const PIECE: usize = 64 * 1024;

#[async_trait]
impl Storage for Cache {
    async fn lookup(
        &'static self,
        key: &CacheKey,
        _trace: &SpanHandle,
    ) -> Result<Option<(CacheMeta, HitHandler)>> {
        let found = self.store.lock().get(epoch_of(key), &key.primary_bin(), key.variance_bin());
        Ok(found.map(|(object, since)| {
            let head = object.head.clone();
            let mut meta = CacheMeta::new(object.fresh_until, since, 0, object.stale_if_error, head);
            // Its age counts from here, and not from the first answer for the target.
            meta.set_epoch_override(object.updated);
            if let Some(variance) = object.variance {
                meta.set_variance(variance);
            }
            let handler: HitHandler =
                Box::new(Serving { left: object.body.clone(), whole: object.body.clone() });
            (meta, handler)
        }))
    }

    async fn get_miss_handler(
        &'static self,
        key: &CacheKey,
        meta: &CacheMeta,
        _trace: &SpanHandle,
    ) -> Result<MissHandler> {
        Ok(Box::new(Receiving {
            cache: self,
            epoch: epoch_of(key),
            key: key.primary_bin(),
            object: Some(object(meta, Bytes::new())),
            body: Vec::new(),
            reserved: 0,
        }))
    }

    async fn purge(
        &'static self,
        _target: PurgeTarget<'_>,
        _purge_type: PurgeType,
        _trace: &SpanHandle,
    ) -> Result<PurgeOutcome> {
        // The store makes room by itself, and targets are forgotten through `Cache::forget`: nobody asks for this.
        Ok(PurgeOutcome::NotFound)
    }

    async fn update_meta(
        &'static self,
        key: &CacheKey,
        meta: &CacheMeta,
        _trace: &SpanHandle,
    ) -> Result<bool> {
        let mut store = self.store.lock();
        let (epoch, primary) = (epoch_of(key), key.primary_bin());
        let known = store.get(epoch, &primary, meta.variance());
        let Some((known, _)) = known.filter(|(known, _)| known.variance == meta.variance()) else {
            return Ok(false);
        };
        store.put(epoch, primary, object(meta, known.body.clone()));
        Ok(true)
    }

    fn as_any(&self) -> &(dyn Any + Send + Sync + 'static) {
        self
    }
}

fn object(meta: &CacheMeta, body: Bytes) -> Object {
    Object {
        variance: meta.variance(),
        head: meta.response_header_copy(),
        body,
        fresh_until: meta.fresh_until(),
        updated: meta.updated(),
        stale_if_error: meta.stale_if_error_sec(),
    }
}

/// An answer that is being received. Dropped before its end it leaves nothing behind.
struct Receiving {
    cache: &'static Cache,
    epoch: u64,
    key: Key,
    /// None once there was no room for it.
    object: Option<Object>,
    body: Vec<u8>,
    reserved: u64,
}

#[async_trait]
impl HandleMiss for Receiving {
    async fn write_body(&mut self, data: Bytes, _eof: bool) -> Result<()> {
        if self.object.is_none() {
            return Ok(());
        }
        let bytes = data.len() as u64;
        let fits = self.reserved + bytes <= self.cache.max_object();
        if fits && self.cache.store.lock().reserve(bytes) {
            self.reserved += bytes;
            self.body.extend_from_slice(&data);
        } else {
            self.object = None;
            self.body = Vec::new();
        }
        Ok(())
    }

    async fn finish(mut self: Box<Self>) -> Result<MissFinishType> {
        let body = Bytes::from(std::mem::take(&mut self.body).into_boxed_slice());
        let size = body.len();
        if let Some(mut object) = self.object.take() {
            let said = object.head.headers.get(header::CONTENT_LENGTH);
            let said = said.and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
            if said.is_none() {
                object.head.insert_header(header::CONTENT_LENGTH, size)?;
            }
            if said.is_none_or(|said| said == size) {
                object.body = body;
                let mut store = self.cache.store.lock();
                store.release(std::mem::take(&mut self.reserved));
                store.put(self.epoch, self.key, object);
            }
        }
        Ok(MissFinishType::Created(size))
    }
}

impl Drop for Receiving {
    fn drop(&mut self) {
        if self.reserved > 0 {
            self.cache.store.lock().release(self.reserved);
        }
    }
}

/// An answer that is handed out.
struct Serving {
    whole: Bytes,
    left: Bytes,
}

#[async_trait]
impl HandleHit for Serving {
    async fn read_body(&mut self) -> Result<Option<Bytes>> {
        let piece = self.left.split_to(self.left.len().min(PIECE));
        Ok(Some(piece).filter(|piece| !piece.is_empty()))
    }

    async fn finish(
        self: Box<Self>,
        _storage: &'static (dyn Storage + Sync),
        _key: &CacheKey,
        _trace: &SpanHandle,
    ) -> Result<()> {
        Ok(())
    }

    fn can_seek(&self) -> bool {
        true
    }

    fn seek(&mut self, start: usize, end: Option<usize>) -> Result<()> {
        let end = end.unwrap_or(self.whole.len()).min(self.whole.len());
        if start > end {
            return Error::e_explain(ErrorType::InternalError, "a part begins behind the end of the body");
        }
        self.left = self.whole.slice(start..end);
        Ok(())
    }

    fn as_any(&self) -> &(dyn Any + Send + Sync) {
        self
    }

    fn as_any_mut(&mut self) -> &mut (dyn Any + Send + Sync) {
        self
    }
}
