//! The facts of one application that is deployed: its environment, its image, its database, what is remembered of it.

use switcher_config::settings::{DeploySettings, RuntimeKind};
use switcher_config::{ImageReference, Loaded};

use super::{Around, Check, redacted};
use crate::configuration;
use crate::context::Context;
use crate::database::{DatabaseUrl, Session, probe};
use crate::deploy::journal::{Entry, replay};
use crate::deploy::repair::{Seen, diagnose};
use crate::deploy::site::{Described, Site, open_store};
use crate::deployment::{DeploymentId, Words};
use crate::docker::{DockerErrorKind, Engine};
use crate::doctor::{Finding, memory};
use crate::environment::{Environment, Problems, SecretText, Sources};
use crate::failure::Failure;
use crate::redact::Redactor;
use crate::snapshot::LocalTools;
use crate::state::Store;

/// What everything of an application is looked at by.
struct Subject<'a> {
    around: &'a Around<'a>,
    loaded: &'a Loaded,
    described: Described,
    environment: Result<Environment, Problems>,
    redactor: Redactor,
    store: Result<Store, Failure>,
}

/// The checks of an application.
pub(super) fn checks<'a>(
    around: &'a Around<'a>,
    loaded: &'a Loaded,
    described: Described,
) -> Vec<(&'static str, Check<'a>)> {
    let environment =
        Environment::read(&described.deploy, &Sources::from_process(loaded.folder().to_owned()));
    let redactor = environment.as_ref().map_or_else(|_| Redactor::without_secrets(), Environment::secrets);
    let name = configuration::environment(around.ctx);
    let store = open_store(around.ctx, &loaded.settings, &name, &described.app, described.sole);
    let subject = std::rc::Rc::new(Subject { around, loaded, described, environment, redactor, store });
    let [one, two, three, four] = std::array::from_fn(|_| std::rc::Rc::clone(&subject));
    vec![
        ("environment", Box::pin(async move { one.told(one.environment()) })),
        ("registry", Box::pin(async move { two.told(two.registry().await) })),
        ("memory", Box::pin(async move { three.told(three.remembered()) })),
        ("database", Box::pin(async move { four.told(Box::pin(four.with_site()).await) })),
    ]
}

impl Subject<'_> {
    fn ctx(&self) -> &Context {
        self.around.ctx
    }

    const fn deploy(&self) -> &DeploySettings {
        &self.described.deploy
    }

    /// As it may be shown.
    fn told(&self, findings: Vec<Finding>) -> Vec<Finding> {
        let own = findings.into_iter().map(|finding| finding.of_app(&self.described.app)).collect();
        redacted(own, &self.redactor)
    }

    /// Env files, secrets and what is required of them.
    fn environment(&self) -> Vec<Finding> {
        let read = match &self.environment {
            Ok(read) => read,
            Err(problems) => return problem_findings(problems),
        };
        let words = self.words();
        let mut findings: Vec<Finding> = [read.application(&words).err(), read.migration(&words).err()]
            .iter()
            .flatten()
            .flat_map(problem_findings)
            .collect();
        findings.dedup();
        if findings.is_empty() {
            let warnings = read.warnings().iter();
            findings.extend(
                warnings.map(|warning| Finding::warning("environment", warning, "`switcher config show`")),
            );
        }
        if findings.is_empty() {
            let says = "env files are private and filled, and every required variable and secret is there";
            findings.push(Finding::ok("environment", says));
        }
        findings
    }

    /// What stands for the words of templates where nothing is deployed.
    fn words(&self) -> Words {
        Words {
            app: self.described.app.clone(),
            environment: configuration::environment(self.ctx()),
            slot: switcher_config::Slot::Blue,
            version: String::new(),
            git_commit: String::new(),
            deployment: DeploymentId::new(jiff::Timestamp::now()),
            image: String::new(),
            replica: 1,
        }
    }

    /// Whether the registry lets us have what is live, or what would be deployed.
    async fn registry(&self) -> Vec<Finding> {
        let Some(engine) = &self.around.engine else { return Vec::new() };
        if self.deploy().runtime != RuntimeKind::Docker {
            return Vec::new();
        }
        let current = self.store.as_ref().ok().and_then(|store| store.read().ok()?.current_deployment);
        let live: Option<ImageReference> = current
            .and_then(|record| record.image.parse().ok())
            .filter(|image: &ImageReference| image.digest().is_some());
        match (live, &self.deploy().image) {
            (Some(live), _) => vec![asked(engine, self.deploy(), &live, true).await],
            (None, Some(image)) => vec![asked(engine, self.deploy(), image, false).await],
            (None, None) => Vec::new(),
        }
    }

    /// Lease and journal.
    fn remembered(&self) -> Vec<Finding> {
        let store = match &self.store {
            Ok(store) => store,
            Err(failure) => return vec![Finding::of("memory", failure, None)],
        };
        let state = match store.read() {
            Ok(state) => state,
            Err(error) => {
                let failure = crate::commands::lock::state_failure(self.ctx(), &error);
                return vec![Finding::of("memory", &failure, None)];
            }
        };
        let lease = store.verdict(&state.lock, jiff::Timestamp::now());
        let told = store.journal::<Entry>().map_err(|error| error.to_string());
        let told =
            told.and_then(|entries| replay(entries.unwrap_or_default()).map_err(|error| error.to_string()));
        let unfinished = told.map(|told| {
            told.map(|told| memory::Unfinished {
                operation: told.machine.order.purpose.as_str().to_owned(),
                version: told.machine.order.release.version.clone(),
                during: told.machine.stage().as_str().to_owned(),
            })
        });
        memory::check(&lease, &unfinished)
    }

    /// What needs the whole site: the database, and whether everybody says the same.
    async fn with_site(&self) -> Vec<Finding> {
        let Described { app, settings, deploy, sole } = &self.described;
        let described =
            Described { app: app.clone(), settings: settings.clone(), deploy: deploy.clone(), sole: *sole };
        if self.around.remote.is_some() && self.ctx().remote.get().is_none() {
            return Vec::new();
        }
        // What stands in the way of a site was told by those who looked for it.
        let Ok(site) = Box::pin(Site::of(self.ctx(), self.loaded, described)).await else {
            return Vec::new();
        };
        let mut findings = self.agreement(&site).await;
        let Ok(environment) = &self.environment else { return findings };
        let words = crate::commands::snapshot::words(&site).unwrap_or_else(|_| self.words());
        if let Ok(Some(url)) = environment.schema_url(&words) {
            findings.push(schema(&site, &url).await);
        }
        if let (Some(snapshot), Ok(Some(url))) = (&deploy.snapshot, environment.snapshot_url(&words)) {
            findings.push(match &snapshot.image {
                None => pg_dump(&site, &url).await,
                Some(image) => Finding::ok("pg_dump", format!("it comes out of the image {image}")),
            });
        }
        findings
    }

    /// Docker, proxy and state, unless somebody is at work.
    async fn agreement(&self, site: &Site<'_>) -> Vec<Finding> {
        let (Some(proxy), Ok(state), Ok(history)) =
            (self.around.status.as_ref(), site.store.read(), site.store.history())
        else {
            return Vec::new();
        };
        let (Some(proxy), Ok(runtime)) = (proxy.apps.get(&site.app), site.runtime()) else {
            return Vec::new();
        };
        let busy = state.lock.locked || matches!(site.store.journal::<Entry>(), Ok(Some(_)) | Err(_));
        let Ok(inside) = runtime.running().await else { return Vec::new() };
        if busy {
            return Vec::new();
        }
        let replicas = site.wanted_replicas();
        let found = diagnose(&Seen { proxy, inside: &inside, state: &state, history: &history, replicas });
        if found.is_empty() {
            return vec![Finding::ok("agreement", "Docker, proxy and state say the same")];
        }
        found.into_iter().map(|found| Finding::failed("agreement", found.what, "`switcher repair`")).collect()
    }
}

fn problem_findings(problems: &Problems) -> Vec<Finding> {
    let otherwise = "`switcher explain E-ENV-01`";
    problems.problems.iter().map(|problem| Finding::problem("environment", problem, otherwise)).collect()
}

async fn asked(engine: &Engine, deploy: &DeploySettings, image: &ImageReference, live: bool) -> Finding {
    let registry = image.registry();
    match engine.resolve(image, deploy.platform.as_deref()).await {
        Ok(found) => match found.note {
            Some(note) => Finding::warning(
                "registry",
                note,
                format!("check {registry}: its name, its service, the network"),
            ),
            None => Finding::ok("registry", format!("{registry} lets us have {image}")),
        },
        Err(error) if error.kind() == DockerErrorKind::ImageUnknown && !live => {
            Finding::ok("registry", format!("{registry} answers, and has no {image} yet"))
        }
        Err(error) if error.kind() == DockerErrorKind::ImageUnknown => {
            let says = format!("{registry} does not have what is live any more: {image}");
            Finding::warning(
                "registry",
                says,
                "push it again, or deploy another version: a new server could not run it",
            )
        }
        Err(error) if error.kind() == DockerErrorKind::Unauthorized => {
            Finding::failed("registry", error.to_string(), format!("`docker login {registry}`"))
        }
        Err(error) => Finding::failed(
            "registry",
            error.to_string(),
            format!("`switcher explain {}`", error.kind().code()),
        ),
    }
}

fn unusable(check: &'static str, error: impl std::fmt::Display) -> Finding {
    Finding::failed(
        check,
        error.to_string(),
        "look at the URL with `switcher config show`, and whether the server runs",
    )
}

async fn schema(site: &Site<'_>, url: &SecretText) -> Finding {
    let url: DatabaseUrl = match url.expose().parse() {
        Ok(url) => url,
        Err(error) => return unusable("database", error),
    };
    let url = site.reachable(url).await;
    match probe(&url).await {
        Err(error) => unusable("database", error),
        Ok(None) => Finding::ok("database", format!("{} answers, and was not migrated yet", url.label())),
        Ok(Some(state)) => match state.dirty {
            Some(dirty) => {
                Finding::failed("database", format!("{}: {}", url.label(), dirty.what), dirty.way_out)
            }
            None => {
                let version = state.version.unwrap_or_else(|| "before its first migration".to_owned());
                Finding::ok("database", format!("{} answers, its schema is clean: {version}", url.label()))
            }
        },
    }
}

/// `pg_dump` refuses servers newer than itself.
async fn pg_dump(site: &Site<'_>, url: &SecretText) -> Finding {
    let url: DatabaseUrl = match url.expose().parse() {
        Ok(url) => url,
        Err(error) => return unusable("pg_dump", error),
    };
    let url = site.reachable(url).await;
    let major = match Session::read(&url).await {
        Ok(session) => {
            let asked =
                session.value("SELECT pg_catalog.current_setting('server_version_num')::int / 10000").await;
            session.close().await;
            asked
        }
        Err(error) => Err(error),
    };
    let major: u32 = match major {
        Ok(major) => major.and_then(|text| text.parse().ok()).unwrap_or_default(),
        Err(error) => return unusable("database", error),
    };
    match LocalTools::system().fitting(major).await {
        Ok(version) => Finding::ok("pg_dump", format!("{version} suits PostgreSQL {major}")),
        Err(error) => Finding::failed(
            "pg_dump",
            error.to_string(),
            format!(
                "install PostgreSQL's client of version {major}, or name an image with it as `snapshot.image`"
            ),
        ),
    }
}
