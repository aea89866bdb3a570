//! What a drain deadline must have done, as a function over what was seen. Pure: it takes times and never
//! reads a clock, so that the tests can show it a fault of every sort.

use std::time::Duration;

use serde::Serialize;
use switcher_config::wire::{DrainReceipt, Exchange, Kind};

/// One sort of client that outlives a drain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Sort {
    /// An idle WebSocket in clear text.
    Websocket,
    /// An idle WebSocket over TLS.
    WebsocketTls,
    /// Endless server-sent events over HTTP/1.1.
    Events,
    /// Endless server-sent events over HTTP/2.
    EventsHttp2,
    /// A slow download of declared length over HTTP/1.1.
    Download,
    /// A slow download of declared length over HTTP/2.
    DownloadHttp2,
    /// A client that asked for a large download and reads nothing.
    Deaf,
    /// A request that gets no answer.
    Unanswered,
}

/// How an exchange ended, as its client saw it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// A WebSocket's close frame, with its code.
    CloseFrame(u16),
    /// The body's own end: the last chunk, or END_STREAM.
    Whole,
    /// RST_STREAM for this one stream.
    Reset,
    /// The connection ended within the body.
    Broken,
    /// An answer with this status, with its whole body.
    Answered(u16),
    /// The proxy holds nothing for it any more; the client did not look.
    LetGo,
    /// Something that no protocol allows.
    Other(String),
}

/// One exchange of the slot that was left.
#[derive(Debug, Clone, Serialize)]
pub struct Parting {
    /// Whose.
    pub sort: Sort,
    /// How it ended.
    pub end: End,
    /// When it ended, in milliseconds after the deadline; negative before it.
    pub after_millis: f64,
}

/// Everything that is known of one deadline.
#[derive(Debug)]
pub(super) struct Evidence {
    pub(super) partings: Vec<Parting>,
    pub(super) receipt: DrainReceipt,
    /// How long the slot might be drained.
    pub(super) drain: Duration,
    /// From before the first exchange began until the receipt was there.
    pub(super) lived: Duration,
}

impl Sort {
    /// Every sort.
    pub const ALL: [Self; 8] = [
        Self::Websocket,
        Self::WebsocketTls,
        Self::Events,
        Self::EventsHttp2,
        Self::Download,
        Self::DownloadHttp2,
        Self::Deaf,
        Self::Unanswered,
    ];

    /// For people.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::Websocket => "idle WebSocket",
            Self::WebsocketTls => "idle WebSocket over TLS",
            Self::Events => "endless events, HTTP/1.1",
            Self::EventsHttp2 => "endless events, HTTP/2",
            Self::Download => "slow download, HTTP/1.1",
            Self::DownloadHttp2 => "slow download, HTTP/2",
            Self::Deaf => "client that reads nothing",
            Self::Unanswered => "request without an answer",
        }
    }

    /// The path that it asks for.
    pub(super) const fn path(self) -> &'static str {
        match self {
            Self::Websocket | Self::WebsocketTls => "/socket",
            Self::Events | Self::EventsHttp2 => "/events",
            Self::Download | Self::DownloadHttp2 => "/drip",
            Self::Deaf => "/bytes/10000000000",
            Self::Unanswered => "/gate",
        }
    }

    /// The kind by which the drain policy knows it.
    pub(super) const fn kind(self) -> Kind {
        match self {
            Self::Websocket | Self::WebsocketTls => Kind::Websockets,
            Self::Events | Self::EventsHttp2 => Kind::Streams,
            Self::Download | Self::DownloadHttp2 | Self::Deaf | Self::Unanswered => Kind::Requests,
        }
    }

    /// Whether its protocol allows no better end than this one.
    fn may_end(self, end: &End) -> bool {
        match self {
            // 1012 is "service restart".
            Self::Websocket | Self::WebsocketTls => *end == End::CloseFrame(1012),
            Self::Events => *end == End::Whole,
            Self::EventsHttp2 => matches!(end, End::Whole | End::Reset),
            Self::Download => *end == End::Broken,
            Self::DownloadHttp2 => *end == End::Reset,
            Self::Deaf => *end == End::LetGo,
            Self::Unanswered => matches!(end, End::Answered(502..=504)),
        }
    }

    fn is_named_by(self, kind: Kind, exchange: &Exchange) -> bool {
        (kind, exchange.kind) == (self.kind(), self.kind())
            && exchange.route == format!("GET {}", self.path())
    }
}

/// What was not as it must be, a sentence each.
pub(super) fn problems(evidence: &Evidence) -> Vec<String> {
    let mut problems: Vec<String> = evidence.partings.iter().flat_map(of_parting).collect();
    problems.extend(Sort::ALL.into_iter().filter_map(|sort| {
        let seen = evidence.partings.iter().filter(|parting| parting.sort == sort).count();
        (seen != 1).then(|| format!("{}: {seen} ends were seen instead of one", sort.title()))
    }));
    problems.extend(of_receipt(evidence));
    problems
}

fn of_parting(parting: &Parting) -> Vec<String> {
    let (title, end) = (parting.sort.title(), &parting.end);
    let early = (parting.after_millis < 0.0)
        .then(|| format!("{title}: cut {:.1} ms before the deadline", -parting.after_millis));
    let unclean = (!parting.sort.may_end(end))
        .then(|| format!("{title}: ended by {end:?}, which its protocol forbids"));
    early.into_iter().chain(unclean).collect()
}

/// Every exchange must be named once, with its kind, its route and an age that can be.
fn of_receipt(evidence: &Evidence) -> Vec<String> {
    let receipt = &evidence.receipt;
    let mut problems = Vec::new();
    if !receipt.drained || receipt.in_flight.total() > 0 {
        problems.push(format!("the drain was not over: {:?} still inside", receipt.in_flight));
    }
    if receipt.finished.total() > 0 {
        problems.push(format!("the receipt counts as finished what was cut: {:?}", receipt.finished));
    }
    let named = Kind::ALL.into_iter().flat_map(|kind| receipt.cut.get(kind).iter().map(move |e| (kind, e)));
    let mut unnamed = Sort::ALL.to_vec();
    for (kind, exchange) in named {
        let (route, age) = (&exchange.route, exchange.age_seconds);
        match unnamed.iter().position(|sort| sort.is_named_by(kind, exchange)) {
            Some(index) => drop(unnamed.swap_remove(index)),
            None => problems.push(format!("the receipt names {route} among {kind:?}, where nothing was cut")),
        }
        if !(evidence.drain.as_secs_f64()..=evidence.lived.as_secs_f64()).contains(&age) {
            problems.push(format!("the receipt says that {route} was {age}s old, which cannot be"));
        }
    }
    let silent = |sort: &Sort| format!("{}: cut, and not named in the receipt", sort.title());
    problems.extend(unnamed.iter().map(silent));
    problems
}

#[cfg(test)]
mod tests;
