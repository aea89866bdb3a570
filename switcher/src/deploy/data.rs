//! A site's database: how it is reached from here, and how it is dumped.

use std::collections::BTreeMap;
use std::net::ToSocketAddrs as _;
use std::sync::Arc;

use switcher_config::settings::HealthcheckChoice;

use super::site::Site;
use crate::code::Code;
use crate::container::ContainerSpec;
use crate::database::{DatabaseUrl, Host, SchemaState, probe};
use crate::deployment::{DeploymentId, Words};
use crate::docker::Engine;
use crate::failure::{Failure, Live};
use crate::snapshot::{
    self, ContainerTools, Folder, LocalTools, Snapshot, SnapshotError, Snapshotter, Tools,
};

/// What containers call the machine they run on.
const MACHINE: [&str; 2] = ["host.docker.internal", "host.containers.internal"];

impl Site<'_> {
    /// The database as it is reached from this machine: a name that only containers know is looked up among them. What
    /// the containers of another machine call their own machine is not this one, and is left alone.
    pub(crate) async fn reachable(&self, url: DatabaseUrl) -> DatabaseUrl {
        let Host::Tcp(name) = &url.host else { return url };
        let local = self.engine().ok().flatten().is_none_or(Engine::is_local);
        if MACHINE.contains(&name.as_str()) && local {
            return DatabaseUrl { host: Host::Tcp("127.0.0.1".to_owned()), ..url };
        }
        let known = (name.clone(), url.port);
        let resolves = tokio::task::spawn_blocking(move || known.to_socket_addrs().is_ok()).await;
        if matches!(resolves, Ok(true)) {
            return url;
        }
        match self.container_address(name).await {
            Some(address) => DatabaseUrl { host: Host::Tcp(address), ..url },
            None => url,
        }
    }

    /// What the schema is now. The inner error is why nobody could read it, which stops nothing: the database may
    /// be reachable from the containers alone.
    pub(crate) async fn schema(&self, words: &Words) -> Result<Result<Option<SchemaState>, String>, Failure> {
        let url = self.environment()?.schema_url(words);
        let Some(url) = url.map_err(|problems| self.environment_failure(&problems))? else {
            return Ok(Err(
                "the schema was not read: neither `migrate.database_url` nor DATABASE_URL is set".into(),
            ));
        };
        let url: DatabaseUrl = match url.expose().parse() {
            Ok(url) => url,
            Err(error) => return Ok(Err(format!("the schema was not read: {error}"))),
        };
        let url = self.reachable(url).await;
        Ok(probe(&url)
            .await
            .map_err(|error| self.redactor.line(&format!("the schema was not read: {error}"))))
    }

    /// The address of a container in the application's network.
    async fn container_address(&self, name: &str) -> Option<String> {
        let container = self.engine().ok().flatten()?.inspect(name).await.ok().flatten()?;
        container.addresses.get(&self.deploy.network).map(ToString::to_string)
    }

    /// What takes and restores snapshots.
    pub(crate) async fn snapshotter(&self, words: &Words) -> Result<Snapshotter, Failure> {
        let missing = || {
            let message = "the application has no `deploy.snapshot` section, so no database is known";
            Failure::new(Code::ConfigBad, message, Live::Unchanged, self.ctx.command("config show"))
        };
        let settings = self.deploy.snapshot.as_ref().ok_or_else(missing)?;
        let url = self
            .environment()?
            .snapshot_url(words)
            .map_err(|problems| self.environment_failure(&problems))?;
        let url: DatabaseUrl =
            url.ok_or_else(missing)?.expose().parse().map_err(|error: crate::database::InvalidUrl| {
                Failure::new(
                    Code::DatabaseUrl,
                    error.to_string(),
                    Live::Unchanged,
                    self.ctx.command("config show"),
                )
            })?;
        let (url, tools) = match &settings.image {
            None => (self.reachable(url).await, Tools::Local(LocalTools::system())),
            Some(image) => (url, self.tools_of(&image.to_string()).await?),
        };
        Ok(Snapshotter {
            folder: Folder::new(self.store.folder().join("snapshots")),
            url,
            tools,
            timeout: settings.timeout.0,
        })
    }

    /// PostgreSQL's programs out of an image, on the application's network.
    async fn tools_of(&self, image: &str) -> Result<Tools, Failure> {
        let Some(engine) = self.engine()? else {
            let message = "`snapshot.image` needs a Docker Engine, and the application has `runtime: static`";
            return Err(Failure::new(
                Code::ConfigBad,
                message,
                Live::Unchanged,
                self.ctx.command("config show"),
            ));
        };
        // Before the first deployment nobody has made the network yet.
        engine.ensure_network(&self.deploy.network).await.map_err(|error| self.docker_failure(&error))?;
        let labels = self.tenant().labels("snapshot");
        let spec = ContainerSpec {
            name: format!("{}-snapshot", self.prefix()),
            image: image.to_owned(),
            platform: None,
            labels,
            env: BTreeMap::new(),
            entrypoint: None,
            command: None,
            user: None,
            network: self.deploy.network.clone(),
            address: None,
            volumes: Vec::new(),
            limits: self.deploy.limits.clone(),
            extra_hosts: self.deploy.extra_hosts.clone(),
            stop_timeout: self.deploy.stop_timeout.0,
            healthcheck: HealthcheckChoice::Off,
            restart: false,
            files: Vec::new(),
        };
        let local = engine.is_local();
        Ok(Tools::Container(Box::new(ContainerTools { engine: Arc::new(engine.clone()), spec, local })))
    }

    /// Dumps the database.
    pub(crate) async fn take_snapshot(
        &self,
        words: &Words,
        deployment: Option<&DeploymentId>,
    ) -> Result<Snapshot, Failure> {
        let with = self.snapshotter(words).await?;
        let reporter = &self.ctx.reporter;
        let mut on = |bytes: u64| reporter.waiting(&format!("dumping {}: {bytes} bytes", with.url.label()));
        let taken = snapshot::take(&with, deployment, self.now(), &mut on).await;
        reporter.done();
        taken.map_err(|error| self.snapshot_failure(&error))
    }

    /// What a snapshot met.
    pub(crate) fn snapshot_failure(&self, error: &SnapshotError) -> Failure {
        let message = self.redactor.line(&error.to_string());
        Failure::new(error.code(), message, Live::Unchanged, self.ctx.command("snapshot list"))
    }
}
