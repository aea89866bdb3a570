//! What to do about directives that no reader of Caddy asks for.

use crate::import::action::Later;

/// What to do about a directive, by the names that lead to it.
pub(super) fn advice(names: &[&str]) -> String {
    let name = names.last().copied().unwrap_or_default();
    let text = match name {
        "log" | "log_skip" | "log_append" | "skip_log" => {
            "the access log is one for all: `proxy: {access_log: {file: …}}`"
        }
        "php_fastcgi" => "only HTTP is spoken to applications; let PHP listen by HTTP, as FrankenPHP does",
        "try_files" | "file_server" | "root" | "templates" => {
            return Later::Files("them".to_owned()).suggestion();
        }
        "handle_errors" | "handle_response" | "intercept" => {
            "write `error_pages: {404: FILE}`, with `error_pages_for: all` for the application's own"
        }
        "dns" | "dns_challenge" | "acme_dns" => {
            "write `acme: {dns: {provider: …}}`, with the provider's credentials in files or variables"
        }
        "on_demand" | "on_demand_tls" => "write `tls: on_demand` and `acme: {on_demand: {ask: URL}}`",
        "client_auth" => "client certificates are asked for with `client_ca: FILE`",
        "protocols" | "ciphers" | "curves" | "alpn" => {
            "versions and suites belong to listeners: `https: {listen: …, min_version: 1.3}`"
        }
        "servers" | "trusted_proxies" | "client_ip_headers" => {
            "name the proxies in front in `proxy: {trusted_proxies: […], client_ip_header: …}`"
        }
        "acme_server" => "an authority for others is not kept here",
        "map" | "vars" => "variables are not computed here; what uses them is told where it stands",
        "tracing" => "traces are not sent; X-Request-Id goes to the application and into the log",
        "metrics" => "metrics are at /metrics of `proxy.status`, for Prometheus",
        "copy_headers" => {
            "headers of its yes keep their names here; those that get another one are not passed on, and a client's own of that \
             name are taken away"
        }
        "layer4" => return Later::Tcp.suggestion(),
        "cache" => return Later::Cache.suggestion(),
        "dynamic" => "the addresses of a slot are written down, or given by `switcher register`",
        "lb_policy" => "write `balance`: round_robin, least_in_flight, {hash: client} or {sticky: NAME}",
        "issuer" | "ca" | "ca_root" | "eab" | "key_type" | "resolvers" | "preferred_chains"
        | "cert_issuer" => {
            "certificates come from the authorities of `acme`: `directory`, `ca_file`, `eab`, `key`, `resolvers`"
        }
        name if name.starts_with('@') => "nothing uses it",
        _ => "there is no such key here",
    };
    text.to_owned()
}
