//! A real Traefik is asked, its files and labels are imported, our proxy is asked the same, and the answers are compared.
//!
//! Invariant: whatever differs stands in [`TOLD`] with the words by which the import tells it; that it still differs is tried too.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use switcher_tests::certificate::put;
use switcher_tests::foreign::{Server, at_target, served, start};
use switcher_tests::http1::{Answer, request};
use switcher_tests::part::skip_or_fail;
use switcher_tests::port::Port;
use switcher_tests::raw::Raw;
use switcher_tests::until::{PATIENCE, until};
use switcher_tests::{App, Http1, Switcher, program};
use tempfile::TempDir;

/// The plain doors of a server: the usual one, and the entry point `extra`.
#[derive(Clone, Copy)]
struct Doors {
    web: SocketAddr,
    extra: SocketAddr,
}

struct Asked {
    method: &'static str,
    host: &'static str,
    target: &'static str,
    headers: &'static [(&'static str, &'static str)],
    body: usize,
    extra: bool,
}

impl Asked {
    const fn with(self, headers: &'static [(&'static str, &'static str)]) -> Self {
        Self { headers, ..self }
    }

    const fn carrying(self, body: usize) -> Self {
        Self { body, ..self }
    }

    const fn at_extra(self) -> Self {
        Self { extra: true, ..self }
    }
}

const fn by(method: &'static str, host: &'static str, target: &'static str) -> Asked {
    Asked { method, host, target, headers: &[], body: 0, extra: false }
}

const fn ask(host: &'static str, target: &'static str) -> Asked {
    by("GET", host, target)
}

const fn shop(target: &'static str) -> Asked {
    ask("shop.test", target)
}

async fn answer(doors: Doors, asked: &Asked) -> Answer {
    let mut headers = vec![("Host", asked.host)];
    headers.extend(asked.headers.iter().copied());
    let body = vec![b'x'; asked.body];
    let door = if asked.extra { doors.extra } else { doors.web };
    Http1::connect(door).await.exchange(&request(asked.method, asked.target, &headers, &body)).await
}

/// Headers of an answer that must be the same.
const ANSWERED: [&str; 12] = [
    "location",
    "x-app",
    "x-frame-options",
    "x-content-type-options",
    "x-via",
    "server",
    "www-authenticate",
    "content-encoding",
    "access-control-allow-origin",
    "access-control-allow-methods",
    "access-control-allow-credentials",
    "access-control-max-age",
];

/// Headers of a request that an application must see in the same way.
const SEEN: [&str; 9] = [
    "host",
    "x-extra",
    "x-gone",
    "x-app",
    "x-forwarded-prefix",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-forwarded-for",
    "authorization",
];

/// What must be the same: status, some headers, what reached which application, and the body where one wrote it.
async fn essence(doors: Doors, asked: &Asked, apps: [&App; 2]) -> BTreeMap<&'static str, String> {
    let before = apps.map(App::hits);
    let answer = answer(doors, asked).await;
    // A page that is only asked for is not where the request went.
    let reached = apps.into_iter().zip(before).find(|(app, before)| app.hits() > *before).map(|(app, _)| app);
    // A preflight's answer has no body either way.
    let status = if asked.method == "OPTIONS" && answer.status == 204 { 200 } else { answer.status };
    let mut essence = BTreeMap::from([("status", status.to_string())]);
    for name in ANSWERED {
        // Ours says more of how a password is written than Traefik, and names the port of https where it is not 443.
        let value = answer.header(name).and_then(|value| value.split(", charset").next());
        essence.extend(value.map(|value| (name, without_port(value).replace(", ", ","))));
    }
    // Pages of ours say so of themselves.
    if reached.is_none() {
        essence.remove("x-content-type-options");
    }
    // Traefik says this to everybody.
    if answer.header("access-control-allow-origin").is_none() {
        essence.remove("access-control-allow-credentials");
    }
    if answer.status == 200 && answer.header("content-encoding").is_none() && !answer.body.is_empty() {
        essence.insert("body", answer.text());
    }
    if let Some(app) = reached {
        let seen = app.last();
        let headers = SEEN.iter().filter_map(|name| Some(format!("{name}={}", seen.header(name)?)));
        let headers: Vec<String> = headers.collect();
        let told = format!("{}: {} {} {}", app.name(), seen.method, seen.target, headers.join(" "));
        essence.insert("reached", told);
    }
    essence
}

/// `https://secure.test:8443/` without the port.
fn without_port(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else { return text.to_owned() };
    let (authority, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
    let host = if scheme == "https" { authority.split(':').next().unwrap_or_default() } else { authority };
    format!("{scheme}://{host}{path}")
}

/// A Traefik with these rules; and its doors.
struct Traefik {
    doors: Doors,
    _ports: [Port; 3],
    _server: Server,
}

impl Traefik {
    async fn start(folder: &Path, program: &Path, rules: &str) -> Self {
        let ports = [Port::reserve(), Port::reserve(), Port::reserve()];
        let statics = STATIC
            .replace("WEB", &ports[0].address().to_string())
            .replace("EXTRA", &ports[1].address().to_string())
            .replace("SECURE", &ports[2].address().to_string());
        put(&folder.join("traefik.yml"), &statics);
        put(&folder.join("rules.yml"), rules);
        let server = start(folder, program, &["--configFile=traefik.yml"]);
        let doors = Doors { web: ports[0].address(), extra: ports[1].address() };
        served(doors.web).await;
        // Listeners come before rules.
        until(PATIENCE, "Traefik to read its rules", || async {
            answer(doors, &ask("ready.test", "/")).await.status == 200
        })
        .await;
        Self { doors, _ports: ports, _server: server }
    }
}

const STATIC: &str = r#"
global: {checkNewVersion: false, sendAnonymousUsage: false}
log: {level: FATAL}
entryPoints:
  web: {address: "WEB"}
  extra: {address: "EXTRA"}
  websecure: {address: "SECURE"}
providers:
  file: {filename: rules.yml}
"#;

/// Our proxy with what was imported, at doors of its own.
async fn ours(folder: &Path, switcher: &Switcher) -> (Server, Doors, [Port; 3]) {
    let ports = [Port::reserve(), Port::reserve(), Port::reserve()];
    let overlay = format!(
        "proxy: {{http: ['{}', {{listen: '{}', name: extra}}], https: '{}', status: '127.0.0.1:0', admin: '{folder}/a.sock', \
         data_dir: '{folder}/data'}}\nswitcher: {{state_dir: '{folder}/state'}}\n",
        ports[0].address(),
        ports[1].address(),
        ports[2].address(),
        folder = folder.display()
    );
    put(&folder.join("switcher.test.yaml"), &overlay);
    switcher.succeed(&["--environment", "test", "config", "check"]).await;
    let arguments = ["--config", "switcher.yaml", "--environment", "test"];
    let proxy = start(folder, &program::find("switcher-proxy"), &arguments);
    until(PATIENCE, "every application to be probed", || async {
        let status = switcher.run(&["--environment", "test", "--json", "status"]).await;
        let found = serde_json::from_str::<serde_json::Value>(&status.stdout);
        found.is_ok_and(|status| is_probed(&status))
    })
    .await;
    (proxy, Doors { web: ports[0].address(), extra: ports[1].address() }, ports)
}

/// Whether everybody was heard of: who is not there at all is unhealthy, and known to be.
fn is_probed(status: &serde_json::Value) -> bool {
    let apps = status["apps"].as_object().into_iter().flat_map(|apps| apps.values());
    let upstreams =
        apps.flat_map(|app| app["slots"]["blue"]["upstreams"].as_array().cloned().unwrap_or_default());
    let mut upstreams = upstreams.filter(|upstream| upstream["health"] == "unknown");
    status["apps"].is_object() && upstreams.next().is_none()
}

/// By files; no rule says a priority, so that the longest rule comes first.
const RULES: &str = r#"
http:
  routers:
    ready: {rule: "Host(`ready.test`)", service: shop, entryPoints: [web]}
    root: {rule: "Host(`shop.test`)", service: shop, entryPoints: [web], middlewares: [told]}
    www: {rule: "Host(`www.shop.test`) || Host(`web.shop.test`)", service: shop, entryPoints: [web], middlewares: [told]}
    api: {rule: "Host(`shop.test`) && PathPrefix(`/api`)", service: shop, entryPoints: [web], middlewares: [api]}
    many: {rule: "Host(`shop.test`) && (PathPrefix(`/one`) || PathPrefix(`/two`))", service: shop, entryPoints: [web], middlewares: [many]}
    exact: {rule: "Host(`shop.test`) && Path(`/exact`)", service: admin, entryPoints: [web]}
    write: {rule: "Host(`shop.test`) && (Method(`PUT`) || Method(`DELETE`))", service: admin, entryPoints: [web]}
    beta: {rule: "Host(`shop.test`) && Header(`X-Beta`, `1`)", service: admin, entryPoints: [web]}
    version: {rule: "Host(`shop.test`) && HeaderRegexp(`X-Version`, `^v2`)", service: admin, entryPoints: [web]}
    theme: {rule: "Host(`shop.test`) && Query(`theme`, `dark`)", service: admin, entryPoints: [web]}
    near: {rule: "Host(`shop.test`) && ClientIP(`127.0.0.0/8`) && Path(`/near`)", service: admin, entryPoints: [web]}
    far: {rule: "Host(`shop.test`) && ClientIP(`10.0.0.0/8`) && Path(`/near`)", service: admin, entryPoints: [web], middlewares: [refused]}
    number: {rule: "Host(`shop.test`) && PathRegexp(`^/number/[0-9]+$`)", service: admin, entryPoints: [web]}
    tenant: {rule: "HostRegexp(`^[a-z]+\\.tenant\\.test$`)", service: admin, entryPoints: [web]}
    short: {rule: "PathPrefix(`/number`)", service: shop, entryPoints: [web]}
    v1: {rule: "Host(`shop.test`) && PathPrefix(`/v1/`)", service: admin, entryPoints: [web], middlewares: [v2]}
    fixed: {rule: "Host(`shop.test`) && PathPrefix(`/fixed`)", service: shop, entryPoints: [web], middlewares: [fixed]}
    inner: {rule: "Host(`shop.test`) && PathPrefix(`/inner`)", service: shop, entryPoints: [web], middlewares: [inner]}
    cors: {rule: "Host(`cors.test`)", service: shop, entryPoints: [web], middlewares: [cors]}
    private: {rule: "Host(`shop.test`) && PathPrefix(`/private`)", service: shop, entryPoints: [web], middlewares: [auth]}
    hidden: {rule: "Host(`shop.test`) && PathPrefix(`/hidden`)", service: shop, entryPoints: [web], middlewares: [guarded]}
    open: {rule: "Host(`shop.test`) && PathPrefix(`/open`)", service: shop, entryPoints: [web], middlewares: [here]}
    closed: {rule: "Host(`shop.test`) && PathPrefix(`/closed`)", service: shop, entryPoints: [web], middlewares: [elsewhere]}
    seldom: {rule: "Host(`shop.test`) && PathPrefix(`/seldom`)", service: shop, entryPoints: [web], middlewares: [seldom]}
    small: {rule: "Host(`shop.test`) && PathPrefix(`/small`)", service: shop, entryPoints: [web], middlewares: [small]}
    failing: {rule: "Host(`failing.test`)", service: shop, entryPoints: [web], middlewares: [pages]}
    bytes: {rule: "Host(`bytes.test`)", service: shop, entryPoints: [web], middlewares: [pack]}
    packed: {rule: "Host(`packed.test`)", service: text, entryPoints: [web], middlewares: [pack]}
    again: {rule: "Host(`again.test`)", service: half, entryPoints: [web], middlewares: [again]}
    asked: {rule: "Host(`shop.test`) && PathPrefix(`/asked`)", service: shop, entryPoints: [web], middlewares: [asked]}
    refused: {rule: "Host(`shop.test`) && PathPrefix(`/refused`)", service: shop, entryPoints: [web], middlewares: [refused]}
    sticky: {rule: "Host(`sticky.test`)", service: sticky, entryPoints: [web]}
    weighted: {rule: "Host(`weighted.test`)", service: weighted, entryPoints: [web]}
    part: {rule: "Host(`part.test`) && PathPrefix(`/only`)", service: shop, entryPoints: [web]}
    moved: {rule: "Host(`old.test`)", service: shop, entryPoints: [web], middlewares: [moved]}
    plain: {rule: "Host(`secure.test`)", service: shop, entryPoints: [web], middlewares: [secure]}
    secure: {rule: "Host(`secure.test`)", service: shop, entryPoints: [websecure], tls: {}}
    extra: {rule: "Host(`shop.test`)", service: admin, entryPoints: [extra]}
    both: {rule: "Host(`both.test`)", service: admin, entryPoints: [web, extra]}
  middlewares:
    told:
      headers:
        customRequestHeaders: {X-Extra: "yes", X-Gone: ""}
        customResponseHeaders: {X-Via: shop, Server: ""}
        frameDeny: true
        contentTypeNosniff: true
    api: {stripPrefix: {prefixes: [/api]}}
    many: {stripPrefix: {prefixes: [/one, /two]}}
    v2: {replacePathRegex: {regex: "^/v1/(.*)", replacement: "/v2/$1"}}
    fixed: {replacePath: {path: /always}}
    inner: {addPrefix: {prefix: /within}}
    cors:
      headers:
        accessControlAllowOriginList: ["https://page.test"]
        accessControlAllowMethods: [GET, PUT]
        accessControlAllowHeaders: [X-Token]
        accessControlAllowCredentials: true
        accessControlMaxAge: 600
    auth: {basicAuth: {users: ["ann:HASH"]}}
    quiet: {basicAuth: {users: ["ann:HASH"], removeHeader: true, headerField: X-App}}
    guarded: {chain: {middlewares: [here, quiet]}}
    here: {ipAllowList: {sourceRange: [127.0.0.0/8]}}
    elsewhere: {ipAllowList: {sourceRange: [10.0.0.0/8, 192.0.2.1]}}
    seldom: {rateLimit: {average: 2, period: 10m, burst: 2}}
    small: {buffering: {maxRequestBodyBytes: 100}}
    pages: {errors: {status: ["500-599"], service: admin, query: "/page/{status}"}}
    pack: {compress: {}}
    again: {retry: {attempts: 3}}
    asked: {forwardAuth: {address: "http://ADMIN/status/204", authResponseHeaders: [X-App]}}
    refused: {forwardAuth: {address: "http://ADMIN/status/403"}}
    moved: {redirectRegex: {regex: "^http://old\\.test/(.*)", replacement: "http://shop.test/$1"}}
    secure: {redirectScheme: {scheme: https, permanent: true}}
  services:
    shop: {loadBalancer: {servers: [{url: "http://SHOP"}]}}
    admin: {loadBalancer: {servers: [{url: "http://ADMIN"}]}}
    text: {loadBalancer: {servers: [{url: "http://TEXT"}]}}
    half: {loadBalancer: {servers: [{url: "http://DEAD"}, {url: "http://SHOP"}]}}
    sticky: {loadBalancer: {servers: [{url: "http://SHOP"}, {url: "http://ADMIN"}], sticky: {cookie: {name: seat, httpOnly: true}}}}
    weighted: {weighted: {services: [{name: shop, weight: 3}, {name: admin, weight: 1}]}}
"#;

const TABLE: &[Asked] = &[
    shop("/"),
    shop("/some/where?a=1&b=2"),
    ask("www.shop.test", "/"),
    ask("SHOP.test", "/"),
    ask("shop.test:80", "/"),
    by("HEAD", "shop.test", "/"),
    by("POST", "shop.test", "/count").carrying(5000),
    shop("/status/503"),
    shop("/a%20b?x=%20"),
    shop("/x").with(&[("X-Gone", "1"), ("X-Extra", "mine")]),
    shop("/x").with(&[("X-Forwarded-For", "192.0.2.7"), ("X-Forwarded-Host", "other.test")]),
    shop("/api"),
    shop("/api/"),
    shop("/api/users?x=%20"),
    shop("/api/bytes/7"),
    shop("/one/x"),
    shop("/two"),
    shop("/exact"),
    shop("/exact/"),
    shop("/exact?x"),
    by("PUT", "shop.test", "/thing"),
    by("DELETE", "shop.test", "/thing?x"),
    by("POST", "shop.test", "/thing"),
    // The rule by path is longer than that by method.
    by("PUT", "shop.test", "/number/1"),
    by("PUT", "shop.test", "/api/x"),
    shop("/").with(&[("X-Beta", "1")]),
    shop("/").with(&[("X-Beta", "2")]),
    shop("/a?b").with(&[("X-Version", "v2.1")]),
    shop("/a?b").with(&[("X-Version", "xv2")]),
    shop("/?theme=dark"),
    shop("/?theme=darker"),
    shop("/?a&theme=dark"),
    // Shorter than that by header, longer than that by query.
    shop("/api/x?theme=dark"),
    shop("/api/x").with(&[("X-Version", "v2")]),
    shop("/near"),
    shop("/number/17"),
    shop("/number/x"),
    ask("nobody.test", "/number/x"),
    ask("ann.tenant.test", "/x"),
    ask("ann7.tenant.test", "/x"),
    ask("tenant.test", "/x"),
    shop("/v1/things?q"),
    shop("/fixed/x?y"),
    shop("/inner/a?q"),
    ask("cors.test", "/").with(&[("Origin", "https://page.test")]),
    ask("cors.test", "/").with(&[("Origin", "https://other.test")]),
    ask("cors.test", "/"),
    by("OPTIONS", "cors.test", "/").with(&[
        ("Origin", "https://page.test"),
        ("Access-Control-Request-Method", "PUT"),
        ("Access-Control-Request-Headers", "x-token"),
    ]),
    shop("/private/x"),
    shop("/private/x").with(&[("Authorization", "Basic YW5uOnNlY3JldA==")]),
    shop("/private/x").with(&[("Authorization", "Basic YW5uOndyb25n")]),
    shop("/hidden/x"),
    shop("/hidden/x").with(&[("Authorization", "Basic YW5uOnNlY3JldA=="), ("X-App", "eve")]),
    shop("/open"),
    shop("/closed"),
    shop("/seldom"),
    shop("/seldom"),
    shop("/seldom"),
    by("POST", "shop.test", "/small").carrying(100),
    by("POST", "shop.test", "/small").carrying(101),
    ask("packed.test", "/").with(&[("Accept-Encoding", "gzip")]),
    ask("packed.test", "/"),
    ask("again.test", "/1"),
    ask("again.test", "/2"),
    ask("again.test", "/3"),
    shop("/a%2Fb"),
    shop("/asked/x?y"),
    shop("/asked/x?y").with(&[("X-App", "eve")]),
    shop("/refused/x"),
    ask("part.test", "/only"),
    ask("part.test", "/only/x"),
    ask("part.test", "/other"),
    ask("part.test", "/"),
    ask("old.test", "/a?b"),
    ask("nobody.test", "/"),
    shop("/").at_extra(),
    shop("/api/x").at_extra(),
    ask("both.test", "/"),
    ask("both.test", "/").at_extra(),
    ask("part.test", "/only").at_extra(),
    ask("nobody.test", "/").at_extra(),
];

/// What differs, and words of the note that tells it.
const TOLD: &[(Asked, &str)] = &[
    (ask("secure.test", "/a?b"), "with 308"),
    (ask("failing.test", "/status/503"), "error_pages"),
    (ask("part.test", "/onlyx"), "what only begins with the same letters"),
    (shop("/v1"), "without its last slash"),
    (ask("bytes.test", "/bytes/4000").with(&[("Accept-Encoding", "gzip")]), "no media type"),
    (shop("/a/../exact"), "they are not cleaned here"),
    (shop("//exact"), "they are not cleaned here"),
];

/// What both are asked, and what came of it.
struct Compared<'a> {
    sides: [Doors; 2],
    apps: [&'a App; 2],
}

impl Compared<'_> {
    async fn differences(&self, table: &[Asked]) -> Vec<String> {
        let mut differences = Vec::new();
        for asked in table {
            let [traefik, ours] = self.essences(asked).await;
            if traefik != ours {
                let Asked { method, host, target, headers, .. } = asked;
                differences.push(format!(
                    "{method} {host} {target} {headers:?}:\n  Traefik {traefik:?}\n  ours    {ours:?}"
                ));
            }
        }
        differences
    }

    async fn essences(&self, asked: &Asked) -> [BTreeMap<&'static str, String>; 2] {
        [essence(self.sides[0], asked, self.apps).await, essence(self.sides[1], asked, self.apps).await]
    }

    /// Whoever got a cookie is served by the same upstream from then on.
    async fn is_kept_in_its_seat(&self) {
        for doors in self.sides {
            let first = answer(doors, &ask("sticky.test", "/")).await;
            let cookie = first.header("set-cookie").expect("a cookie");
            assert!(cookie.starts_with("seat=") && cookie.contains("HttpOnly"), "{cookie}");
            let seat = cookie.split(';').next().expect("a name and a value").to_owned();
            for _ in 0..6 {
                let headers = [("Host", "sticky.test"), ("Cookie", seat.as_str())];
                let mut connection = Http1::connect(doors.web).await;
                let again = connection.exchange(&request("GET", "/", &headers, b"")).await;
                assert_eq!(again.text(), first.text());
            }
        }
    }

    /// Three of four requests reach the service with the weight of 3.
    async fn is_shared_by_weight(&self) {
        for doors in self.sides {
            let mut shop = 0;
            for _ in 0..40 {
                shop += usize::from(answer(doors, &ask("weighted.test", "/")).await.text() == "shop");
            }
            assert!((24..=36).contains(&shop), "{shop} of 40");
        }
    }
}

/// A text that is worth compressing, with its media type.
async fn text() -> Raw {
    const ANSWER: &str =
        concat!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2000\r\n\r\n", "TEXT",);
    let body = "words and ".repeat(200);
    let answer: &'static str = Box::leak(ANSWER.replace("TEXT", &body).into_boxed_str());
    Raw::answering(answer.as_bytes()).await
}

#[tokio::test]
async fn what_traefik_answered_is_answered_after_an_import() {
    let Some(program) = at_target("traefik") else {
        return skip_or_fail("Traefik is not here; `./setup --tests` brings it");
    };
    let (shop, admin, text) = (App::start("shop").await, App::start("admin").await, text().await);
    let folder = TempDir::new().expect("a folder");
    let dead = Port::reserve();
    let rules = RULES
        .replace("SHOP", &shop.upstream())
        .replace("ADMIN", &admin.upstream())
        .replace("TEXT", &text.address().to_string())
        .replace("DEAD", &dead.address().to_string())
        // `openssl passwd -apr1 -salt abcdefgh secret`
        .replace("HASH", "$apr1$abcdefgh$h9FWgUz3n9YxylKLlR5SQ/");
    let traefik = Traefik::start(folder.path(), &program, &rules).await;
    let switcher = Switcher::bare(folder.path());
    let ran = switcher.succeed(&["import", "traefik", "traefik.yml", "rules.yml"]).await;
    let (proxy, doors, _kept) = ours(folder.path(), &switcher).await;
    let compared = Compared { sides: [traefik.doors, doors], apps: [&shop, &admin] };
    let differences = compared.differences(TABLE).await;
    let written = fs::read_to_string(folder.path().join("switcher.yaml")).expect("it");
    assert!(differences.is_empty(), "{}\n\n{written}", differences.join("\n"));
    let told = ran.stderr.split_whitespace().collect::<Vec<_>>().join(" ");
    for (asked, words) in TOLD {
        let [traefik, ours] = compared.essences(asked).await;
        assert!(traefik != ours, "{} {} is the same and is still told: {ours:?}", asked.host, asked.target);
        assert!(told.contains(words), "{words} is not told:\n{}", ran.stderr);
    }
    compared.is_kept_in_its_seat().await;
    compared.is_shared_by_weight().await;
    drop(proxy);
}

/// By labels, where priorities are said; the services are called as their addresses, for there is no engine that would know them.
const LABELS: &str = r#"
services:
  traefik:
    image: traefik:v3.7
    command:
      - "--providers.docker=true"
      - "--entrypoints.web.address=WEB"
      - "--entrypoints.extra.address=EXTRA"
  "127.0.0.1":
    image: acme/shop
    labels:
      - "traefik.enable=true"
      - "traefik.http.routers.shop.rule=Host(`shop.test`)"
      - "traefik.http.routers.shop.entrypoints=web"
      - "traefik.http.routers.shop.middlewares=told"
      - "traefik.http.routers.api.rule=Host(`shop.test`) && PathPrefix(`/api`)"
      - "traefik.http.routers.api.entrypoints=web"
      - "traefik.http.routers.api.middlewares=strip,auth"
      - "traefik.http.middlewares.told.headers.customrequestheaders.X-Extra=yes"
      - "traefik.http.middlewares.told.headers.framedeny=true"
      - "traefik.http.middlewares.strip.stripprefix.prefixes=/api"
      - "traefik.http.middlewares.auth.basicauth.users=ann:$$apr1$$abcdefgh$$h9FWgUz3n9YxylKLlR5SQ/"
      - "traefik.http.services.shop.loadbalancer.server.port=SHOP"
  "127.0.0.2":
    image: acme/admin
    labels:
      traefik.http.routers.high.rule: PathPrefix(`/high`)
      traefik.http.routers.high.priority: "1000"
      traefik.http.routers.high.entrypoints: web
      traefik.http.routers.low.rule: "Host(`shop.test`) && PathPrefix(`/low/and/long`)"
      traefik.http.routers.low.priority: "1"
      traefik.http.routers.low.entrypoints: web
      traefik.http.routers.beta.rule: "Host(`shop.test`) && HeaderRegexp(`X-Beta`, `^(1|yes)$$`)"
      traefik.http.routers.beta.entrypoints: web
      traefik.http.routers.extra.rule: Host(`shop.test`)
      traefik.http.routers.extra.entrypoints: extra
      traefik.http.services.admin.loadbalancer.server.port: "ADMIN"
  hidden:
    image: acme/hidden
    labels: ["traefik.enable=false", "traefik.http.routers.hidden.rule=Host(`hidden.test`)"]
"#;

/// The same by a file, for a Traefik that has no engine to ask.
const SAME: &str = r#"
http:
  routers:
    ready: {rule: "Host(`ready.test`)", service: shop, entryPoints: [web]}
    shop: {rule: "Host(`shop.test`)", service: shop, entryPoints: [web], middlewares: [told]}
    api: {rule: "Host(`shop.test`) && PathPrefix(`/api`)", service: shop, entryPoints: [web], middlewares: [strip, auth]}
    high: {rule: "PathPrefix(`/high`)", priority: 1000, service: admin, entryPoints: [web]}
    low: {rule: "Host(`shop.test`) && PathPrefix(`/low/and/long`)", priority: 1, service: admin, entryPoints: [web]}
    beta: {rule: "Host(`shop.test`) && HeaderRegexp(`X-Beta`, `^(1|yes)$`)", service: admin, entryPoints: [web]}
    extra: {rule: "Host(`shop.test`)", service: admin, entryPoints: [extra]}
  middlewares:
    told: {headers: {customRequestHeaders: {X-Extra: "yes"}, frameDeny: true}}
    strip: {stripPrefix: {prefixes: [/api]}}
    auth: {basicAuth: {users: ["ann:$apr1$abcdefgh$h9FWgUz3n9YxylKLlR5SQ/"]}}
  services:
    shop: {loadBalancer: {servers: [{url: "http://SHOP"}]}}
    admin: {loadBalancer: {servers: [{url: "http://ADMIN"}]}}
"#;

const LABELLED: &[Asked] = &[
    shop("/"),
    shop("/some/where?a=1"),
    shop("/api/x"),
    shop("/api/x?y").with(&[("Authorization", "Basic YW5uOnNlY3JldA==")]),
    shop("/api").with(&[("Authorization", "Basic YW5uOnNlY3JldA==")]),
    shop("/high/x"),
    ask("nobody.test", "/high"),
    ask("nobody.test", "/"),
    shop("/low/and/long/x"),
    shop("/").with(&[("X-Beta", "yes")]),
    shop("/").with(&[("X-Beta", "yes!")]),
    shop("/high").with(&[("X-Beta", "1")]),
    // The rule by header is longer.
    shop("/api/x").with(&[("X-Beta", "1")]),
    shop("/").at_extra(),
    shop("/high").at_extra(),
    ask("hidden.test", "/"),
];

#[tokio::test]
async fn what_labels_said_to_traefik_is_answered_after_an_import() {
    let Some(program) = at_target("traefik") else {
        return skip_or_fail("Traefik is not here; `./setup --tests` brings it");
    };
    let shop = App::start("shop").await;
    let admin = App::start_at("admin", SocketAddr::from(([127, 0, 0, 2], 0))).await;
    let folder = TempDir::new().expect("a folder");
    let rules = SAME.replace("SHOP", &shop.upstream()).replace("ADMIN", &admin.upstream());
    let traefik = Traefik::start(folder.path(), &program, &rules).await;
    let port = |app: &App| app.upstream().rsplit(':').next().expect("a port").to_owned();
    let labels = LABELS
        .replace("WEB", &traefik.doors.web.to_string())
        .replace("EXTRA", &traefik.doors.extra.to_string())
        .replace("SHOP", &port(&shop))
        .replace("ADMIN", &port(&admin));
    put(&folder.path().join("compose.yaml"), &labels);
    let switcher = Switcher::bare(folder.path());
    switcher.succeed(&["import", "traefik", "compose.yaml"]).await;
    let (proxy, doors, _kept) = ours(folder.path(), &switcher).await;
    let compared = Compared { sides: [traefik.doors, doors], apps: [&shop, &admin] };
    let differences = compared.differences(LABELLED).await;
    let written = fs::read_to_string(folder.path().join("switcher.yaml")).expect("it");
    assert!(differences.is_empty(), "{}\n\n{written}", differences.join("\n"));
    drop(proxy);
}
