//! What is asked for just now, counted only while somebody watches.
//!
//! Invariant: without a watcher a request costs one load; a table is bounded whatever paths are asked for, and belongs to the
//! watcher that empties it, so none takes another's figures. The gateway counts each exchange once, at its end; the admin
//! API hands watchers out.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use parking_lot::Mutex;
use switcher_config::wire::{Traffic, TrafficRow};
use switcher_config::{AppName, Slot};

use crate::bake::histogram::Histogram;

/// How many may watch at once.
const WATCHERS: usize = 16;

/// How many places are told apart between two looks.
const PLACES: usize = 500;

/// How many segments of a path are told.
const SEGMENTS: usize = 2;

/// The longest segment that is told, in characters: longer ones are made by machines.
const LONGEST: usize = 32;

/// An exchange that has ended.
#[derive(Debug, Clone, Copy)]
pub struct Ended<'a> {
    /// The application, unless none was found.
    pub app: Option<&'a Arc<AppName>>,
    /// The slot that served it.
    pub slot: Option<Slot>,
    /// The path, without its query.
    pub path: &'a str,
    /// The status of the answer.
    pub status: u16,
    /// How long its client waited; none for an exchange that has no such time.
    pub took: Option<Duration>,
    /// Body bytes to the client.
    pub bytes_out: u64,
}

/// Whoever watches.
#[derive(Debug, Default)]
pub struct Watchers {
    count: AtomicUsize,
    tables: Mutex<Vec<Arc<Mutex<Table>>>>,
}

/// As many watch already as may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooMany;

impl Watchers {
    /// Whether anybody does.
    #[must_use]
    pub fn is_any(&self) -> bool {
        self.count.load(Ordering::Relaxed) > 0
    }

    /// One more.
    ///
    /// # Errors
    /// When there are too many already.
    pub fn watch(self: &Arc<Self>) -> Result<Watcher, TooMany> {
        let mut tables = self.tables.lock();
        if tables.len() >= WATCHERS {
            return Err(TooMany);
        }
        let table = Arc::new(Mutex::new(Table::default()));
        tables.push(Arc::clone(&table));
        self.count.store(tables.len(), Ordering::Relaxed);
        Ok(Watcher { watchers: Arc::clone(self), table, since: Instant::now() })
    }

    /// Counts an exchange for all of them.
    pub fn count(&self, ended: Ended<'_>) {
        let tables = self.tables.lock();
        for table in tables.iter() {
            table.lock().count(ended);
        }
    }
}

/// Sees what ends from its making on.
#[derive(Debug)]
pub struct Watcher {
    watchers: Arc<Watchers>,
    table: Arc<Mutex<Table>>,
    since: Instant,
}

impl Watcher {
    /// What ended since the last time.
    pub fn take(&mut self) -> Traffic {
        let table = std::mem::take(&mut *self.table.lock());
        let now = Instant::now();
        let seconds = now.duration_since(std::mem::replace(&mut self.since, now)).as_secs_f64();
        table.traffic(Timestamp::now(), seconds)
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        let mut tables = self.watchers.tables.lock();
        tables.retain(|table| !Arc::ptr_eq(table, &self.table));
        self.watchers.count.store(tables.len(), Ordering::Relaxed);
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Place {
    app: Option<Arc<AppName>>,
    slot: Option<Slot>,
    path: Option<String>,
}

#[derive(Debug, Default)]
struct Counted {
    requests: u64,
    errors: u64,
    bytes_out: u64,
    times: Histogram,
}

#[derive(Debug, Default)]
struct Table {
    slots: HashMap<Place, Counted>,
    paths: HashMap<Place, Counted>,
    beyond: u64,
}

impl Table {
    fn count(&mut self, ended: Ended<'_>) {
        let mut place = Place { app: ended.app.map(Arc::clone), slot: ended.slot, path: None };
        if let Some(counted) = room(&mut self.slots, &place) {
            counted.add(ended);
        }
        place.path = Some(shape(ended.path));
        match room(&mut self.paths, &place) {
            Some(counted) => counted.add(ended),
            None => self.beyond += 1,
        }
    }

    fn traffic(self, at: Timestamp, seconds: f64) -> Traffic {
        Traffic { at, seconds, slots: rows(self.slots), paths: rows(self.paths), beyond: self.beyond }
    }
}

fn room<'a>(places: &'a mut HashMap<Place, Counted>, place: &Place) -> Option<&'a mut Counted> {
    if places.len() >= PLACES && !places.contains_key(place) {
        return None;
    }
    Some(places.entry(place.clone()).or_default())
}

fn rows(places: HashMap<Place, Counted>) -> Vec<TrafficRow> {
    let mut rows: Vec<TrafficRow> = places.into_iter().map(|(place, counted)| counted.row(place)).collect();
    let name = |row: &TrafficRow| (row.app.clone(), row.slot, row.path.clone());
    rows.sort_by(|one, other| other.requests.cmp(&one.requests).then_with(|| name(one).cmp(&name(other))));
    rows
}

impl Counted {
    fn add(&mut self, ended: Ended<'_>) {
        self.requests += 1;
        self.errors += u64::from(ended.status >= 500);
        self.bytes_out += ended.bytes_out;
        if let Some(took) = ended.took {
            self.times.add(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
        }
    }

    fn row(self, place: Place) -> TrafficRow {
        let millis = |percent| {
            let micros = self.times.percentile(percent)?;
            Some(Duration::from_micros(micros).as_secs_f64() * 1e3)
        };
        TrafficRow {
            app: place.app.map(|app| (*app).clone()),
            slot: place.slot,
            path: place.path,
            requests: self.requests,
            errors: self.errors,
            p50_ms: millis(50),
            p99_ms: millis(99),
            bytes_out: self.bytes_out,
        }
    }
}

/// The beginning of a path, in which what is one of many is the same for all of them. Pure.
fn shape(path: &str) -> String {
    let mut segments = path.split('/').filter(|segment| !segment.is_empty());
    let mut shape = String::new();
    for segment in segments.by_ref().take(SEGMENTS) {
        shape.push('/');
        shape.push_str(if is_one_of_many(segment) { "*" } else { segment });
    }
    if segments.next().is_some() {
        shape.push_str("/…");
    }
    if shape.is_empty() { "/".to_owned() } else { shape }
}

/// Whether a segment looks like a number, a UUID, a hash or something else that a machine counted or made up.
fn is_one_of_many(segment: &str) -> bool {
    let digits = segment.bytes().filter(u8::is_ascii_digit).count();
    let hex = segment.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-');
    segment.len() > LONGEST
        || (digits > 0 && digits == segment.len())
        || (digits > 0 && hex && segment.len() >= 8)
        || (digits >= 4 && segment.len() >= 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(path: &str, status: u16, millis: u64) -> Ended<'_> {
        let took = Some(Duration::from_millis(millis));
        Ended { app: None, slot: Some(Slot::Blue), path, status, took, bytes_out: 10 }
    }

    #[test]
    fn identifiers_are_one_place_and_names_are_their_own() {
        for (path, told) in [
            ("/", "/"),
            ("", "/"),
            ("/orders", "/orders"),
            ("/orders/", "/orders"),
            ("/orders/17", "/orders/*"),
            ("/orders/17/lines", "/orders/*/…"),
            ("/v2/things/a/b", "/v2/things/…"),
            ("/f/550e8400-e29b-41d4-a716-446655440000", "/f/*"),
            ("/f/deadbeef01", "/f/*"),
            ("/f/facade", "/f/facade"),
            ("/f/01HV3Z8M9QWERTYUIO", "/f/*"),
            ("/assets/app.3f9a1c2b.js", "/assets/app.3f9a1c2b.js"),
        ] {
            assert_eq!(shape(path), told, "{path}");
        }
        assert_eq!(shape(&format!("/{}", "a".repeat(LONGEST + 1))), "/*");
    }

    #[test]
    fn each_watcher_sees_what_ended_since_it_looked_and_nobody_costs_nothing() {
        let watchers = Arc::new(Watchers::default());
        assert!(!watchers.is_any());
        let (mut one, mut other) = (watchers.watch().expect("room"), watchers.watch().expect("room"));
        assert!(watchers.is_any());
        watchers.count(ended("/a", 200, 10));
        watchers.count(ended("/a", 503, 30));
        assert_eq!(one.take().slots[0].requests, 2);
        assert!(one.take().slots.is_empty());
        watchers.count(ended("/b", 200, 10));
        let seen = other.take();
        let told: Vec<_> =
            seen.paths.iter().map(|row| (row.path.as_deref(), row.requests, row.errors)).collect();
        assert_eq!(told, [(Some("/a"), 2, 1), (Some("/b"), 1, 0)]);
        assert_eq!((seen.slots[0].requests, seen.slots[0].bytes_out), (3, 30));
        let p99 = seen.slots[0].p99_ms.expect("a time");
        assert!((30.0..34.0).contains(&p99), "{p99}");
        drop((one, other));
        assert!(!watchers.is_any());
    }

    #[test]
    fn neither_paths_nor_watchers_are_without_end() {
        let watchers = Arc::new(Watchers::default());
        let mut all: Vec<Watcher> = (0..WATCHERS).map(|_| watchers.watch().expect("room")).collect();
        assert!(watchers.watch().is_err());
        for n in 0..PLACES + 7 {
            watchers.count(ended(&format!("/page-{n}x"), 200, 1));
        }
        watchers.count(ended("/page-0x", 200, 1));
        let seen = all[0].take();
        assert_eq!((seen.paths.len(), seen.beyond, seen.paths[0].requests), (PLACES, 7, 2));
        all.pop();
        assert!(watchers.watch().is_ok());
    }
}
