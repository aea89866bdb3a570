//! Strict Transport Security (RFC 6797): what browsers are told about insisting on https, and for how long.
//!
//! A browser that was told remembers: turning `hsts` off later, or breaking HTTPS, does not free it before
//! `max-age` is over. So the `ladder` promises for as long as HTTPS has proven itself, from five minutes to a
//! year, and nothing is said where a browser would not listen or should not: on plain HTTP, with a placeholder,
//! an expired certificate or one of the internal authority, and for IP addresses (section 8.1.1).
//!
//! What an upstream says itself is replaced where this is on, and left alone where it is off.
//!
//! When each application's ladder began is kept in `<data_dir>/hsts.json`, written once an application. It never
//! stands in the way of serving: a damaged file is set aside and the ladders begin anew, with shorter promises.
//! Asked by the gateway for every TLS request of an application with `hsts`.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use http::HeaderValue;
use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use switcher_certs::resolver::Rank;
use switcher_config::AppName;
use switcher_config::durable::{self, Durability};
use switcher_config::settings::{AppSettings, Hsts, Settings, Tls as Source};

use crate::connection::Tls;

const FILE: &str = "hsts.json";
const SCHEMA: u32 = 1;

const HOUR: SignedDuration = SignedDuration::from_hours(1);
const DAY: SignedDuration = SignedDuration::from_hours(24);

/// The promise for an age of HTTPS below each bound. A promise is never much longer than the time that HTTPS has
/// worked already, so that whoever has to go back waits about as long as it went well: a mistake of the first
/// hour costs five minutes. A quarter has seen a renewal or two of 90-day certificates before the year is said.
const STEPS: [(SignedDuration, &str); 4] = [
    (HOUR, "max-age=300"),
    (DAY, "max-age=3600"),
    (SignedDuration::from_hours(7 * 24), "max-age=86400"),
    (SignedDuration::from_hours(90 * 24), "max-age=2592000"),
];
const TOP: &str = "max-age=31536000";

/// What the ladder says after HTTPS has worked from `since` to `now`. A clock that went back begins below.
#[must_use]
pub fn ladder(since: Timestamp, now: Timestamp) -> &'static str {
    let age = now.duration_since(since);
    STEPS.iter().find(|(bound, _)| age < *bound).map_or(TOP, |(_, value)| value)
}

/// Whether a browser should be told at all, on this connection and for this host (without a port).
#[must_use]
pub fn applies(settings: &AppSettings, tls: &Tls, host: &str, now: Timestamp) -> bool {
    settings.hsts != Hsts::Off
        && settings.tls != Source::Internal
        && tls.shown.rank == Rank::Real
        && now < tls.shown.not_after
        && host.parse::<IpAddr>().is_err()
}

/// What every application says.
pub struct Policies {
    path: PathBuf,
    by_app: ArcSwap<HashMap<AppName, Policy>>,
    /// Held while the file is written.
    writing: Mutex<()>,
}

#[derive(Debug, Clone)]
enum Policy {
    Fixed(HeaderValue),
    /// When it began, which the first request decides.
    Ladder(OnceLock<Timestamp>),
}

/// The file.
#[derive(Debug, Serialize, Deserialize)]
struct Saved {
    schema: u32,
    since: BTreeMap<AppName, Timestamp>,
}

impl Policies {
    /// What the settings say, with the ladders that were remembered.
    #[must_use]
    pub fn open(data_dir: &Path, settings: &Settings, now: Timestamp) -> Self {
        let path = data_dir.join(FILE);
        let mut since = remembered(&path);
        for begun in since.values_mut() {
            // Written by a clock that was ahead: it would stay on the first step until then.
            *begun = (*begun).min(now);
        }
        let by_app = policies(settings, |app| since.get(app).copied());
        Self { path, by_app: ArcSwap::from_pointee(by_app), writing: Mutex::default() }
    }

    /// Follows other settings. The ladder of an application that has none any more is forgotten.
    pub fn replace(self: &Arc<Self>, settings: &Settings) {
        let before = self.by_app.load_full();
        let by_app = policies(settings, |app| before.get(app).and_then(Policy::begun));
        let fewer = before.iter().any(|(app, policy)| {
            policy.begun().is_some() && by_app.get(app).and_then(Policy::begun).is_none()
        });
        self.by_app.store(Arc::new(by_app));
        if fewer {
            self.save_aside();
        }
    }

    /// The header for an answer of an application. The first one begins its ladder.
    pub fn header(self: &Arc<Self>, app: &AppName, now: Timestamp) -> Option<HeaderValue> {
        let by_app = self.by_app.load();
        let begun = match by_app.get(app)? {
            Policy::Fixed(value) => return Some(value.clone()),
            Policy::Ladder(begun) => begun,
        };
        let first = begun.get().is_none();
        let since = *begun.get_or_init(|| now);
        if first {
            self.save_aside();
        }
        Some(HeaderValue::from_static(ladder(since, now)))
    }

    /// Saves away from the request that is being answered.
    fn save_aside(self: &Arc<Self>) {
        let policies = Arc::clone(self);
        drop(tokio::task::spawn_blocking(move || policies.save()));
    }

    fn save(&self) {
        let _writing = self.writing.lock();
        let by_app = self.by_app.load();
        let since = by_app.iter().filter_map(|(app, policy)| Some((app.clone(), policy.begun()?))).collect();
        let saved = serde_json::to_vec(&Saved { schema: SCHEMA, since }).map_err(io::Error::other);
        let written = saved.and_then(|bytes| {
            durable::replace(&self.path, &bytes, 0o600, Durability::Synced).map_err(io::Error::other)
        });
        if let Err(error) = written {
            tracing::warn!(%error, "when HSTS began is not saved; after a restart it begins with short promises again");
        }
    }
}

impl Policy {
    fn begun(&self) -> Option<Timestamp> {
        match self {
            Self::Fixed(_) => None,
            Self::Ladder(begun) => begun.get().copied(),
        }
    }
}

fn policies(settings: &Settings, begun: impl Fn(&AppName) -> Option<Timestamp>) -> HashMap<AppName, Policy> {
    let of_app = |(name, app): (&AppName, &AppSettings)| {
        let policy = match app.hsts {
            Hsts::Off => return None,
            Hsts::Ladder => Policy::Ladder(begun(name).map(OnceLock::from).unwrap_or_default()),
            Hsts::Fixed { max_age, include_subdomains, preload } => {
                let subdomains = if include_subdomains { "; includeSubDomains" } else { "" };
                let preload = if preload { "; preload" } else { "" };
                let text = format!("max-age={}{subdomains}{preload}", max_age.0.as_secs());
                Policy::Fixed(HeaderValue::try_from(text).ok()?)
            }
        };
        Some((name.clone(), policy))
    };
    settings.apps.iter().filter_map(of_app).collect()
}

/// What the file remembers; nothing when it is not there or cannot be used, which is said.
fn remembered(path: &Path) -> BTreeMap<AppName, Timestamp> {
    let problem = match fs::read(path) {
        Ok(bytes) => match serde_json::from_slice::<Saved>(&bytes) {
            Ok(saved) if saved.schema == SCHEMA => return saved.since,
            Ok(saved) => format!("it is of another version (schema {})", saved.schema),
            Err(error) => format!("it is damaged ({error})"),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => return BTreeMap::new(),
        Err(error) => {
            tracing::warn!(file = %path.display(), %error, "cannot read when HSTS began; it begins with short promises again");
            return BTreeMap::new();
        }
    };
    let aside = path.with_extension("json.damaged");
    let moved = fs::rename(path, &aside).err();
    tracing::warn!(
        file = %path.display(), aside = %aside.display(), %problem, move_failed = ?moved,
        "when HSTS began cannot be used and was set aside; it begins with short promises again"
    );
    BTreeMap::new()
}

#[cfg(test)]
mod tests;
