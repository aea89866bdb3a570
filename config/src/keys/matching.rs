//! The keys of matching: which of the requests for its hosts and path an application takes.

use ipnet::IpNet;

use crate::section::{record, section};
use crate::values::{MethodName, Pattern, WantedHeaders, WantedParameters};

section! {
    /// What a request must show besides its host and path; all of it must hold.
    MatchKeys {
        /// Methods, one of which it has.
        methods: Vec<MethodName> = Vec::new();
        /// Headers that it has: `{X-Beta: "1"}`, or `{X-Beta: {pattern: ^v2}}`. The empty pattern fits any value.
        headers: WantedHeaders = WantedHeaders::default();
        /// Parameters that its query has, in the same way.
        query: WantedParameters = WantedParameters::default();
        /// Networks, in one of which its client is.
        clients: Vec<IpNet> = Vec::new();
        /// A regular expression that its host fits, in lower case and without port.
        host_pattern: Option<Pattern> = None;
        /// A regular expression that its path fits.
        path_pattern: Option<Pattern> = None;
    }
}

record! {
    /// A value that fits a pattern.
    FitsKeys, "write for example `{pattern: ^v2}`" {
        /// A regular expression.
        pattern: Pattern;
    }
}
