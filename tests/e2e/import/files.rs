//! Folders: what a real nginx and a real Caddy answer of them, and our proxy after an import.

use std::net::SocketAddr;
use std::path::Path;

use switcher_tests::certificate::put;
use switcher_tests::foreign::{at_target, served, start};
use switcher_tests::http1::Answer;
use switcher_tests::part::skip_or_fail;
use switcher_tests::port::Port;
use switcher_tests::{App, Switcher};
use tempfile::TempDir;

use super::{Asked, answer, ask, by, nginx, ours, with};

/// Bytes that begin as what `gzip` writes does: nobody looks further.
const PACKED: &str = "\u{1f}\u{8}packed";

/// The files of a site, and a secret beside it.
fn site(folder: &Path) {
    for (name, text) in [
        ("site/index.html", "<h1>home</h1>"),
        ("site/docs/index.html", "<h1>docs</h1>"),
        ("site/letters.txt", "abcdefghij"),
        ("site/picture.png", "not really"),
        ("site/.env", "secret"),
        ("site/404.html", "<h1>nothing here</h1>"),
        ("site/app/index.html", "<h1>app</h1>"),
        ("site/app/main.js", "main()"),
        ("site/private/plan.txt", "for ann"),
        ("site/closed/plan.txt", "secret"),
        ("site/inner/plan.txt", "secret"),
        ("site/key.secret", "secret"),
        ("site/front/there.txt", "a file"),
        ("assets/app.js", "app()"),
        ("assets/app.js.gz", PACKED),
        ("assets/robots.txt", "User-agent: *"),
        ("spa/index.html", "<h1>spa</h1>"),
        ("spa/main.css", "body{}"),
        ("styles/site.css", "p{}"),
        ("secret.txt", "secret"),
    ] {
        let path = folder.join(name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        put(&path, text);
    }
    // `openssl passwd -apr1 -salt abcdefgh secret`
    put(&folder.join("users"), "ann:$apr1$abcdefgh$h9FWgUz3n9YxylKLlR5SQ/\n");
}

/// What must be the same. Where a folder is sent on to its slash, the number alone differs, which the import tells.
fn essence(answer: &Answer) -> Vec<String> {
    let header = |name| answer.header(name).unwrap_or_default().to_owned();
    // The name of scripts has changed since (RFC 9239).
    let media = header("content-type").replace("application/javascript", "text/javascript");
    let media = media.split(';').next().unwrap_or_default().to_owned();
    // `http://shop.test:1234/docs/`, of which the path is what counts.
    let location = header("location");
    let rest = location.split_once("://").map_or(location.as_str(), |(_, rest)| rest);
    let path = rest.find('/').map_or("", |at| &rest[at..]).to_owned();
    let moved = matches!(answer.status, 301 | 302 | 307 | 308);
    let mut essence = vec![if moved { "sent on".to_owned() } else { answer.status.to_string() }, path];
    essence.push(header("www-authenticate").split(", charset").next().unwrap_or_default().to_owned());
    if matches!(answer.status, 200 | 206) {
        essence.extend([media, answer.text()]);
        let told = ["content-range", "content-encoding", "content-length", "x-frame-options"];
        essence.extend(told.map(header));
    }
    essence
}

async fn differences(sides: [(&str, SocketAddr); 2], table: &[Asked]) -> Vec<String> {
    let mut differences = Vec::new();
    for asked in table {
        let found = [answer(sides[0].1, asked).await, answer(sides[1].1, asked).await];
        let found = found.each_ref().map(essence);
        if found[0] != found[1] {
            let Asked { method, host, target, headers } = asked;
            let [one, other] = [0, 1].map(|side| format!("  {} {:?}", sides[side].0, found[side]));
            differences.push(format!("{method} {host}{target} {headers:?}:\n{one}\n{other}"));
        }
    }
    // Each has tags of its own, and the date is that of the file.
    for target in ["/letters.txt", "/docs/"] {
        for (side, address) in sides {
            let first = answer(address, &ask("shop.test", target)).await;
            for (asked, told) in [("If-None-Match", "etag"), ("If-Modified-Since", "last-modified")] {
                let value = first.header(told).unwrap_or_default();
                let headers = [("Host", "shop.test"), (asked, value)];
                let request = switcher_tests::http1::request("GET", target, &headers, b"");
                let again = switcher_tests::Http1::connect(address).await.exchange(&request).await;
                if again.status != 304 || !again.body.is_empty() {
                    differences.push(format!("{side} {target} {asked}: {value}: {}", again.status));
                }
            }
        }
    }
    differences
}

/// What nobody may read, asked in every way that comes to mind.
async fn nothing_is_shown(address: SocketAddr) {
    for target in [
        "/.env",
        "/%2eenv",
        "/docs/../.env",
        "/../secret.txt",
        "/..%2fsecret.txt",
        "/assets/../secret.txt",
        "/assets/%2e%2e/secret.txt",
        "/assets..%2fsecret.txt",
        "/assets../secret.txt",
        "/spa../secret.txt",
        "/closed/plan.txt",
        "/%63losed/plan.txt",
        "//closed/plan.txt",
        "/docs/../closed/plan.txt",
        "/inner/plan.txt",
        "/inner/../inner/plan.txt",
        "/key.secret",
        "/key%2Esecret",
        "/key.secre%74",
        "/docs/..//key.secret",
    ] {
        let answer = answer(address, &ask("shop.test", target)).await;
        assert!(answer.status >= 400, "{target}: {}", answer.status);
        assert!(!answer.text().contains("secret"), "{target}: {}", answer.text());
    }
}

const ANN: &[(&str, &str)] = &[("Authorization", "Basic YW5uOnNlY3JldA==")];
const GZIP: &[(&str, &str)] = &[("Accept-Encoding", "gzip")];

const NGINX: &str = r#"
daemon off; master_process off; pid FOLDER/nginx.pid; error_log stderr crit;
events { worker_connections 256; }
http {
  access_log off;
  include /etc/nginx/mime.types;
  client_body_temp_path FOLDER; proxy_temp_path FOLDER; fastcgi_temp_path FOLDER; uwsgi_temp_path FOLDER;
  scgi_temp_path FOLDER;
  server {
    listen LISTEN;
    server_name shop.test;
    root FOLDER/site;
    index index.html index.htm;
    error_page 404 /404.html;
    location = /404.html { internal; }
    location / { try_files $uri $uri/ =404; }
    location /assets/ { alias FOLDER/assets/; gzip_static on; add_header X-Frame-Options DENY; }
    location = /robots.txt { alias FOLDER/assets/robots.txt; }
    location /app/ { try_files $uri $uri/ /app/index.html; }
    location ^~ /spa/ { alias FOLDER/spa/; try_files $uri $uri/ /spa/index.html; }
    location ~* \.css$ { root FOLDER/styles; add_header X-Frame-Options SAMEORIGIN; }
    location /private/ { auth_basic "Private"; auth_basic_user_file FOLDER/users; }
    location /closed/ { deny all; }
    location /inner/ { internal; }
    location ~ /\. { deny all; }
    location ~ \.secret$ { deny all; }
    location /api/ { proxy_pass http://SHOP; proxy_set_header Host $host; }
    location /front/ { try_files $uri @shop; }
    location @shop { proxy_pass http://SHOP; proxy_set_header Host $host; }
  }
  server { listen LISTEN default_server; root FOLDER/spa; }
}
"#;

const TABLE: &[Asked] = &[
    ask("shop.test", "/"),
    ask("shop.test", "/index.html"),
    by("HEAD", "/letters.txt"),
    ask("shop.test", "/letters.txt?v=1"),
    ask("shop.test", "/picture.png"),
    with("/letters.txt", &[("Range", "bytes=2-4")]),
    with("/letters.txt", &[("Range", "bytes=-3")]),
    with("/letters.txt", &[("Range", "bytes=20-")]),
    with("/letters.txt", &[("If-None-Match", "\"other\"")]),
    ask("shop.test", "/docs/"),
    ask("shop.test", "/docs"),
    ask("shop.test", "/docs?a=b"),
    ask("shop.test", "/nobody.txt"),
    ask("shop.test", "/letters.txt/x"),
    by("POST", "/letters.txt"),
    ask("shop.test", "/assets/app.js"),
    with("/assets/app.js", GZIP),
    ask("shop.test", "/assets/nobody.js"),
    ask("shop.test", "/robots.txt"),
    ask("shop.test", "/app/"),
    ask("shop.test", "/app/main.js"),
    ask("shop.test", "/app/users/17"),
    ask("shop.test", "/spa/"),
    ask("shop.test", "/spa/main.css"),
    ask("shop.test", "/spa/users/17"),
    ask("shop.test", "/site.css"),
    ask("shop.test", "/docs/nobody.css"),
    ask("shop.test", "/private/plan.txt"),
    with("/private/plan.txt", ANN),
    ask("shop.test", "/closed/plan.txt"),
    ask("shop.test", "/inner/plan.txt"),
    ask("shop.test", "/key.secret"),
    ask("shop.test", "/.env"),
    ask("shop.test", "/api/bytes/7"),
    ask("shop.test", "/front/there.txt"),
    ask("shop.test", "/front/bytes/7"),
    ask("nobody.test", "/"),
    ask("nobody.test", "/main.css"),
    ask("nobody.test", "/nobody"),
];

#[tokio::test]
async fn what_nginx_answered_of_folders_is_answered_after_an_import() {
    let Some(program) = nginx() else { return skip_or_fail("nginx is not here") };
    let (shop, folder, port) = (App::start("shop").await, TempDir::new().expect("a folder"), Port::reserve());
    site(folder.path());
    let prefix = folder.path().display().to_string();
    let text = NGINX
        .replace("FOLDER", &prefix)
        .replace("LISTEN", &port.address().to_string())
        .replace("SHOP", &shop.upstream());
    let made = folder.path().join("made");
    std::fs::create_dir_all(&made).expect("a folder");
    put(&made.join("nginx.conf"), &text);
    let config = made.join("nginx.conf").display().to_string();
    let server = start(&made, &program, &["-e", "stderr", "-p", &prefix, "-c", &config]);
    served(port.address()).await;
    let switcher = Switcher::bare(&made);
    switcher.succeed(&["import", "nginx", "nginx.conf"]).await;
    let (proxy, address, _kept) = ours(&made, &switcher).await;
    let differences = differences([("nginx", port.address()), ("ours ", address)], TABLE).await;
    let written = std::fs::read_to_string(made.join("switcher.yaml")).expect("it");
    assert!(differences.is_empty(), "{}\n\n{written}", differences.join("\n"));
    nothing_is_shown(address).await;
    drop((server, proxy));
}

const CADDY: &str = r#"
{
	admin off
	auto_https off
	persist_config off
}
http://shop.test:PORT {
	root * FOLDER/site
	@secret path *.secret
	respond @secret 403
	@hidden path */.*
	respond @hidden 403
	respond /closed/* 403
	respond /inner/* 404
	basic_auth /private/* {
		ann HASH
	}
	handle_path /assets/* {
		root * FOLDER/assets
		header X-Frame-Options DENY
		file_server {
			precompressed gzip
		}
	}
	handle /app/* {
		try_files {path} {path}/ /app/index.html
		file_server
	}
	handle_path /spa/* {
		root * FOLDER/spa
		try_files {path} /index.html
		file_server
	}
	handle_path /api/* {
		reverse_proxy SHOP
	}
	file_server
}
http://spa.test:PORT {
	root FOLDER/spa
	try_files {path} /index.html
	file_server
}
"#;

const CADDY_TABLE: &[Asked] = &[
    ask("shop.test", "/"),
    by("HEAD", "/letters.txt"),
    ask("shop.test", "/letters.txt?v=1"),
    ask("shop.test", "/picture.png"),
    with("/letters.txt", &[("Range", "bytes=2-4")]),
    with("/letters.txt", &[("Range", "bytes=20-")]),
    ask("shop.test", "/docs/"),
    ask("shop.test", "/docs"),
    ask("shop.test", "/nobody.txt"),
    by("POST", "/letters.txt"),
    ask("shop.test", "/assets/app.js"),
    with("/assets/app.js", GZIP),
    ask("shop.test", "/assets/nobody.js"),
    ask("shop.test", "/app/"),
    ask("shop.test", "/app/main.js"),
    ask("shop.test", "/app/users/17"),
    ask("shop.test", "/spa/"),
    ask("shop.test", "/spa/main.css"),
    ask("shop.test", "/spa/users/17"),
    ask("shop.test", "/private/plan.txt"),
    with("/private/plan.txt", ANN),
    ask("shop.test", "/closed/plan.txt"),
    ask("shop.test", "/key.secret"),
    ask("shop.test", "/.env"),
    ask("shop.test", "/api/status/503"),
    ask("spa.test", "/"),
    ask("spa.test", "/main.css"),
    ask("spa.test", "/users/17"),
];

#[tokio::test]
async fn what_caddy_answered_of_folders_is_answered_after_an_import() {
    let Some(program) = at_target("caddy") else {
        return skip_or_fail("Caddy is not here; `./setup --tests` brings it");
    };
    let (shop, folder, port) = (App::start("shop").await, TempDir::new().expect("a folder"), Port::reserve());
    site(folder.path());
    let made = folder.path().join("made");
    std::fs::create_dir_all(&made).expect("a folder");
    let text = CADDY
        .replace("FOLDER", &folder.path().display().to_string())
        .replace("PORT", &port.address().port().to_string())
        .replace("SHOP", &shop.upstream())
        // `htpasswd -nbB -C 5 ann secret`
        .replace("HASH", "$2y$05$yWYwjHzCSVd82lq///M3I.L6iez3WXgkRDIPj7LljBoHA.Cvqo2pa");
    put(&made.join("Caddyfile"), &text);
    let server = start(&made, &program, &["run", "--adapter", "caddyfile", "--config", "Caddyfile"]);
    served(port.address()).await;
    let switcher = Switcher::bare(&made);
    switcher.succeed(&["import", "caddy", "Caddyfile"]).await;
    let (proxy, address, _kept) = ours(&made, &switcher).await;
    let differences = differences([("Caddy", port.address()), ("ours ", address)], CADDY_TABLE).await;
    let written = std::fs::read_to_string(made.join("switcher.yaml")).expect("it");
    assert!(differences.is_empty(), "{}\n\n{written}", differences.join("\n"));
    nothing_is_shown(address).await;
    drop((server, proxy));
}
