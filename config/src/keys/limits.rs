//! The keys of `proxy.limits`.

use crate::section::section;
use crate::values::{HeadSize, HeaderCount, Limit, Positive, Window};
use crate::{Bytes, Span};

section! {
    /// What one client may ask of the proxy, over all applications.
    ProxyLimitKeys {
        /// How many connections there may be; left out: what the limit on file descriptors allows, which is the most.
        connections: Option<Limit> = None;
        /// How many may come from one address (of IPv6: one /64) that is no trusted proxy's; left out: a quarter of all.
        connections_per_address: Option<Limit> = None;
        /// After how many requests a connection is closed.
        requests_per_connection: Limit = Limit(10_000);
        /// The largest head of a request, 1KiB to 1MiB; larger ones are answered 431.
        header_size: HeadSize = HeadSize(Bytes(32 << 10));
        /// The most headers of a request; more are answered 431.
        header_count: HeaderCount = HeaderCount(100);
        /// The longest target of a request, 1KiB to 1MiB; longer ones are answered 414.
        target_length: HeadSize = HeadSize(Bytes(8 << 10));
        /// How long a head may take from its first byte; slower ones are answered 408. A new connection that says nothing is closed then.
        header_timeout: Positive = Positive(Span::seconds(10));
        /// How long a connection may wait for its next request.
        idle_timeout: Positive = Positive(Span::seconds(60));
        /// How many bytes of a body must move in each second, on the average: slower requests are answered 408, and a
        /// connection whose client takes its answer more slowly is closed. 0 asks for nothing.
        body_rate: Bytes = Bytes(240);
        /// How long a body may take before that is asked.
        body_grace: Positive = Positive(Span::seconds(10));
        /// What HTTP/2 adds.
        http2: Http2LimitKeys = Http2LimitKeys::default();
    }
}

section! {
    /// What one client may ask of a connection of HTTP/2.
    Http2LimitKeys {
        /// Streams at once.
        streams: Limit = Limit(128);
        /// How many streams a client may reset before it is closed for resetting most of them.
        resets: Limit = Limit(200);
        /// Bytes of a body that may be on the way for one stream, 64KiB to 1GiB.
        window: Window = Window(Bytes(64 << 10));
        /// Bytes of bodies that may be on the way for all streams, 64KiB to 1GiB.
        connection_window: Window = Window(Bytes(1 << 20));
    }
}
