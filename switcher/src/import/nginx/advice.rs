//! What to do about directives that no reader of nginx asks for.

use crate::import::action::Later;

/// Directives that need nothing: the proxy does it by itself, or they tune what it does not have.
pub(super) const NEEDLESS: &[&str] = &[
    "user",
    "worker_processes",
    "worker_rlimit_nofile",
    "worker_cpu_affinity",
    "worker_priority",
    "pid",
    "daemon",
    "master_process",
    "events",
    "sendfile",
    "sendfile_max_chunk",
    "tcp_nopush",
    "tcp_nodelay",
    "types_hash_max_size",
    "types_hash_bucket_size",
    "server_names_hash_bucket_size",
    "server_names_hash_max_size",
    "variables_hash_max_size",
    "map_hash_bucket_size",
    "map_hash_max_size",
    "proxy_headers_hash_max_size",
    "proxy_headers_hash_bucket_size",
    "server_tokens",
    "default_type",
    "types",
    "charset",
    "http2",
    "http2_max_concurrent_streams",
    "gzip_vary",
    "gzip_proxied",
    "gzip_comp_level",
    "gzip_buffers",
    "gzip_http_version",
    "gzip_min_length",
    "gzip_types",
    "gzip_disable",
    "gzip_static",
    "proxy_http_version",
    "proxy_buffering",
    "proxy_request_buffering",
    "proxy_buffers",
    "proxy_buffer_size",
    "proxy_busy_buffers_size",
    "proxy_max_temp_file_size",
    "proxy_temp_file_write_size",
    "proxy_temp_path",
    "client_body_temp_path",
    "fastcgi_temp_path",
    "uwsgi_temp_path",
    "scgi_temp_path",
    "client_body_buffer_size",
    "client_header_buffer_size",
    "large_client_header_buffers",
    "ssl_session_cache",
    "ssl_session_timeout",
    "ssl_session_tickets",
    "ssl_session_ticket_key",
    "ssl_prefer_server_ciphers",
    "ssl_ciphers",
    "ssl_ecdh_curve",
    "ssl_dhparam",
    "ssl_buffer_size",
    "ssl_stapling",
    "ssl_stapling_verify",
    "ssl_trusted_certificate",
    "ssl_early_data",
    "resolver",
    "resolver_timeout",
    "proxy_socket_keepalive",
    "proxy_ssl_server_name",
    "proxy_ssl_protocols",
    "proxy_ssl_session_reuse",
    "keepalive_disable",
    "reset_timedout_connection",
    "open_file_cache",
    "open_file_cache_valid",
    "open_file_cache_min_uses",
    "open_file_cache_errors",
    "log_not_found",
    "aio",
    "directio",
    "output_buffers",
    "postpone_output",
    "port_in_redirect",
    "server_name_in_redirect",
    "absolute_redirect",
    "underscores_in_headers",
    "ignore_invalid_headers",
    "merge_slashes",
    "etag",
    "if_modified_since",
    "lingering_close",
    "lingering_timeout",
    "multi_accept",
    "use",
    "limit_req_log_level",
    "limit_conn_log_level",
    "proxy_cache_bypass",
    "proxy_no_cache",
    "uninitialized_variable_warn",
    "rewrite_log",
    "pcre_jit",
    "worker_shutdown_timeout",
    "ssl_conf_command",
    "preread_buffer_size",
    "preread_timeout",
];

/// What to do about a directive, by the names that lead to it.
pub(super) fn advice(names: &[&str]) -> String {
    let name = names.last().copied().unwrap_or_default();
    if name.starts_with("proxy_") {
        return passed(name);
    }
    let text = match name {
        "map" | "geo" | "split_clients" | "map_hash" => {
            "variables are not computed here; what uses it is told where it stands"
        }
        "set" => "variables are not computed here; what uses it is told where it stands",
        "if" => {
            "conditions are not looked at here; redirects belong to `redirects`, addresses to `allow` and `deny`"
        }
        "location" => {
            "this kind of location chooses no application here; its requests go to the application of their path"
        }
        "access_log" | "log_format" => "the access log is one for all: `proxy: {access_log: {file: …}}`",
        "error_log" => "errors go to standard error; systemd keeps them",
        "stream" | "mail" => return Later::Tcp.suggestion(),
        "expires" => "let the application set Cache-Control, or set it with `response_headers`",
        "sub_filter" | "sub_filter_once" | "sub_filter_types" => "bodies are passed on as they are",
        "mirror" | "mirror_request_body" => return Later::Mirror.suggestion(),
        "fastcgi_pass"
        | "uwsgi_pass"
        | "scgi_pass"
        | "fastcgi_param"
        | "fastcgi_index"
        | "fastcgi_split_path_info" => "only HTTP is spoken to applications; let them listen by HTTP",
        "real_ip_header" | "real_ip_recursive" | "set_real_ip_from" => {
            "name the proxies in front in `proxy: {trusted_proxies: […]}`, and with `client_ip_header` the header they set"
        }
        "keepalive_timeout" => "write `proxy: {limits: {idle_timeout: 60s}}`",
        "keepalive_requests" => "write `proxy: {limits: {requests_per_connection: 1000}}`",
        "client_header_timeout" | "client_body_timeout" | "send_timeout" => {
            "write `proxy: {limits: {header_timeout: 10s, body_rate: 240B, body_grace: 10s}}`"
        }
        "limit_rate" | "limit_rate_after" => "how fast bytes flow is not bounded here",
        "limit_req_zone" | "limit_conn_zone" => "nothing uses this zone in a way that is carried over",
        "upstream" => "nothing leads to it",
        "ssl_protocols" => {
            "TLS 1.2 and 1.3 are spoken; write `https: {listen: …, min_version: 1.3}` for 1.3 alone"
        }
        "ssl_crl" | "ssl_verify_depth" | "ssl_verify_client" | "ssl_client_certificate" => {
            "client certificates are asked for with `client_ca: FILE`"
        }
        "auth_request_set" | "satisfy" => "each rule has to be met here",
        "add_trailer" => "trailers are passed on as they are",
        "resolver" => "names are resolved by the system",
        "load_module" => "modules belong to nginx",
        "error_page" => "write `error_pages: {404: FILE}`",
        "rewrite" => "write `redirects` or `rewrite` by hand",
        "return" => "write `answer` or `redirects` by hand",
        "root" | "alias" | "index" | "try_files" | "autoindex" => {
            return Later::Files("them".to_owned()).suggestion();
        }
        _ => "there is no such key here",
    };
    text.to_owned()
}

/// Those of what is passed on to applications.
fn passed(name: &str) -> String {
    let text = match name {
        "proxy_redirect" => {
            "the application's Location is passed on as it is; let the application know its own address"
        }
        "proxy_cookie_path" | "proxy_cookie_domain" | "proxy_cookie_flags" => {
            "cookies are passed on as they are"
        }
        "proxy_next_upstream_timeout" => {
            "tries are bounded by `attempts` and `budget` of `retries`, and not by time"
        }
        "proxy_cache_path"
        | "proxy_cache_key"
        | "proxy_cache_use_stale"
        | "proxy_cache_lock"
        | "proxy_cache"
        | "proxy_cache_valid" => {
            return Later::Cache.suggestion();
        }
        "proxy_bind" => "the kernel chooses the address that upstreams are asked from",
        _ => "there is no such key here",
    };
    text.to_owned()
}
