//! What is counted of the response cache: where answers came from, and how much is held.

use prometheus::{IntCounter, IntCounterVec, IntGauge, Opts, Registry};

/// Where an answer came from, of those that may come from the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CacheResult {
    /// From the cache.
    Hit,
    /// From the cache, after its application said that it is still the same.
    Revalidated,
    /// From the cache although it was not fresh any more: its application failed.
    Stale,
    /// From the application, and may be held now.
    Miss,
    /// From the application, and is not held.
    Bypass,
}

impl CacheResult {
    const ALL: [(Self, &str); 5] = [
        (Self::Hit, "hit"),
        (Self::Revalidated, "revalidated"),
        (Self::Stale, "stale"),
        (Self::Miss, "miss"),
        (Self::Bypass, "bypass"),
    ];
}

/// The counters of the response cache.
#[derive(Debug, Clone)]
pub struct CacheMetrics {
    /// In the order of [`CacheResult::ALL`], which is that of the declaration.
    results: [IntCounter; CacheResult::ALL.len()],
    bytes: IntGauge,
}

impl CacheMetrics {
    pub(super) fn new(registry: &Registry) -> prometheus::Result<Self> {
        let options = Opts::new(
            "switcher_cache_requests_total",
            "Requests where the response cache is on, by where their answers came from.",
        );
        let family = IntCounterVec::new(options, &["result"])?;
        registry.register(Box::new(family.clone()))?;
        let bytes = IntGauge::new("switcher_cache_bytes", "Bytes that the response cache holds.")?;
        registry.register(Box::new(bytes.clone()))?;
        Ok(Self { results: CacheResult::ALL.map(|(_, name)| family.with_label_values(&[name])), bytes })
    }

    /// A request was answered.
    pub fn answered(&self, result: CacheResult) {
        self.results[result as usize].inc();
    }

    /// For a scrape: how much is held.
    pub fn set_bytes(&self, bytes: u64) {
        self.bytes.set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_result_has_a_counter_of_its_own() {
        let metrics = CacheMetrics::new(&Registry::new()).expect("the families are well named");
        for (place, (result, _)) in CacheResult::ALL.into_iter().enumerate() {
            metrics.results[place].inc_by(place as u64);
            metrics.answered(result);
            assert_eq!(metrics.results[place].get(), place as u64 + 1, "{result:?}");
        }
    }
}
