//! One container behind a tunnel, operated through ssh: migrations before the start, and back to the image before.

use switcher_tests::http1::get_with;
use switcher_tests::site::{Front, Traffic};
use switcher_tests::switcher::Ran;
use switcher_tests::{Image, Postgres, Site, SshServer, skip_or_fail};

/// What signs the application's sessions, from the environment of whoever deploys.
const MASTER_KEY: &str = "master-3kQz-from-the-vault";
/// A customer's own domain.
const DOMAIN: &str = "shop.of-a-customer.example";

/// A server behind ssh with the example on it, and a pooled user who may change no schema.
struct Tunnelled {
    site: Site,
    server: SshServer,
}

impl Tunnelled {
    async fn open() -> Self {
        let front = Front { host: DOMAIN.to_owned(), tls: false };
        let mut site = Site::of_example("behind-a-tunnel", front).await.with_postgres().await;
        let pooled = pooled(site.postgres());
        site.env_file(&format!("DATABASE_URL={pooled}\n"));
        let site = site.variable("MASTER_KEY", MASTER_KEY).open().await;
        Self { site, server: SshServer::start().await }
    }

    /// A command from another machine.
    async fn run(&self, arguments: &[&str]) -> Ran {
        let host = format!("ssh://server{}", self.site.engine.socket().display());
        let arguments: Vec<&str> = ["--host", &host].into_iter().chain(arguments.iter().copied()).collect();
        self.server.reached_by(self.site.switcher()).run(&arguments).await
    }

    async fn succeed(&self, arguments: &[&str]) {
        let ran = self.run(arguments).await;
        assert_eq!(ran.code, 0, "{ran:?}");
    }

    /// What a build does: the newest image is `latest`.
    async fn build(&self, image: &Image) {
        self.site.registry.push("shop", "latest", image).await;
    }

    async fn get(&self, path: &str, headers: &[(&str, &str)]) -> String {
        let headers: Vec<_> = [("Host", DOMAIN)].into_iter().chain(headers.iter().copied()).collect();
        get_with(self.site.proxy().http(), path, &headers).await.text()
    }
}

/// The URL of a user who may read and write, and change no schema.
fn pooled(postgres: &Postgres) -> String {
    let password = postgres.password();
    let none = postgres
        .query("CREATE ROLE pooled LOGIN PASSWORD 'pooled-7Xw'; GRANT CONNECT ON DATABASE app TO pooled");
    assert_eq!(none, [""; 0]);
    let none = postgres
        .query("ALTER DEFAULT PRIVILEGES FOR ROLE app GRANT SELECT, INSERT, UPDATE ON TABLES TO pooled");
    assert_eq!(none, [""; 0]);
    let url = postgres.url_from_containers().replace("//app:", "//pooled:");
    url.replace(&password, "pooled-7Xw")
}

#[tokio::test]
async fn the_latest_image_is_deployed_and_a_bad_one_changes_nothing() {
    if let Some(why) = Site::lacks().or_else(SshServer::lacks) {
        return skip_or_fail(&why);
    }
    let host = Tunnelled::open().await;
    let early = host.get("/", &[]).await;
    assert!(early.contains("We will be right back") && early.contains("<small>503"), "{early}");
    host.build(&Image::new("v1")).await;
    host.succeed(&["deploy", "latest"]).await;
    assert_eq!(host.site.version().await.as_deref(), Some("v1"));
    let traffic = Traffic::through(host.site.proxy(), host.site.front(), "v1");
    traffic.flow().await;

    // A migration that fails, a start that fails, a health that never comes: the version before goes on serving.
    for (bad, code) in [
        (Image::new("v2").env("MIGRATE_FAIL", "1"), 5),
        (Image::new("v3").env("CRASH_AT_START", "1"), 4),
        (Image::new("v4").env("FAIL_REQUESTS", "1"), 4),
    ] {
        host.build(&bad).await;
        let ran = host.run(&["deploy", "latest"]).await;
        assert_eq!(ran.code, code, "{}: {ran:?}", bad.version());
        assert_eq!(host.site.version().await.as_deref(), Some("v1"), "{}", bad.version());
        assert_eq!(host.site.remains().await, [""; 0], "{}", bad.version());
    }
    traffic.announce("v5");
    host.build(&Image::new("v5").env("MIGRATIONS", "2")).await;
    host.succeed(&["deploy", "latest"]).await;
    traffic.settle();
    traffic.flow().await;
    traffic.announce("v1");
    host.succeed(&["rollback"]).await;
    traffic.settle();
    traffic.flow().await;
    traffic.finish().await;
    assert_eq!(
        host.site.version().await.as_deref(),
        Some("v1"),
        "the image before, though its tag means another now"
    );
}

#[tokio::test]
async fn migrations_have_an_environment_of_their_own_and_the_tunnel_alone_is_believed() {
    if let Some(why) = Site::lacks().or_else(SshServer::lacks) {
        return skip_or_fail(&why);
    }
    let host = Tunnelled::open().await;
    host.build(&Image::new("v1").env("MIGRATIONS", "2")).await;
    host.succeed(&["deploy", "latest"]).await;
    // The pooled user could not have made the tables.
    assert_eq!(host.get("/schema", &[]).await.split(' ').next(), Some("2"));
    let environment = host.get("/env", &[]).await;
    assert!(environment.contains("DATABASE_URL=postgres://pooled:"), "{environment}");
    assert!(!environment.contains("DIRECT_DATABASE_URL"), "{environment}");
    assert!(environment.contains(MASTER_KEY), "{environment}");
    // The tunnel is this machine: what it says of a client reaches the application, what the client says does not.
    let client = [("CF-Connecting-IP", "203.0.113.9"), ("X-Forwarded-For", "198.51.100.1")];
    let seen = host.get("/headers", &client).await.to_lowercase();
    assert!(seen.contains("x-forwarded-for: 203.0.113.9, 127.0.0.1"), "{seen}");
    // Neither the key nor a password stands in what is remembered.
    let leaks = host.site.leaks(&[MASTER_KEY.to_owned(), "pooled-7Xw".to_owned()]);
    assert_eq!(leaks, [""; 0]);
}
