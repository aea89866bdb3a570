//! Files of a folder, answered in an application's place: which bytes, for whom, and what is never served.

use std::io::Read as _;
use std::os::unix::fs::symlink;
use std::path::Path;

use switcher_tests::http1::{Answer, get, get_with, request};
use switcher_tests::{App, Http1, Http2, PATIENCE, Proxy, Setup, http2, until};
use tempfile::TempDir;

const PAGE: &str = "<!doctype html><title>shop</title>";

fn put(folder: &Path, name: &str, text: impl AsRef<[u8]>) {
    let path = folder.join(name);
    std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
    let mut file = std::fs::File::create(path).expect("a file");
    std::io::Write::write_all(&mut file, text.as_ref()).expect("written");
}

/// A folder as a site has it, and a secret beside it.
fn site() -> TempDir {
    let folder = TempDir::new().expect("a folder");
    let site = folder.path().join("site");
    put(&site, "index.html", PAGE);
    put(&site, "docs/index.html", "docs");
    put(&site, "app.js", "x".repeat(200_000));
    put(&site, "letters.txt", "abcdefghij");
    put(&site, "empty.txt", "");
    put(&site, ".env", "secret");
    put(&site, ".well-known/security.txt", "Contact: mailto:a@shop.test");
    put(folder.path(), "secret.txt", "secret");
    symlink(folder.path().join("secret.txt"), site.join("out.txt")).expect("a link");
    symlink("../secret.txt", site.join("up.txt")).expect("a link");
    symlink("letters.txt", site.join("in.txt")).expect("a link");
    folder
}

fn files(folder: &TempDir, more: &str) -> String {
    format!("{{files: {{root: {}{more}}}}}", folder.path().join("site").display())
}

async fn serving(folder: &TempDir, more: &str) -> Proxy {
    Setup::slots(&[], &[]).shop("middleware", &files(folder, more)).start_unready().await
}

async fn ask(proxy: &Proxy, method: &str, target: &str, headers: &[(&str, &str)]) -> Answer {
    Http1::connect(proxy.http()).await.exchange(&request(method, target, headers, b"")).await
}

#[tokio::test]
async fn a_site_needs_no_application_behind_it() {
    let folder = site();
    let proxy = serving(&folder, "").await;
    for (target, status, kind, body) in [
        ("/", 200, "text/html; charset=utf-8", PAGE),
        ("/docs/", 200, "text/html; charset=utf-8", "docs"),
        ("/letters.txt?v=1", 200, "text/plain; charset=utf-8", "abcdefghij"),
        ("/in.txt", 200, "text/plain; charset=utf-8", "abcdefghij"),
        ("/empty.txt", 200, "text/plain; charset=utf-8", ""),
        ("/.well-known/security.txt", 200, "text/plain; charset=utf-8", "Contact: mailto:a@shop.test"),
    ] {
        let answer = get(proxy.http(), target).await;
        assert_eq!((answer.status, answer.text().as_str()), (status, body), "{target}");
        assert_eq!(answer.header("content-type"), Some(kind), "{target}");
        assert!(answer.header("x-request-id").is_some() && answer.header("etag").is_some());
    }
    let big = get(proxy.http(), "/app.js").await;
    assert_eq!((big.status, big.body.len()), (200, 200_000));
    let moved = get(proxy.http(), "/docs?a=b").await;
    assert_eq!((moved.status, moved.header("location")), (307, Some("/docs/?a=b")));
    let record = proxy.record_of("/app.js").await;
    assert_eq!((&record["status"], &record["bytes_out"]), (&200.into(), &200_000.into()));
}

#[tokio::test]
async fn nothing_hidden_and_nothing_outside_is_served() {
    let folder = site();
    let proxy = serving(&folder, "").await;
    for target in [
        "/nobody.txt",
        "/.env",
        "/%2eenv",
        "/out.txt",
        "/up.txt",
        "/../secret.txt",
        "/%2e%2e/secret.txt",
        "/docs/..%2f..%2fsecret.txt",
        "/docs/%2e%2e/%2e%2e/secret.txt",
        "//letters.txt",
        "/letters.txt/",
        "/letters.txt%00",
        "/letters.txt/x",
    ] {
        let answer = get(proxy.http(), target).await;
        assert!(matches!(answer.status, 400 | 404), "{target}: {}", answer.status);
        assert!(!answer.text().contains("secret"), "{target}");
    }
    // Folders that are called as a file is are no files.
    std::fs::create_dir_all(folder.path().join("site/odd/index.html")).expect("a folder");
    assert_eq!(get(proxy.http(), "/odd/").await.status, 404);
    std::fs::create_dir_all(folder.path().join("site/letters.txt.gz")).expect("a folder");
    let plain = get_with(proxy.http(), "/letters.txt", &[("Accept-Encoding", "gzip")]).await;
    assert_eq!((plain.status, plain.text().as_str()), (200, "abcdefghij"));
    // A pipe that nobody writes to keeps nobody waiting.
    let pipe = folder.path().join("site/pipe");
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o644.into(), 0).expect("a pipe");
    assert_eq!(get(proxy.http(), "/pipe").await.status, 404);
    let posted = ask(&proxy, "POST", "/letters.txt", &[]).await;
    assert_eq!((posted.status, posted.header("allow")), (405, Some("GET, HEAD")));
}

#[tokio::test]
async fn conditions_and_parts() {
    let folder = site();
    let proxy = serving(&folder, "").await;
    let whole = get(proxy.http(), "/letters.txt").await;
    let tag = whole.header("etag").expect("a tag").to_owned();
    let date = whole.header("last-modified").expect("a date").to_owned();
    let weak = format!("W/{tag}");
    for (headers, status, body) in [
        (vec![("If-None-Match", tag.as_str())], 304, ""),
        (vec![("If-None-Match", weak.as_str())], 304, ""),
        (vec![("If-None-Match", "\"other\"")], 200, "abcdefghij"),
        (vec![("If-None-Match", "\"other\""), ("If-Modified-Since", &date)], 200, "abcdefghij"),
        (vec![("If-Modified-Since", date.as_str())], 304, ""),
        (vec![("If-Match", "\"other\"")], 412, ""),
        (vec![("Range", "bytes=2-4")], 206, "cde"),
        (vec![("Range", "bytes=-3")], 206, "hij"),
        (vec![("Range", "bytes=8-")], 206, "ij"),
        (vec![("Range", "bytes=8-99")], 206, "ij"),
        (vec![("Range", "bytes=10-")], 416, ""),
        (vec![("Range", "lines=1-2")], 200, "abcdefghij"),
        (vec![("Range", "bytes=0-1,4-5")], 200, "abcdefghij"),
        (vec![("Range", "bytes=2-4"), ("If-Range", &tag)], 206, "cde"),
        (vec![("Range", "bytes=2-4"), ("If-Range", &date)], 206, "cde"),
        (vec![("Range", "bytes=2-4"), ("If-Range", &weak)], 200, "abcdefghij"),
        (vec![("Range", "bytes=2-4"), ("If-Range", "\"other\"")], 200, "abcdefghij"),
        (vec![("Range", "bytes=20-"), ("If-Range", "\"other\"")], 200, "abcdefghij"),
    ] {
        let answer = get_with(proxy.http(), "/letters.txt", &headers).await;
        assert_eq!((answer.status, answer.text().as_str()), (status, body), "{headers:?}");
    }
    let part = get_with(proxy.http(), "/letters.txt", &[("Range", "bytes=2-4")]).await;
    assert_eq!(part.header("content-range"), Some("bytes 2-4/10"));
    let beyond = get_with(proxy.http(), "/letters.txt", &[("Range", "bytes=10-")]).await;
    assert_eq!(beyond.header("content-range"), Some("bytes */10"));
    // A HEAD has no parts, and the connection goes on behind it.
    let mut client = Http1::connect(proxy.http()).await;
    let head = client.exchange(&request("HEAD", "/letters.txt", &[("Range", "bytes=2-4")], b"")).await;
    assert_eq!((head.status, head.header("content-length"), head.body.len()), (200, Some("10"), 0));
    assert_eq!(client.exchange(&request("GET", "/letters.txt", &[], b"")).await.text(), "abcdefghij");
    // What changes is another version.
    put(&folder.path().join("site"), "letters.txt", "ABCDEFGHIJ");
    let changed = get_with(proxy.http(), "/letters.txt", &[("If-None-Match", &tag)]).await;
    assert_eq!((changed.status, changed.text().as_str()), (200, "ABCDEFGHIJ"));
}

#[tokio::test]
async fn compressed_files_beside_a_file_go_to_those_who_take_them() {
    let folder = site();
    let folder_of_site = folder.path().join("site");
    for (end, text) in [("zst", "zstandard"), ("br", "brotli"), ("gz", "gzip")] {
        put(&folder_of_site, &format!("app.js.{end}"), text);
    }
    let proxy = serving(&folder, "").await;
    for (accept, coding, body) in [
        ("gzip, br, zstd", Some("zstd"), "zstandard"),
        ("gzip;q=1, br;q=0.5", Some("gzip"), "gzip"),
        ("br, gzip;q=0", Some("br"), "brotli"),
    ] {
        let answer = get_with(proxy.http(), "/app.js", &[("Accept-Encoding", accept)]).await;
        assert_eq!((answer.header("content-encoding"), answer.text().as_str()), (coding, body), "{accept}");
        assert_eq!(answer.header("content-type"), Some("text/javascript; charset=utf-8"));
        assert_eq!(answer.header("vary").map(str::to_ascii_lowercase).as_deref(), Some("accept-encoding"));
    }
    let plain = get(proxy.http(), "/app.js").await;
    assert_eq!((plain.header("content-encoding"), plain.body.len()), (None, 200_000));
    let off = serving(&folder, ", precompressed: false").await;
    let answer = get_with(off.http(), "/app.js", &[("Accept-Encoding", "gzip, br, zstd")]).await;
    assert_eq!((answer.header("content-encoding"), answer.body.len()), (None, 200_000));
}

#[tokio::test]
async fn a_file_is_compressed_where_answers_are_and_its_tag_is_weak_then() {
    let folder = site();
    let middleware = files(&folder, "").replacen('{', "{compress: on, ", 1);
    let proxy = Setup::slots(&[], &[]).shop("middleware", &middleware).start_unready().await;
    let answer = get_with(proxy.http(), "/app.js", &[("Accept-Encoding", "gzip")]).await;
    assert_eq!(answer.header("content-encoding"), Some("gzip"));
    assert!(answer.header("etag").is_some_and(|tag| tag.starts_with("W/")));
    let mut text = String::new();
    flate2::read::GzDecoder::new(&*answer.body).read_to_string(&mut text).expect("a whole body");
    assert_eq!(text.len(), 200_000);
}

#[tokio::test]
async fn what_is_missing_is_the_applications_or_one_page_for_all() {
    let folder = site();
    let app = App::start("blue").await;
    let behind = Setup::one(app.upstream()).shop("middleware", &files(&folder, ", missing: application"));
    let behind = behind.start_healthy().await;
    assert_eq!(get(behind.http(), "/letters.txt").await.text(), "abcdefghij");
    for (method, target) in [("GET", "/orders"), ("POST", "/letters.txt"), ("GET", "/.env")] {
        assert_eq!(ask(&behind, method, target, &[]).await.text(), "blue", "{method} {target}");
    }
    let one_page = serving(&folder, ", missing: /index.html").await;
    let answer = get(one_page.http(), "/orders/1").await;
    assert_eq!((answer.status, answer.text().as_str()), (200, PAGE));
    assert_eq!(ask(&one_page, "DELETE", "/orders/1", &[]).await.status, 405);
}

#[tokio::test]
async fn a_path_has_a_folder_and_takes_its_own_name_off() {
    let folder = site();
    let app = App::start("blue").await;
    let root = folder.path().join("site");
    let paths = format!("{{/static: {{files: {{root: {}, strip: /static}}}}}}", root.display());
    let proxy = Setup::one(app.upstream()).shop("paths", &paths).start_healthy().await;
    assert_eq!(get(proxy.http(), "/static/letters.txt").await.text(), "abcdefghij");
    assert_eq!(get(proxy.http(), "/letters.txt").await.text(), "blue");
    let moved = get(proxy.http(), "/static/docs").await;
    assert_eq!((moved.status, moved.header("location")), (307, Some("/static/docs/")));
    let moved = get(proxy.http(), "/static?a").await;
    assert_eq!((moved.status, moved.header("location")), (307, Some("/static/?a")));
    assert_eq!(get(proxy.http(), "/static/").await.text(), PAGE);
}

#[tokio::test]
async fn a_folder_that_is_replaced_is_seen_and_its_pages_stand_for_errors() {
    let folder = site();
    let link = folder.path().join("current");
    put(&folder.path().join("two"), "index.html", "two");
    symlink("site", &link).expect("a link");
    put(folder.path(), "404.html", "our own {status}");
    let middleware = format!("{{files: {{root: {}}}}}", link.display());
    let pages = format!("{{404: {}}}", folder.path().join("404.html").display());
    let setup = Setup::slots(&[], &[]).shop("middleware", &middleware).shop("error_pages", &pages);
    let proxy = setup.start_unready().await;
    assert_eq!(get(proxy.http(), "/").await.text(), PAGE);
    let missing = get_with(proxy.http(), "/nobody", &[("Accept", "text/html")]).await;
    assert_eq!((missing.status, missing.text().as_str()), (404, "our own 404"));
    symlink("two", folder.path().join("next")).expect("a link");
    std::fs::rename(folder.path().join("next"), &link).expect("moved");
    assert_eq!(get(proxy.http(), "/").await.text(), "two");
}

#[tokio::test]
async fn over_http2_a_file_comes_whole_and_a_client_that_leaves_stops_nothing() {
    let folder = site();
    put(&folder.path().join("site"), "large.bin", vec![7; 8 << 20]);
    put(&folder.path().join("site"), "left.bin", vec![7; 32 << 20]);
    let proxy = serving(&folder, "").await;
    let client = Http2::connect(proxy.http()).await;
    let answer = client.exchange(http2::get("/large.bin"), b"").await;
    assert_eq!((answer.status, answer.body.len()), (200, 8 << 20));
    let head = client.exchange(http2::request("HEAD", "/large.bin", &[]), b"").await;
    assert_eq!((head.status, head.body.len()), (200, 0));
    let same = answer.header("etag").expect("a tag");
    let same = client.exchange(http2::request("GET", "/large.bin", &[("if-none-match", same)]), b"").await;
    assert_eq!((same.status, same.body.len()), (304, 0));
    let mut leaves = Http1::connect(proxy.http()).await;
    leaves.send(&request("GET", "/left.bin", &[], b"")).await;
    assert_eq!(leaves.head().await.status(), 200);
    drop(leaves);
    assert!(proxy.record_of("/left.bin").await["bytes_out"].as_u64() < Some(32 << 20));
    assert_eq!(client.exchange(http2::get("/letters.txt"), b"").await.text(), "abcdefghij");
}

#[tokio::test]
async fn a_file_that_shrinks_while_it_is_sent_is_not_taken_for_whole() {
    let folder = site();
    let path = folder.path().join("site/large.bin");
    put(&folder.path().join("site"), "large.bin", vec![7; 32 << 20]);
    let proxy = serving(&folder, "").await;
    let mut client = Http1::connect(proxy.http()).await;
    client.send(&request("GET", "/large.bin", &[], b"")).await;
    let head = client.head().await;
    assert_eq!((head.status(), head.get("content-length")), (200, Some("33554432")));
    std::fs::File::options().write(true).open(&path).and_then(|file| file.set_len(1)).expect("cut");
    assert!(client.try_body(head.answer_framing()).await.is_err(), "the connection breaks");
    until(PATIENCE, "others to be served", || async { get(proxy.http(), "/").await.status == 200 }).await;
}
