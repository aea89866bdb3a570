//! What to do about keys that no reader of Traefik asks for.

use crate::import::action::Later;

/// What to do about a key, by the names that lead to it.
pub(super) fn advice(names: &[&str]) -> String {
    let lower: Vec<String> = names.iter().map(|name| name.to_ascii_lowercase()).collect();
    let names: Vec<&str> = lower.iter().map(String::as_str).collect();
    let text = match names.as_slice() {
        ["api", ..] => {
            "the dashboard is Traefik's; `switcher status --watch` and `proxy.status` show what is live"
        }
        ["accesslog", ..] => "write `proxy: {access_log: json}`, or `text`, or a section",
        ["metrics", ..] => "metrics are at /metrics of `proxy.status`, for Prometheus",
        ["tracing", ..] => "traces are not sent; X-Request-Id goes to the application and into the log",
        ["certificatesresolvers", _, "acme", "dnschallenge", ..] => {
            "write `acme: {dns: {provider: …}}`, with the provider's credentials in files or variables"
        }
        ["certificatesresolvers", _, "acme", "eab", ..] => "write `acme: {eab: {kid: ID, hmac_file: FILE}}`",
        ["certificatesresolvers", ..] => "certificates come from the authorities of `acme`",
        ["entrypoints", _, "proxyprotocol", ..] => {
            "write `http: {listen: ADDRESS, proxy_protocol: require}` and name the balancer in `trusted_proxies`"
        }
        ["entrypoints", _, "forwardedheaders", ..] => "only the networks of `trusted_proxies` are believed",
        ["entrypoints", _, "transport", ..] => {
            "write `proxy: {limits: {header_timeout: 10s, idle_timeout: 60s}}`"
        }
        ["entrypoints", _, "http3", ..] => "HTTP/3 is not spoken here; clients take HTTP/2",
        ["entrypoints", ..] => {
            "a listener has an address, TLS versions and the PROXY protocol; see `proxy.http`"
        }
        ["tls", "options", ..] => {
            "versions and suites belong to listeners: `https: {listen: …, min_version: 1.3}`; client certificates are `client_ca`"
        }
        ["tls", ..] => "certificates are those of each application: `tls: {certificate: FILE, key: FILE}`",
        ["http", "middlewares", _, "errors", ..] => {
            "write `error_pages: {500-599: FILE}`, with `error_pages_for: all`"
        }
        ["http", "middlewares", _, "plugin", ..] => "plugins are Traefik's; let the application do it",
        ["http", "middlewares", _, "headers", ..] => {
            "set headers with `request_headers` and `response_headers`"
        }
        ["http", "middlewares", _, "compress", ..] => {
            "write `compress: {algorithms: [gzip], types: [text/*], min_size: 1KiB}`, with what is meant"
        }
        ["http", "middlewares", _, "redirectregex", ..] => {
            "patterns are held against the path; write `redirects` of the application with that host by hand"
        }
        ["http", "middlewares", _, "passtlsclientcert", ..] => {
            "the application is not told of client certificates"
        }
        ["http", "middlewares", _, "ipallowlist" | "ipwhitelist", ..] => {
            "whom to believe about clients is said by `trusted_proxies`"
        }
        ["http", "middlewares", ..] => "nothing uses it, or there is no such key here",
        ["http", "services", ..] => "nothing leads to it, or there is no such key here",
        ["http", "serverstransports", ..] | ["serverstransport", ..] => {
            "write `upstream_tls` and `timeouts` of the application"
        }
        ["tcp", "services" | "middlewares", ..] => {
            "nothing that is carried over leads to it, or there is no such key here"
        }
        ["tcp" | "udp", ..] => return Later::Tcp.suggestion(),
        ["experimental", ..] => "there is no such key here",
        _ => "there is no such key here",
    };
    text.to_owned()
}
