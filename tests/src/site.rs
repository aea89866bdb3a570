//! A whole site for one test: an engine, a registry, a database where one is wanted, a proxy, the command line.
//!
//! The application is `shop`; its releases are images that a test pushes. Everything is the test's own, and ends
//! with it.

use std::path::{Path, PathBuf};

use serde_json::Value;
use switcher_config::Slot;
use tempfile::TempDir;

use crate::certificate::put;
use crate::engine::{self, Engine};
use crate::http1::get_with;
use crate::image::Image;
use crate::postgres::Postgres;
use crate::proxy::Proxy;
use crate::registry::Registry;
use crate::setup::Setup;
use crate::switcher::{Ran, Switcher};

pub use self::leaks::{Watch, leaks_below};
pub use self::traffic::Traffic;

mod leaks;
mod traffic;

/// What the application signs sessions with. No test may find it where no secret belongs.
pub const JWT_SECRET: &str = "jwt-9fK2-never-in-a-log";

/// A site.
pub struct Site {
    /// The proxy; there once the site is open.
    proxy: Option<Proxy>,
    /// The database, where one was wanted.
    postgres: Option<Postgres>,
    /// The registry.
    pub registry: Registry,
    /// The engine.
    pub engine: Engine,
    setup: Setup,
    environment: Vec<(String, String)>,
    front: Front,
    folder: TempDir,
}

/// How clients come to the application.
#[derive(Debug, Clone)]
pub struct Front {
    /// The host they ask for.
    pub host: String,
    /// Whether some of them come by TLS.
    pub tls: bool,
}

impl Site {
    /// Why this machine cannot have one, if it cannot.
    #[must_use]
    pub fn lacks() -> Option<String> {
        Engine::lacks().or_else(Registry::lacks).or_else(Postgres::lacks)
    }

    /// An engine and a registry; the proxy comes with [`Site::open`].
    ///
    /// # Panics
    /// When something does not come up.
    pub async fn prepare() -> Self {
        Self::with_engine(engine::Options::default()).await
    }

    /// A registry and an engine that is as the test wants it.
    ///
    /// # Panics
    /// When something does not come up.
    pub async fn with_engine(options: engine::Options) -> Self {
        let folder = Self::folder();
        let setup = Setup::deployed()
            .shop("tls", "internal")
            .deploy("network", "shop")
            .deploy("ready_timeout", "20s")
            .deploy("stop_timeout", "5s");
        let front = Front { host: "shop.test".to_owned(), tls: true };
        Self::assemble(options, folder, setup, front).await
    }

    /// A worked example of `config/examples`, as it is: what the test machine has elsewhere is said by variables of the
    /// environment. The application is `shop` there too.
    ///
    /// # Panics
    /// When something does not come up.
    pub async fn of_example(name: &str, front: Front) -> Self {
        let folder = Self::folder();
        let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config/examples").join(name);
        for entry in std::fs::read_dir(&example).expect("an example") {
            let entry = entry.expect("an entry");
            std::fs::copy(entry.path(), folder.path().join(entry.file_name())).expect("a copied file");
        }
        Self::of_folder(folder, front).await
    }

    /// A folder with a `switcher.yaml` that is left as it is, as that of an example. The application is `shop` there too.
    ///
    /// # Panics
    /// When something does not come up.
    pub async fn of_folder(folder: TempDir, front: Front) -> Self {
        let setup = Setup::of_file(&folder.path().join("switcher.yaml")).deploy("ready_timeout", "12s");
        Self::assemble(engine::Options::default(), folder, setup, front).await
    }

    fn folder() -> TempDir {
        tempfile::Builder::new().prefix("switcher-site-").tempdir().expect("a folder")
    }

    async fn assemble(options: engine::Options, folder: TempDir, setup: Setup, front: Front) -> Self {
        let (engine, registry) = (options.start().await, Registry::start().await);
        let at = |name: &str| folder.path().join(name).display().to_string();
        let setup = setup
            .shop("drain", "{requests: 5s, uploads: 5s, streams: 300ms, websockets: 300ms, spread: 0s}")
            .switcher("state_dir", &at("state"))
            .switcher("docker_host", &engine.url())
            .deploy("image", &registry.name("shop"));
        let environment = [
            // Nothing that is remembered here is to outlive the test.
            ("SWITCHER_ALLOW_TEMPORARY_STATE", "1".to_owned()),
            ("DOCKER_CONFIG", at("docker")),
            ("HOME", at("home")),
        ];
        let environment = environment.map(|(name, value)| (name.to_owned(), value)).into();
        Self { proxy: None, postgres: None, registry, engine, setup, environment, front, folder }
    }

    /// Adds a database, and an environment file with its URL and [`JWT_SECRET`]. `$DIRECT_DATABASE_URL` has the URL too.
    ///
    /// # Panics
    /// When it does not come up.
    #[must_use]
    pub async fn with_postgres(mut self) -> Self {
        let postgres = Postgres::beside(&self.engine).await;
        // The address in it is this machine's own, so the URL holds on both sides.
        let url = postgres.url_from_containers();
        self.env_file(&format!("DATABASE_URL={url}\nJWT_SECRET={JWT_SECRET}\n"));
        self.postgres = Some(postgres);
        self.variable("DIRECT_DATABASE_URL", &url)
    }

    /// Adds a database, an environment file with its URL and [`JWT_SECRET`], migrations and snapshots.
    ///
    /// # Panics
    /// When it does not come up.
    #[must_use]
    pub async fn with_database(self) -> Self {
        self.with_postgres()
            .await
            .deploy("required_env", "[DATABASE_URL, JWT_SECRET]")
            .deploy(
                "migrate",
                "{command: [migrate, up], down: [migrate, down, --to, \"{to}\"], timeout: 30s, \
                 env: {DATABASE_URL: \"${DIRECT_DATABASE_URL}\"}}",
            )
            .deploy("snapshot", "{database_url: \"${DIRECT_DATABASE_URL}\"}")
    }

    /// Writes `.env.production` and names it in the configuration.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn env_file(&mut self, text: &str) {
        use switcher_config::durable::{Durability, replace};
        let file = self.path(".env.production");
        replace(&file, text.as_bytes(), 0o600, Durability::Unsynced).expect("a written file");
        self.setup = self.setup.clone().deploy("env_files", &format!("[\"{}\"]", file.display()));
    }

    /// Sets a key of the `deploy` section.
    #[must_use]
    pub fn deploy(mut self, key: &str, value: &str) -> Self {
        self.setup = self.setup.deploy(key, value);
        self
    }

    /// Takes a key of the `deploy` section away.
    #[must_use]
    pub fn without(mut self, key: &str) -> Self {
        self.setup = self.setup.without(key);
        self
    }

    /// Sets a key of the app `shop`.
    #[must_use]
    pub fn shop(mut self, key: &str, value: &str) -> Self {
        self.setup = self.setup.shop(key, value);
        self
    }

    /// Sets a key of the `switcher` section.
    #[must_use]
    pub fn switcher_section(mut self, key: &str, value: &str) -> Self {
        self.setup = self.setup.switcher(key, value);
        self
    }

    /// Sets a variable of the command line's environment.
    #[must_use]
    pub fn variable(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Sets a variable of the environment of the proxy and of the command line.
    #[must_use]
    pub fn everywhere(mut self, name: &str, value: &str) -> Self {
        self.setup = self.setup.variable(name, value);
        self
    }

    /// Starts the proxy. Nothing is deployed yet, so it answers and is not ready.
    ///
    /// # Panics
    /// When it does not come up.
    #[must_use]
    pub async fn open(mut self) -> Self {
        self.proxy = Some(self.setup.clone().start_unready().await);
        self
    }

    /// Changes the configuration of the open site: from now on commands see another file. The proxy keeps its own.
    ///
    /// # Panics
    /// When the site is not open.
    pub fn reconfigure(&mut self, change: impl FnOnce(Setup) -> Setup) {
        let setup = std::mem::replace(&mut self.setup, Setup::deployed());
        self.setup = change(setup);
        let changed = self.setup.clone();
        self.proxy_mut().configure(changed);
    }

    /// The proxy.
    ///
    /// # Panics
    /// When the site is not open.
    #[must_use]
    pub fn proxy(&self) -> &Proxy {
        self.proxy.as_ref().expect("an open site")
    }

    /// The proxy, to be killed or restarted.
    ///
    /// # Panics
    /// When the site is not open.
    pub fn proxy_mut(&mut self) -> &mut Proxy {
        self.proxy.as_mut().expect("an open site")
    }

    /// The database.
    ///
    /// # Panics
    /// When none was wanted.
    #[must_use]
    pub fn postgres(&self) -> &Postgres {
        self.postgres.as_ref().expect("a site with a database")
    }

    /// The database, to be killed or restarted.
    ///
    /// # Panics
    /// When none was wanted.
    pub fn postgres_mut(&mut self) -> &mut Postgres {
        self.postgres.as_mut().expect("a site with a database")
    }

    /// The command line, with the site's environment.
    #[must_use]
    pub fn switcher(&self) -> Switcher {
        let plain = Switcher::of(self.proxy());
        self.environment.iter().fold(plain, |switcher, (name, value)| switcher.with(name, value))
    }

    /// Runs a command to its end.
    pub async fn run(&self, arguments: &[&str]) -> Ran {
        self.switcher().run(arguments).await
    }

    /// Runs a command to its end, which must be a success.
    ///
    /// # Panics
    /// When it exits with anything but 0.
    pub async fn succeed(&self, arguments: &[&str]) -> Ran {
        self.switcher().succeed(arguments).await
    }

    /// Puts a release into the registry, under its version. Its digest.
    pub async fn push(&self, image: &Image) -> String {
        self.registry.push("shop", image.version(), image).await
    }

    /// Pushes a release that has nothing special, and deploys it.
    ///
    /// # Panics
    /// When that fails.
    pub async fn release(&self, version: &str) -> Ran {
        self.push(&Image::new(version)).await;
        self.succeed(&["deploy", version]).await
    }

    /// Sets a key of the `proxy` section.
    #[must_use]
    pub fn proxy_section(mut self, key: &str, value: &str) -> Self {
        self.setup = self.setup.proxy(key, value);
        self
    }

    /// A path in the site's folder.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Where deployments are remembered.
    #[must_use]
    pub fn memory(&self) -> PathBuf {
        self.path("state/production")
    }

    /// Writes a file into the site's folder.
    pub fn write(&self, name: &str, text: &str) {
        put(&self.path(name), text);
    }

    /// `state.json`.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn state(&self) -> Value {
        let text = std::fs::read_to_string(self.memory().join("state.json")).expect("state.json");
        serde_json::from_str(&text).expect("JSON")
    }

    /// Every line of `history.jsonl`, oldest first.
    ///
    /// # Panics
    /// When a line is no JSON.
    #[must_use]
    pub fn history(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.memory().join("history.jsonl")).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    }

    /// What the front door says its version is; none when nothing serves.
    pub async fn version(&self) -> Option<String> {
        let answer = get_with(self.proxy().http(), "/version", &[("Host", &self.front.host)]).await;
        (answer.status == 200).then(|| answer.text().trim().to_owned())
    }

    /// That the front door, the proxy, the engine, the state and the history all say that this version is live,
    /// and that nobody holds the lease.
    ///
    /// # Panics
    /// When one of them says otherwise.
    pub async fn agree(&self, version: &str) {
        assert_eq!(self.version().await.as_deref(), Some(version), "the front door");
        let shop = self.proxy().admin().shop().await;
        assert_eq!(shop.slots.get(shop.active).release.as_deref(), Some(version), "the proxy");
        let state = self.state();
        let current = &state["current_deployment"];
        assert_eq!(current["version"], version, "{state:#}");
        assert_eq!(current["active_slot"], shop.active.as_str(), "{state:#}");
        assert_eq!(current["status"], "active", "{state:#}");
        assert_eq!(state["lock"]["locked"], false, "{state:#}");
        let history = self.history();
        let newest = history.iter().rfind(|line| line["id"] == current["id"]).expect("a line of the history");
        assert_eq!(
            (&newest["version"], &newest["status"]),
            (&version.into(), &"active".into()),
            "{newest:#}"
        );

        let live = self.containers_in(shop.active).await;
        let mut addresses: Vec<String> = Vec::new();
        for container in &live {
            assert_eq!(container["Labels"]["switcher.deployment"], current["id"], "{container:#}");
            assert_eq!(container["Labels"]["switcher.version"], version, "{container:#}");
            let address = &container["NetworkSettings"]["Networks"]["shop"]["IPAddress"];
            addresses.push(format!("{}:8080", address.as_str().unwrap_or_default()));
        }
        let registered = shop.slots.get(shop.active).upstreams.iter().map(|u| u.address.to_string());
        let mut registered: Vec<String> = registered.collect();
        addresses.sort();
        registered.sort();
        assert_eq!(addresses, registered, "the engine and the proxy");
        assert!(!live.is_empty(), "no container runs in {}", shop.active);
    }

    /// The running containers of a slot.
    pub async fn containers_in(&self, slot: Slot) -> Vec<Value> {
        let running = self.engine.containers().await.into_iter().filter(|c| c["State"] == "running");
        running.filter(|container| container["Labels"]["switcher.slot"] == slot.as_str()).collect()
    }

    /// Containers that are neither running nor kept for anything: what a failed deployment must not leave.
    pub async fn remains(&self) -> Vec<String> {
        let containers = self.engine.containers().await;
        containers.iter().filter(|container| container["State"] != "running").map(engine::name).collect()
    }

    /// How clients come to the application.
    #[must_use]
    pub const fn front(&self) -> &Front {
        &self.front
    }

    /// Deploys an image that is pushed now, as the first that users ask for; from here on they do.
    pub async fn serve(&self, image: &Image) -> Traffic {
        self.push(image).await;
        self.succeed(&["deploy", image.version()]).await;
        let traffic = self.traffic(image.version());
        traffic.flow().await;
        traffic
    }

    /// A mixed load through the front door, while this version is live.
    #[must_use]
    pub fn traffic(&self, version: &str) -> Traffic {
        Traffic::through(self.proxy(), &self.front, version)
    }

    /// Every secret of the site.
    ///
    /// # Panics
    /// When it has no database.
    #[must_use]
    pub fn secrets(&self) -> Vec<String> {
        vec![self.postgres().password(), JWT_SECRET.to_owned()]
    }

    /// Files in which a secret stands: everything that is remembered, and everything the proxy keeps.
    #[must_use]
    pub fn leaks(&self, secrets: &[String]) -> Vec<String> {
        let folders: [&Path; 2] = [&self.path("state"), &self.proxy().path("")];
        folders.iter().flat_map(|folder| leaks_below(folder, secrets)).collect()
    }
}
