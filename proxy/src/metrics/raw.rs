//! What is counted of applications of raw TCP. Series are made with the first connection: other applications have none.

use prometheus::{IntCounter, IntCounterVec, Opts, Registry};
use switcher_config::{AppName, Slot};

/// How a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RawEnd {
    /// By its two sides.
    Finished,
    /// It was closed at the deadline of a drain, or at the end of the process.
    Cut,
    /// Nothing moved for too long.
    Idle,
    /// No upstream took it, or one side broke it.
    Failed,
}

impl RawEnd {
    /// In the order of the declaration.
    const NAMES: [&'static str; 4] = ["finished", "cut", "idle", "failed"];
}

/// From where to where bytes went.
const DIRECTIONS: [&str; 2] = ["in", "out"];

/// The families.
#[derive(Debug, Clone)]
pub(super) struct RawFamilies {
    connections: IntCounterVec,
    bytes: IntCounterVec,
    refused: IntCounterVec,
}

/// What is counted of one application's connections in one slot.
#[derive(Debug, Clone)]
pub struct RawMetrics {
    ends: [IntCounter; 4],
    bytes: [IntCounter; 2],
}

impl RawMetrics {
    /// A connection has ended.
    pub fn ended(&self, end: RawEnd) {
        self.ends[end as usize].inc();
    }

    /// Bytes went to the upstream, or `out` to the client.
    pub fn moved(&self, out: bool, bytes: usize) {
        self.bytes[usize::from(out)].inc_by(bytes as u64);
    }
}

impl RawFamilies {
    pub(super) fn new(registry: &Registry) -> prometheus::Result<Self> {
        let counter = |name, help, labels: &[&str]| {
            let family = IntCounterVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(family.clone())).map(|()| family)
        };
        Ok(Self {
            connections: counter(
                "switcher_tcp_connections_total",
                "Connections of raw TCP that have ended, by how.",
                &["app", "slot", "end"],
            )?,
            bytes: counter(
                "switcher_tcp_bytes_total",
                "Bytes of raw TCP, from clients (in) and to them (out).",
                &["app", "slot", "direction"],
            )?,
            refused: counter(
                "switcher_tcp_refused_total",
                "Connections of raw TCP that were closed because their application is stopped, or paused for too long.",
                &["app"],
            )?,
        })
    }

    pub(super) fn of(&self, app: &AppName, slot: Slot) -> RawMetrics {
        let (app, slot) = (app.as_str(), slot.as_str());
        RawMetrics {
            ends: RawEnd::NAMES.map(|end| self.connections.with_label_values(&[app, slot, end])),
            bytes: DIRECTIONS.map(|way| self.bytes.with_label_values(&[app, slot, way])),
        }
    }

    pub(super) fn refused(&self, app: &AppName) {
        self.refused.with_label_values(&[app.as_str()]).inc();
    }

    pub(super) fn forget(&self, app: &str) {
        // A series that was never made is not there to remove.
        let _ = self.refused.remove_label_values(&[app]);
        for slot in Slot::ALL.map(Slot::as_str) {
            for end in RawEnd::NAMES {
                let _ = self.connections.remove_label_values(&[app, slot, end]);
            }
            for way in DIRECTIONS {
                let _ = self.bytes.remove_label_values(&[app, slot, way]);
            }
        }
    }
}
