//! `switcher import`: a real nginx, a real Caddy and a real Traefik are asked, their configurations are imported, our proxy is
//! asked the same, and the answers are compared.

mod traefik;

mod files;
mod stream;

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use switcher_tests::certificate::put;
use switcher_tests::foreign::{Server, at_target, served, start};
use switcher_tests::http1::{Answer, request};
use switcher_tests::part::skip_or_fail;
use switcher_tests::port::Port;
use switcher_tests::until::{PATIENCE, until};
use switcher_tests::{App, Http1, Switcher, program};
use tempfile::TempDir;

fn nginx() -> Option<PathBuf> {
    let path = format!("{}:/usr/sbin", std::env::var("PATH").unwrap_or_default());
    std::env::split_paths(&path).map(|folder| folder.join("nginx")).find(|file| file.is_file())
}

/// Our proxy with what was imported; only what tests must not share with others is laid over it.
async fn ours(folder: &Path, switcher: &Switcher) -> (Server, SocketAddr, Port) {
    let port = Port::reserve();
    let overlay = format!(
        "proxy: {{http: '{}', https: [], status: '127.0.0.1:0', admin: '{folder}/a.sock', data_dir: '{folder}/data'}}\n\
         switcher: {{state_dir: '{folder}/state'}}\n",
        port.address(),
        folder = folder.display()
    );
    put(&folder.join("switcher.test.yaml"), &overlay);
    switcher.succeed(&["--environment", "test", "config", "check"]).await;
    let arguments = ["--config", "switcher.yaml", "--environment", "test"];
    let proxy = start(folder, &program::find("switcher-proxy"), &arguments);
    let address = port.address();
    until(PATIENCE, "every application to be served", || async {
        let status = switcher.run(&["--environment", "test", "--json", "status"]).await;
        let unknown =
            serde_json::from_str::<serde_json::Value>(&status.stdout).map(|status| unknown(&status));
        matches!(unknown, Ok(0))
    })
    .await;
    (proxy, address, port)
}

/// How many upstreams nobody has heard of yet.
fn unknown(status: &serde_json::Value) -> usize {
    let apps = status["apps"].as_object().into_iter().flat_map(|apps| apps.values());
    let upstreams =
        apps.flat_map(|app| app["slots"]["blue"]["upstreams"].as_array().cloned().unwrap_or_default());
    upstreams.filter(|upstream| upstream["health"] != "healthy").count()
}

struct Asked {
    method: &'static str,
    host: &'static str,
    target: &'static str,
    headers: &'static [(&'static str, &'static str)],
}

const fn ask(host: &'static str, target: &'static str) -> Asked {
    Asked { method: "GET", host, target, headers: &[] }
}

async fn answer(address: SocketAddr, asked: &Asked) -> Answer {
    let mut headers = vec![("Host", asked.host)];
    headers.extend(asked.headers.iter().copied());
    Http1::connect(address).await.exchange(&request(asked.method, asked.target, &headers, b"")).await
}

/// What must be the same: status, where it leads, some headers, and the body where an application wrote it.
fn essence(answer: &Answer) -> Vec<String> {
    let path = |location: &str| {
        // nginx makes an address of a path.
        let rest = location.strip_prefix("http://shop.test").unwrap_or(location);
        rest.split_once('/')
            .filter(|(port, _)| port.starts_with(':'))
            .map_or(rest.to_owned(), |(_, p)| format!("/{p}"))
    };
    let mut essence =
        vec![answer.status.to_string(), answer.header("location").map(path).unwrap_or_default()];
    // Ours passes on what refused a request and nginx does not, which the import tells.
    let app = if answer.status == 403 { "" } else { "x-app" };
    for name in ["x-frame-options", "www-authenticate", app] {
        // Ours says more of how a password is written than nginx.
        let first = answer.header(name).and_then(|value| value.split(", charset").next());
        essence.push(first.unwrap_or_default().to_owned());
    }
    if answer.status == 200 {
        essence.push(answer.text());
    }
    essence
}

/// What differs between two sides, asked the same.
async fn differences(
    sides: [(&str, SocketAddr); 2],
    table: &[Asked],
    shop: &App,
    admin: &App,
) -> Vec<String> {
    let mut differences = Vec::new();
    for asked in table {
        let mut found = Vec::new();
        for (_, address) in sides {
            let (at_shop, at_admin) = (shop.hits(), admin.hits());
            let mut essence = essence(&answer(address, asked).await);
            // Who is only asked for leave is not where the request went.
            let reached = if shop.hits() > at_shop { Some(shop) } else { None };
            let reached = reached.or((admin.hits() > at_admin).then_some(admin));
            let told = |app: &App| {
                let seen = app.last();
                let header = |name| seen.header(name).unwrap_or_default().to_owned();
                let host = if seen.target.starts_with("/status/") { String::new() } else { header("host") };
                let told = [header("x-extra"), header("x-real-ip")];
                format!("{}: {} {} {host} {told:?}", app.name(), seen.method, seen.target)
            };
            essence.push(reached.map(told).unwrap_or_default());
            found.push(essence);
        }
        if found[0] != found[1] {
            let Asked { method, host, target, headers } = asked;
            let [one, other] = [0, 1].map(|side| format!("  {} {:?}", sides[side].0, found[side]));
            differences.push(format!("{method} {host}{target} {headers:?}:\n{one}\n{other}"));
        }
    }
    differences
}

const NGINX: &str = r#"
daemon off; master_process off; pid FOLDER/nginx.pid; error_log stderr crit;
events { worker_connections 256; }
http {
  access_log off;
  client_body_temp_path FOLDER; proxy_temp_path FOLDER; fastcgi_temp_path FOLDER; uwsgi_temp_path FOLDER;
  scgi_temp_path FOLDER;
  map $http_upgrade $connection_upgrade { default upgrade; '' close; }
  upstream shop { server SHOP; keepalive 8; }
  proxy_set_header Host $host;
  proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
  server {
    listen LISTEN;
    server_name shop.test www.shop.test;
    add_header X-Frame-Options DENY always;
    client_max_body_size 1k;
    location / { proxy_pass http://shop; }
    location /api/ { proxy_pass http://shop/; }
    location /v1 { proxy_pass http://ADMIN/v2; proxy_set_header Host $host; proxy_set_header X-Extra yes; }
    location /tail/ { proxy_pass http://shop/front-; }
    location = /old { return 301 /new; }
    location /moved/ { return 302 http://elsewhere.test$request_uri; }
    location = /hello { default_type text/plain; return 200 "hello there"; }
    location /gone { return 410; }
    location ~ ^/user/([0-9]+)$ { return 301 /people/$1; }
    location /rewritten/ { rewrite ^/rewritten/(.*)$ /inner/$1 break; proxy_pass http://shop; }
    location /closed { deny all; proxy_pass http://shop; }
    location /open { allow 127.0.0.0/8; deny all; proxy_pass http://shop; }
    location /private {
      auth_basic "Private"; auth_basic_user_file FOLDER/users;
      proxy_pass http://shop;
      proxy_set_header Host $host; proxy_set_header X-Real-IP $remote_addr;
    }
    location /asked/ { auth_request /leave; proxy_pass http://shop; }
    location = /leave { internal; proxy_pass http://ADMIN/status/204; }
    location /refused/ { auth_request /refuse; proxy_pass http://shop; }
    location = /refuse { internal; proxy_pass http://ADMIN/status/403; }
    location ~ ^/number/[0-9]+$ { proxy_pass http://ADMIN; proxy_set_header Host $host; proxy_set_header X-Extra n; }
    location ~ /\.ht { deny all; }
    location /cached/ { proxy_pass http://shop; proxy_cache_bypass $http_pragma; proxy_ignore_headers Expires; }
  }
  server { listen LISTEN; server_name old.test; return 301 http://shop.test$request_uri; }
  server { listen LISTEN default_server; server_name _; return 404; }
}
"#;

const TABLE: &[Asked] = &[
    ask("shop.test", "/"),
    ask("www.shop.test", "/some/where?a=1&b=2"),
    Asked { method: "HEAD", host: "shop.test", target: "/", headers: &[] },
    ask("shop.test", "/status/503"),
    ask("shop.test", "/api/bytes/7"),
    ask("shop.test", "/api/users?x=%20"),
    ask("shop.test", "/v1"),
    ask("shop.test", "/v1/things"),
    ask("shop.test", "/tail/x"),
    ask("shop.test", "/old"),
    ask("shop.test", "/older"),
    ask("shop.test", "/moved/a/b?c"),
    ask("shop.test", "/hello"),
    ask("shop.test", "/gone/1"),
    ask("shop.test", "/user/17"),
    ask("shop.test", "/user/x"),
    ask("shop.test", "/rewritten/a?q"),
    ask("shop.test", "/closed"),
    ask("shop.test", "/open"),
    ask("shop.test", "/private"),
    Asked {
        method: "GET",
        host: "shop.test",
        target: "/private",
        headers: &[("Authorization", "Basic YW5uOnNlY3JldA==")],
    },
    Asked {
        method: "GET",
        host: "shop.test",
        target: "/private",
        headers: &[("Authorization", "Basic YW5uOndyb25n")],
    },
    ask("shop.test", "/cached/x"),
    ask("shop.test", "/asked/x?y"),
    ask("shop.test", "/refused/x?y"),
    ask("shop.test", "/number/17"),
    ask("shop.test", "/number/x"),
    ask("shop.test", "/.htpasswd"),
    ask("shop.test", "/api/.htaccess"),
    ask("old.test", "/a?b"),
    ask("nobody.test", "/"),
];

#[tokio::test]
async fn what_nginx_answered_is_answered_after_an_import() {
    let Some(program) = nginx() else { return skip_or_fail("nginx is not here") };
    let (shop, admin) = (App::start("shop").await, App::start("admin").await);
    let folder = TempDir::new().expect("a folder");
    let port = Port::reserve();
    let text = NGINX
        .replace("FOLDER", &folder.path().display().to_string())
        .replace("LISTEN", &port.address().to_string())
        .replace("SHOP", &shop.upstream())
        .replace("ADMIN", &admin.upstream());
    put(&folder.path().join("nginx.conf"), &text);
    // `openssl passwd -apr1 -salt abcdefgh secret`
    put(&folder.path().join("users"), "ann:$apr1$abcdefgh$h9FWgUz3n9YxylKLlR5SQ/\n");
    let config = folder.path().join("nginx.conf").display().to_string();
    let prefix = folder.path().display().to_string();
    let server = start(folder.path(), &program, &["-e", "stderr", "-p", &prefix, "-c", &config]);
    served(port.address()).await;
    let switcher = Switcher::bare(folder.path());
    let ran = switcher.succeed(&["import", "nginx", "nginx.conf"]).await;
    for part in ["proxy_ignore_headers", "Needs nothing here"] {
        assert!(ran.stderr.contains(part), "{part} is not told:\n{}", ran.stderr);
    }
    let (proxy, address, _kept) = ours(folder.path(), &switcher).await;
    let sides = [("nginx", port.address()), ("ours ", address)];
    let differences = differences(sides, TABLE, &shop, &admin).await;
    let written = fs::read_to_string(folder.path().join("switcher.yaml")).expect("it");
    assert!(differences.is_empty(), "{}\n\n{written}", differences.join("\n"));
    drop((server, proxy));
}

const CADDY: &str = r#"
{
	admin off
	auto_https off
	persist_config off
}
http://shop.test:PORT, http://www.shop.test:PORT {
	header X-Frame-Options DENY
	@beta header X-Beta 1
	@version header X-Version v2*
	@write method PUT DELETE
	@theme query theme=dark
	@number path_regexp ^/number/[0-9]+$
	@outside {
		path /near/*
		not remote_ip 127.0.0.0/8
	}
	respond @outside 403
	handle @beta {
		reverse_proxy ADMIN
	}
	handle @version {
		reverse_proxy ADMIN
	}
	handle @write {
		reverse_proxy ADMIN
	}
	handle @theme {
		reverse_proxy ADMIN
	}
	handle @number {
		reverse_proxy ADMIN
	}
	handle_path /api/* {
		reverse_proxy SHOP
	}
	handle /old {
		redir * /new 301
	}
	handle /moved/* {
		redir http://elsewhere.test{uri}
	}
	handle /hello {
		respond "hello there" 200
	}
	handle /gone* {
		respond 410
	}
	handle /inner/* {
		rewrite * /v2{uri}
		reverse_proxy SHOP
	}
	handle /private/* {
		basic_auth {
			ann HASH
		}
		reverse_proxy SHOP
	}
	handle /asked/* {
		forward_auth ADMIN {
			uri /status/204
		}
		reverse_proxy SHOP
	}
	handle /refused/* {
		forward_auth ADMIN {
			uri /status/403
		}
		reverse_proxy SHOP
	}
	handle {
		reverse_proxy SHOP {
			header_up X-Extra yes
		}
	}
}
http://old.test:PORT {
	redir http://shop.test{uri} 301
}
"#;

const fn with(target: &'static str, headers: &'static [(&'static str, &'static str)]) -> Asked {
    Asked { method: "GET", host: "shop.test", target, headers }
}

const fn by(method: &'static str, target: &'static str) -> Asked {
    Asked { method, host: "shop.test", target, headers: &[] }
}

const CADDY_TABLE: &[Asked] = &[
    ask("shop.test", "/"),
    ask("www.shop.test", "/some/where?a=1&b=2"),
    by("HEAD", "/"),
    by("PUT", "/thing"),
    by("DELETE", "/thing?x"),
    by("POST", "/thing"),
    ask("shop.test", "/status/503"),
    with("/", &[("X-Beta", "1")]),
    with("/", &[("X-Beta", "2")]),
    with("/a?b", &[("X-Version", "v2.1")]),
    with("/a?b", &[("X-Version", "xv2")]),
    ask("shop.test", "/?theme=dark"),
    ask("shop.test", "/?theme=darker"),
    ask("shop.test", "/number/17"),
    ask("shop.test", "/number/x"),
    ask("shop.test", "/api/bytes/7"),
    ask("shop.test", "/api/users?x=%20"),
    ask("shop.test", "/old"),
    ask("shop.test", "/old/er"),
    ask("shop.test", "/moved/a/b?c"),
    ask("shop.test", "/hello"),
    ask("shop.test", "/gone"),
    ask("shop.test", "/gone/1"),
    ask("shop.test", "/inner/a?q"),
    ask("shop.test", "/private/x"),
    with("/private/x", &[("Authorization", "Basic YW5uOnNlY3JldA==")]),
    with("/private/x", &[("Authorization", "Basic YW5uOndyb25n")]),
    ask("shop.test", "/asked/x?y"),
    ask("shop.test", "/refused/x"),
    ask("shop.test", "/near/x"),
    ask("old.test", "/a?b"),
];

#[tokio::test]
async fn what_caddy_answered_is_answered_after_an_import() {
    let Some(program) = at_target("caddy") else {
        return skip_or_fail("Caddy is not here; `./setup --tests` brings it");
    };
    let (shop, admin) = (App::start("shop").await, App::start("admin").await);
    let folder = TempDir::new().expect("a folder");
    let port = Port::reserve();
    let text = CADDY
        .replace("PORT", &port.address().port().to_string())
        .replace("SHOP", &shop.upstream())
        .replace("ADMIN", &admin.upstream())
        // `htpasswd -nbB -C 5 ann secret`
        .replace("HASH", "$2y$05$yWYwjHzCSVd82lq///M3I.L6iez3WXgkRDIPj7LljBoHA.Cvqo2pa");
    put(&folder.path().join("Caddyfile"), &text);
    let arguments = ["run", "--adapter", "caddyfile", "--config", "Caddyfile"];
    let server = start(folder.path(), &program, &arguments);
    served(port.address()).await;
    let switcher = Switcher::bare(folder.path());
    switcher.succeed(&["import", "caddy", "Caddyfile"]).await;
    let (proxy, address, _kept) = ours(folder.path(), &switcher).await;
    let sides = [("Caddy", port.address()), ("ours ", address)];
    let differences = differences(sides, CADDY_TABLE, &shop, &admin).await;
    let written = fs::read_to_string(folder.path().join("switcher.yaml")).expect("it");
    assert!(differences.is_empty(), "{}\n\n{written}", differences.join("\n"));
    drop((server, proxy));
}

#[tokio::test]
async fn nothing_is_written_over_and_a_mistake_has_its_line_and_column() {
    let folder = TempDir::new().expect("a folder");
    put(
        &folder.path().join("a.conf"),
        "server { listen 8080; location / { proxy_pass http://127.0.0.1:1; } }\n",
    );
    put(&folder.path().join("b.conf"), "server {\n  listen 8080\n}\n");
    let switcher = Switcher::bare(folder.path());
    let file = folder.path().join("switcher.yaml");
    let dry = switcher.succeed(&["import", "nginx", "a.conf", "--dry-run"]).await;
    assert!(dry.stdout.contains("127.0.0.1:1") && !file.exists());
    switcher.succeed(&["import", "nginx", "a.conf"]).await;
    let before = fs::read(&file).expect("it");
    let again = switcher.run(&["import", "nginx", "a.conf"]).await;
    assert_eq!(again.code, 2);
    again.says(&["E-IMPORT-02", "--force"]);
    let bad = switcher.run(&["import", "nginx", "b.conf", "--force"]).await;
    assert_eq!(bad.code, 10);
    bad.says(&["E-IMPORT-01", "b.conf:3:2", "not ended by a `;`"]);
    assert_eq!(fs::read(&file).expect("it"), before);
    let forced = switcher.succeed(&["import", "nginx", "a.conf", "--force", "--json"]).await.json();
    assert_eq!((forced["apps"][0].as_str(), forced["written"].as_bool()), (Some("app"), Some(true)));
    assert!(forced["notes"][0]["line"].is_u64(), "{forced}");
    let none = switcher.run(&["import", "nginx", "none.conf"]).await;
    assert_eq!(none.code, 10);
    none.says(&["none.conf", "cannot be read"]);
}
