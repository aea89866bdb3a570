//! The configurations of those that are compared, as pure texts: minimal, and the same in everything that costs.
//!
//! One worker or thread, no log, connections to clients and to the application kept, TLS 1.3 with one P-256
//! certificate, HTTP/1.1 and HTTP/2 at each door, `X-Forwarded-For` and `-Proto` told to the application, bodies
//! passed on as they come and never through a file.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Where a server stands and what it shows.
#[derive(Debug, Clone)]
pub struct Door {
    /// The folder for its files.
    pub folder: PathBuf,
    /// HTTP/1.1 in clear text; where the server can tell them apart, HTTP/2 too.
    pub http: SocketAddr,
    /// TLS.
    pub https: SocketAddr,
    /// HTTP/2 in clear text, for servers that need a door of its own.
    pub h2c: SocketAddr,
    /// The certificate's path without its extension: `.crt`, `.key`, and both in `.pem`.
    pub certificate: PathBuf,
}

impl Door {
    fn file(&self, extension: &str) -> String {
        self.certificate.with_extension(extension).display().to_string()
    }
}

/// What differs between our own proxies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ours {
    /// How many applications there are beside the one that is asked.
    pub others: usize,
    /// Whether requests are logged, to a file.
    pub logged: bool,
}

impl Ours {
    /// As it is compared with the others.
    pub const PLAIN: Self = Self { others: 0, logged: false };
}

/// The name that is asked for.
pub const HOST: &str = "shop.test";

/// This proxy.
#[must_use]
pub fn ours(door: &Door, backend: SocketAddr, how: Ours) -> String {
    let Door { http, https, .. } = door;
    let (f, certificate, key) = (door.folder.display(), door.file("crt"), door.file("key"));
    let log = if how.logged { format!("{{file: {f}/access.log}}") } else { "\"off\"".to_owned() };
    // Healthy at the first look, and not looked at again while something is measured. Aliases keep the file small.
    let mut text = format!(
        "proxy:
  http: {http}
  https: {https}
  admin: {f}/admin.sock
  data_dir: {f}/data
  threads: 1
  access_log: {log}
  limits: {{connections_per_address: 1000000, requests_per_connection: 1000000, idle_timeout: 10m}}
apps:
  shop:
    hosts: [{HOST}]
    tls: {{certificate: {certificate}, key: {key}}}
    redirect: false
    slots: {{blue: &here [\"{backend}\"]}}
    health: &health {{interval: 1h, rise: 1}}
"
    );
    for number in 0..how.others {
        let _ = writeln!(
            text,
            "  app{number}: {{hosts: [app{number}.test], slots: {{blue: *here}}, health: *health}}"
        );
    }
    text
}

/// nginx. `process` says how it runs: alone (`master_process off;`), or as a master that can reload. `servers` are
/// the lines of its upstream.
#[must_use]
pub fn nginx(door: &Door, process: &str, servers: &str) -> String {
    nginx_with(door, process, servers, "", "")
}

/// nginx with more lines in `http`, and in its one `location`.
#[must_use]
pub fn nginx_with(door: &Door, process: &str, servers: &str, everywhere: &str, location: &str) -> String {
    let Door { http, https, h2c, .. } = door;
    let (f, certificate, key) = (door.folder.display(), door.file("crt"), door.file("key"));
    format!(
        "user root; worker_processes 1; daemon off; {process} pid {f}/pid; error_log stderr crit;
events {{ worker_connections 16384; }}
http {{
  access_log off; {everywhere}
  client_body_temp_path {f}; proxy_temp_path {f}; fastcgi_temp_path {f}; uwsgi_temp_path {f}; scgi_temp_path {f};
  keepalive_timeout 600s; keepalive_requests 1000000;
  map $http_upgrade $connection_upgrade {{ default upgrade; '' ''; }}
  upstream app {{ {servers} keepalive 64; keepalive_requests 1000000; }}
  server {{
    listen {http} backlog=4096;
    listen {https} ssl http2 backlog=4096;
    listen {h2c} http2 backlog=4096;
    ssl_certificate {certificate}; ssl_certificate_key {key};
    ssl_protocols TLSv1.3; ssl_ecdh_curve X25519; ssl_session_tickets on; ssl_session_timeout 1h;
    location / {{
      {location}
      proxy_pass http://app; proxy_http_version 1.1;
      proxy_set_header Host $host;
      proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Connection $connection_upgrade;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
      proxy_set_header X-Forwarded-Proto $scheme;
      proxy_request_buffering off; client_max_body_size 0; proxy_max_temp_file_size 0;
      proxy_read_timeout 600s; proxy_send_timeout 600s;
    }}
  }}
}}
"
    )
}

/// `HAProxy`. `global` are more lines of that section, `servers` those of its backend.
#[must_use]
pub fn haproxy(door: &Door, global: &str, servers: &str) -> String {
    let (Door { http, https, .. }, pem) = (door, door.file("pem"));
    format!(
        "global
  nbthread 1
  maxconn 8192
  tune.ssl.lifetime 3600
{global}
defaults
  mode http
  timeout connect 5s
  timeout client 600s
  timeout server 600s
  timeout http-keep-alive 600s
  timeout tunnel 600s
  http-reuse always
  option forwardfor
frontend door
  bind {http} backlog 4096
  bind {https} ssl crt {pem} curves X25519 ssl-min-ver TLSv1.3 alpn h2,http/1.1 backlog 4096
  http-request set-header X-Forwarded-Proto https if {{ ssl_fc }}
  http-request set-header X-Forwarded-Proto http unless {{ ssl_fc }}
  default_backend app
backend app
{servers}
"
    )
}

/// Caddy, as a Caddyfile. `admin` is the address of its admin API, or `off`.
#[must_use]
pub fn caddy(door: &Door, admin: &str, backend: SocketAddr) -> String {
    caddy_with(door, admin, backend, "")
}

/// Caddy with more lines at each of its sites.
#[must_use]
pub fn caddy_with(door: &Door, admin: &str, backend: SocketAddr, site: &str) -> String {
    let (certificate, key) = (door.file("crt"), door.file("key"));
    let (http, https, ip) = (door.http.port(), door.https.port(), door.http.ip());
    let upstream = format!(
        "bind {ip}\n\t{site}\n\treverse_proxy {backend} {{\n\t\ttransport http {{\n\t\t\tkeepalive 10m\n\t\t\t\
         keepalive_idle_conns_per_host 64\n\t\t}}\n\t}}"
    );
    format!(
        "{{
\tadmin {admin}
\tauto_https off
\tpersist_config off
\tlog {{
\t\tlevel ERROR
\t}}
\tservers {{
\t\tprotocols h1 h2 h2c
\t}}
}}
http://:{http} {{
\t{upstream}
}}
https://:{https} {{
\ttls {certificate} {key} {{
\t\tprotocols tls1.3
\t\tcurves x25519
\t}}
\t{upstream}
}}
"
    )
}

/// What Traefik is told on its command line: everything but its rules, which are read from a file.
#[must_use]
pub fn traefik_flags(door: &Door, rules: &str) -> Vec<String> {
    let doors = [("plain", door.http), ("tls", door.https)];
    let doors = doors.into_iter().flat_map(|(name, address)| {
        let of = move |key: &str, value: String| format!("--entryPoints.{name}.{key}={value}");
        let times = "transport.respondingTimeouts";
        [
            of("address", address.to_string()),
            of(&format!("{times}.readTimeout"), "0".to_owned()),
            of(&format!("{times}.idleTimeout"), "600s".to_owned()),
        ]
    });
    let rest = ["--global.checkNewVersion=false", "--global.sendAnonymousUsage=false", "--log.level=ERROR"];
    let rest = rest.map(str::to_owned).into_iter().chain([format!("--providers.file.filename={rules}")]);
    doors.chain(rest).collect()
}

/// Traefik's rules. `middleware` is what the one middleware says; none for no middleware at all.
#[must_use]
pub fn traefik_rules(door: &Door, backend: SocketAddr, middleware: Option<&str>) -> String {
    let (certificate, key) = (door.file("crt"), door.file("key"));
    let (named, said) = middleware.map_or_else(
        || ("", String::new()),
        |said| (", middlewares: [feature]", format!("  middlewares: {{feature: {{{said}}}}}\n")),
    );
    format!(
        "tls:
  certificates: [{{certFile: '{certificate}', keyFile: '{key}'}}]
  options: {{default: {{minVersion: VersionTLS13, curvePreferences: [X25519]}}}}
http:
  routers:
    plain: {{rule: 'Host(`{HOST}`)', service: app, entryPoints: [plain]{named}}}
    tls: {{rule: 'Host(`{HOST}`)', service: app, entryPoints: [tls], tls: {{}}{named}}}
{said}  services: {{app: {{loadBalancer: {{servers: [{{url: 'http://{backend}'}}], serversTransport: kept}}}}}}
  serversTransports: {{kept: {{maxIdleConnsPerHost: 64, forwardingTimeouts: {{idleConnTimeout: 600s}}}}}}
"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn door() -> Door {
        let address = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let (http, https, h2c) = (address(1), address(2), address(3));
        Door { folder: "/f".into(), http, https, h2c, certificate: "/f/name0".into() }
    }

    #[test]
    fn ours_has_as_many_applications_as_it_should() {
        let backend = SocketAddr::from(([127, 0, 0, 1], 9));
        let text = ours(&door(), backend, Ours { others: 3, logged: false });
        assert_eq!(text.matches("slots:").count(), 4);
        assert!(text.contains("access_log: \"off\"") && text.contains("threads: 1"), "{text}");
        assert!(ours(&door(), backend, Ours { others: 0, logged: true }).contains("{file: /f/access.log}"));
    }

    #[test]
    fn traefik_has_a_middleware_where_one_is_asked_for() {
        let backend = SocketAddr::from(([127, 0, 0, 1], 9));
        let rules = |said| traefik_rules(&door(), backend, said);
        assert_eq!(rules(Some("compress: {encodings: [gzip]}")).matches("feature").count(), 3);
        assert!(!rules(None).contains("middleware"));
    }

    #[test]
    fn everybody_has_one_worker_and_no_log() {
        assert!(nginx(&door(), "", "").contains("worker_processes 1;"));
        assert!(nginx(&door(), "", "").contains("access_log off;"));
        assert!(haproxy(&door(), "", "").contains("nbthread 1\n"));
        let caddy = caddy(&door(), "off", SocketAddr::from(([127, 0, 0, 1], 9)));
        assert!(caddy.contains("admin off\n") && !caddy.contains("output"), "{caddy}");
        assert!(traefik_flags(&door(), "/f/rules.yml").iter().all(|flag| !flag.contains("accessLog")));
    }
}
