//! The keys of what the slot that is not live is good for: `mirror`, `asset_fallback` and `release_affinity`.

use crate::section::{record, section};
use crate::settings::SafeMethod;
use crate::values::{AssetName, BakeSpan, CookieName, Limit, Positive};
use crate::{Bytes, PathPrefix, Share, Span};

record! {
    /// Copies of live requests to the standby slot; the answers are compared and thrown away.
    MirrorKeys, "write for example `mirror: {share: 10%}`" {
        /// Which share of the requests is copied. They go with all their headers, cookies and passwords too, and with `X-Switcher-Mirror: 1`.
        share: Share;
        /// Those of which methods: `GET`, `HEAD` and `OPTIONS`, which ask for nothing to be changed. Requests with a body, streams of events and WebSockets are never copied.
        methods: Vec<SafeMethod> = vec![SafeMethod::Get, SafeMethod::Head];
        /// How many copies there are at once at most, each with a connection of its own; a request that finds no place is not copied.
        in_flight: Limit = Limit(16);
        /// How long a copy may take from its connection to the end of its answer.
        timeout: Positive = Positive(Span::seconds(10));
        /// How much of the body of an answer is read.
        body: Bytes = Bytes(1 << 20);
    }
}

section! {
    /// Which GET and HEAD requests that a slot answers 404 are asked of the other one: pages of one version ask for files that only that version has.
    AssetFallbackKeys {
        /// Those of these paths and all below.
        paths: Vec<PathPrefix> = Vec::new();
        /// Those whose path fits this regular expression. Left out with `paths`: scripts, styles, fonts, images and the like with a hash in their names, such as `/app-3f2a9b1c.js`.
        pattern: Option<AssetName> = None;
        /// How long the other slot may be silent, before its answer and within it.
        timeout: Positive = Positive(Span::seconds(5));
    }
}

record! {
    /// A visitor who began on a release stays there for a while after a switch, as long as its slot is warm and healthy.
    ReleaseAffinityKeys, "write for example `release_affinity: {for: 10m}`" {
        /// How long after a switch: 1s to 24h. Rollbacks and forced switches move everybody at once.
        r#for: BakeSpan;
        /// The cookie that names the release; it is set where visitors do not bring it.
        cookie: CookieName = CookieName("switcher_release".into());
    }
}
