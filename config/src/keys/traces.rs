//! The keys of `proxy.traces`.

use crate::Share;
use crate::section::record;
use crate::settings::Traces;
use crate::values::{AskedUrl, Maybe, SecretFile, Text};

record! {
    /// Spans of requests, sent to an OpenTelemetry collector. Left out: there are none, and what requests say of traces passes through untouched.
    TracesKeys, "write for example `traces: {otlp: http://127.0.0.1:4318}`" {
        /// The collector, as OTLP over HTTP knows it; `/v1/traces` is added to its path.
        otlp: AskedUrl;
        /// Which share of the requests is traced whose caller has not decided. Only callers in `trusted_proxies` decide.
        sample: Share = Share::percent(100);
        /// What the proxy calls itself.
        service: Text = Text("switcher".into());
        /// A file with a token that the collector wants as `Authorization: Bearer`, mode 0600; relative to the configuration file's folder, and read again each time.
        token_file: Maybe<SecretFile> = Maybe(None);
    }
}

impl From<TracesKeys> for Traces {
    fn from(TracesKeys { otlp, sample, service, token_file }: TracesKeys) -> Self {
        let AskedUrl { address, target } = otlp;
        Self { address, target, sample, service: service.0, token_file: token_file.0.map(|file| file.0) }
    }
}

impl From<Traces> for TracesKeys {
    fn from(Traces { address, target, sample, service, token_file }: Traces) -> Self {
        Self {
            otlp: AskedUrl { address, target },
            sample,
            service: Text(service),
            token_file: Maybe(token_file.map(SecretFile)),
        }
    }
}
