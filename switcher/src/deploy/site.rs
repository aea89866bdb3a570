//! Everything around a deployment: the configuration, the proxy, the engine, the memory, the secrets. Opened once.
//!
//! It decides nothing. It also turns what each part can meet into the failures that people read.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use switcher_config::AppName;
use switcher_config::settings::{AppSettings, DeploySettings, Hook, NotifySettings, RuntimeKind, Settings};
use switcher_config::wire::{AppStatus, Claim, Fence, RefusalReason};
use switcher_config::{Slot, Span};
use tokio::task::JoinHandle;

use super::conclude::with_evidence;
use super::journal::{Entry, replay};
use super::machine::Machine;
use super::order::{Order, Stage};
use super::verify::Marks;
use crate::admin::{Admin, AdminError};
use crate::code::Code;
use crate::commands::lock;
use crate::configuration;
use crate::container::{Container, ContainerSpec, Tenant, label};
use crate::context::Context;
use crate::deployment::{DeploymentId, Release, Words};
use crate::docker::{DockerError, Engine};
use crate::environment::{Environment, Problems, Sources};
use crate::failure::{Failure, Live};
use crate::hook::{self, Call};
use crate::log::DeploymentLog;
use crate::redact::Redactor;
use crate::runtime::{DockerRuntime, HookFailed, HookRunner, Runtime, RuntimeError, StaticRuntime};
use crate::state::record::State;
use crate::state::{AuditRecord, Lease, LeaseError, Owner, StateError, Store, Verdict};

/// How often a lease that is held elsewhere is asked for again.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// The surroundings of one application's deployments.
pub(crate) struct Site<'a> {
    pub(crate) ctx: &'a Context,
    pub(crate) admin: Admin,
    pub(crate) app: AppName,
    pub(crate) settings: AppSettings,
    pub(crate) deploy: DeploySettings,
    pub(crate) lease_length: Span,
    /// Who is told of deployments.
    pub(crate) notify: Vec<NotifySettings>,
    /// The headers in which answers name their slot and release.
    pub(crate) marks: Marks,
    pub(crate) environment_name: String,
    /// The admin socket of the proxy, where the proxy runs: what containers are told apart by.
    proxy: PathBuf,
    pub(crate) folder: std::path::PathBuf,
    /// The secrets, or why they cannot be had: a warm rollback needs none.
    environment: Result<Environment, Failure>,
    pub(crate) redactor: Redactor,
    /// The engine, or why it cannot be reached: a warm rollback needs none. `Ok(None)` without containers.
    engine: Result<Option<Engine>, Failure>,
    runtime: Option<Box<dyn Runtime>>,
    pub(crate) store: Store,
    /// Renews the claim of the lease that is held.
    renewing: Cell<Option<JoinHandle<()>>>,
}

/// The application whose deployments a configuration describes.
pub(crate) struct Described {
    pub(crate) app: AppName,
    pub(crate) settings: AppSettings,
    pub(crate) deploy: DeploySettings,
    /// Whether no other application of the file is deployed.
    pub(crate) sole: bool,
}

/// The application that is meant: the named one, else the only one with a `deploy` section. Pure.
pub(crate) fn described(ctx: &Context, settings: &Settings) -> Result<Described, Failure> {
    let deployed: BTreeMap<&AppName, &AppSettings> =
        settings.apps.iter().filter(|(_, app)| app.deploy.is_some()).collect();
    let next = ctx.command("config show");
    let refuse =
        |code: Code, message: String| Err(Failure::new(code, message, Live::Unchanged, next.clone()));
    let found = match (&ctx.global.app, deployed.len()) {
        (Some(named), _) if !settings.apps.contains_key(named) => {
            let known: Vec<&str> = settings.apps.keys().map(AppName::as_str).collect();
            return refuse(
                Code::AppUnknown,
                format!(
                    "there is no application \"{named}\" in the configuration; there is {}",
                    known.join(", ")
                ),
            );
        }
        (Some(named), _) => deployed.get_key_value(named).map(|(name, app)| (*name, *app)),
        (None, 0) => None,
        (None, 1) => deployed.iter().next().map(|(name, app)| (*name, *app)),
        (None, _) => {
            let names: Vec<&str> = deployed.keys().map(|name| name.as_str()).collect();
            let message =
                format!("the configuration deploys {}; name the one you mean with --app", names.join(", "));
            return Err(Failure::new(
                Code::AppAmbiguous,
                message,
                Live::Unchanged,
                format!("{} --app {}", ctx.again(), names[0]),
            ));
        }
    };
    match found.and_then(|(name, app)| app.deploy.clone().map(|deploy| (name, app, deploy))) {
        Some((name, app, deploy)) => {
            Ok(Described { app: name.clone(), settings: app.clone(), deploy, sole: deployed.len() == 1 })
        }
        None => {
            let which = ctx
                .global
                .app
                .as_ref()
                .map_or_else(|| "no application".to_owned(), |app| format!("{app} in the configuration"));
            let verb = if ctx.global.app.is_some() { "has no" } else { "has a" };
            refuse(
                Code::DeployNone,
                format!(
                    "{which} {verb} `deploy` section, so nobody knows how a release is brought up; write one, or use `register` and `promote`"
                ),
            )
        }
    }
}

impl<'a> Site<'a> {
    /// Opens everything that a deployment needs.
    pub(crate) async fn open(ctx: &'a Context) -> Result<Self, Failure> {
        let loaded = configuration::load(ctx, &ctx.command("config check"))?;
        let described = described(ctx, &loaded.settings)?;
        Self::of(ctx, &loaded, described).await
    }

    /// Opens what belongs to one application.
    pub(crate) async fn of(
        ctx: &'a Context,
        loaded: &switcher_config::Loaded,
        described: Described,
    ) -> Result<Self, Failure> {
        let Described { app, settings, deploy, sole } = described;
        let environment_name = configuration::environment(ctx);
        let folder = loaded.folder().to_owned();
        let store = open_store(ctx, &loaded.settings, &environment_name, &app, sole)?;
        let environment = Environment::read(&deploy, &Sources::from_process(folder.clone()))
            .map_err(|problems| environment_failure(ctx, &problems));
        for warning in environment.iter().flat_map(Environment::warnings) {
            ctx.reporter.step(&format!("warning: {warning}"));
        }
        let redactor =
            environment.as_ref().map_or_else(|_| Redactor::without_secrets(), Environment::secrets);
        let admin = ctx.admin()?;
        let engine = match deploy.runtime {
            RuntimeKind::Docker => ctx.engine().await.map(Some),
            RuntimeKind::Static => Ok(None),
        };
        let mut site = Self {
            ctx,
            admin,
            app,
            settings,
            deploy,
            lease_length: loaded.settings.switcher.lease,
            notify: loaded.settings.switcher.notify.clone(),
            marks: Marks {
                slot: loaded.settings.proxy.slot_header.clone(),
                release: loaded.settings.proxy.release_header.clone(),
            },
            environment_name,
            proxy: configuration::proxy_name(ctx, &loaded.settings),
            folder,
            environment,
            redactor,
            engine,
            runtime: None,
            store,
            renewing: Cell::new(None),
        };
        site.runtime = site.make_runtime();
        Ok(site)
    }

    /// Whose containers are this application's.
    pub(crate) fn tenant(&self) -> Tenant {
        let (app, environment) = (self.app.clone(), self.environment_name.clone());
        Tenant { app, environment, proxy: self.proxy.clone() }
    }

    /// What runs the slots; none when the engine cannot be reached.
    fn make_runtime(&self) -> Option<Box<dyn Runtime>> {
        match (&self.engine, self.deploy.runtime) {
            (Ok(Some(engine)), RuntimeKind::Docker) => {
                Some(Box::new(DockerRuntime::new(engine.clone(), self.tenant(), self.deploy.clone())))
            }
            (_, RuntimeKind::Static) => Some(Box::new(StaticRuntime::new(
                self.app.clone(),
                self.environment_name.clone(),
                self.settings.slots.map(|_, slot| {
                    slot.as_ref().map(|slot| slot.iter().map(|upstream| upstream.address.clone()).collect())
                }),
                self.deploy.hooks.clone(),
                Box::new(SlotHooks {
                    folder: self.folder.clone(),
                    store: self.store.folder().to_owned(),
                    redactor: self.redactor.clone(),
                }),
                self.store.folder().to_owned(),
            ))),
            (Ok(None) | Err(_), RuntimeKind::Docker) => None,
        }
    }

    /// The secrets.
    pub(crate) fn environment(&self) -> Result<&Environment, Failure> {
        self.environment.as_ref().map_err(Clone::clone)
    }

    /// The engine; none where slots are no containers.
    pub(crate) fn engine(&self) -> Result<Option<&Engine>, Failure> {
        self.engine.as_ref().map(Option::as_ref).map_err(Clone::clone)
    }

    /// What runs the slots.
    pub(crate) fn runtime(&self) -> Result<&dyn Runtime, Failure> {
        match (&self.runtime, &self.engine) {
            (Some(runtime), _) => Ok(runtime.as_ref()),
            (None, Err(failure)) => Err(failure.clone()),
            (None, Ok(_)) => {
                Err(Failure::new(Code::Internal, "there is no runtime", Live::Unchanged, self.ctx.again()))
            }
        }
    }

    /// The application as the proxy has it now.
    pub(crate) async fn status(&self) -> Result<AppStatus, Failure> {
        let mut status = self.ctx.status(&self.admin).await?;
        status.apps.remove(&self.app).ok_or_else(|| {
            let message = format!(
                "the proxy does not serve \"{}\"; `switcher reload` makes it read a changed configuration",
                self.app
            );
            Failure::new(Code::AppUnknown, message, Live::Unchanged, self.ctx.command("reload"))
        })
    }

    /// What stands in the way of an operation now, or happens before it, a sentence each.
    pub(crate) fn notes(&self) -> Result<Vec<String>, Failure> {
        let state = self.store.read().map_err(|error| self.state_failure(&error))?;
        let mut notes = Vec::new();
        match self.store.verdict(&state.lock, self.now()) {
            Verdict::Held(holder) => notes.push(format!("the lease is held: {}", holder.sentence())),
            Verdict::Free | Verdict::Dead(_) | Verdict::Expired(_) => {}
        }
        let journal = self.store.journal::<Entry>().map_err(|error| self.state_failure(&error))?;
        if let Some(told) = journal.and_then(|entries| replay(entries).ok().flatten()) {
            notes.push(format!(
                "{} of {} was cut short during {}; it is brought to its end first",
                told.machine.order.purpose.as_str(),
                told.machine.order.release.version,
                told.machine.stage().as_str()
            ));
        }
        Ok(notes)
    }

    /// Gives the lease back, with a line in the audit log.
    pub(crate) async fn end(
        &self,
        lease: Lease,
        operation: &str,
        outcome: Result<(), Failure>,
    ) -> Result<(), Failure> {
        let word = match &outcome {
            Ok(()) => "done".to_owned(),
            Err(failure) => failure.code.as_str().to_owned(),
        };
        if let Some(renewing) = self.renewing.take() {
            renewing.abort();
        }
        // A claim that is not given back ends by itself.
        if let Ok(claim) = self.claim(&lease, Span::default()) {
            let _ = self.admin.claim(&self.app, &claim).await;
        }
        let audited = lease.audit(&AuditRecord::new(&Owner::here(operation, None), &word, self.now()));
        let released = lease.release();
        if let Some(error) = audited.err().or(released.err()) {
            let failure = self.lease_failure(&error);
            self.ctx.reporter.step(&format!("warning: {}", failure.message));
        }
        outcome
    }

    /// How many containers a slot is to have; none where slots are no containers.
    pub(crate) fn wanted_replicas(&self) -> Option<u16> {
        (self.deploy.runtime == RuntimeKind::Docker).then_some(self.deploy.replicas)
    }

    /// What the state says of the live slot, where the proxy says otherwise.
    pub(crate) fn contradiction(&self, state: &State, active: Slot) -> Option<String> {
        let current = state.current_deployment.as_ref().filter(|current| current.active_slot != active)?;
        Some(format!(
            "{} ({}) is recorded as live in {}, and the proxy serves {active}: nothing is begun before that is settled",
            current.version, current.id, current.active_slot
        ))
    }

    /// Refuses what would empty the standby slot while a part of the clients is served by it. The proxy refuses it as
    /// well, but migrations have run by then.
    pub(crate) fn without_canary(&self, status: &AppStatus) -> Result<(), Failure> {
        let going = status.canary.as_ref().filter(|canary| canary.outcome.is_none());
        let Some(canary) = going else { return Ok(()) };
        let message = format!(
            "a canary goes on in {}, with {} of the clients of {}: promote it or abort it first",
            canary.slot, canary.rules.share, self.app
        );
        let next = self.ctx.command("canary abort");
        Err(Failure::new(Code::CanaryGoesOn, message, Live::of(&self.app, status), next))
    }

    /// The deployment in a standby slot. When the engine cannot be asked, what the proxy calls by a known version is it.
    pub(crate) async fn waiting_in(
        &self,
        state: &State,
        status: &AppStatus,
        slot: Slot,
    ) -> Option<DeploymentId> {
        if let Ok(runtime) = self.runtime()
            && let Ok(running) = runtime.running().await
        {
            return running.get(slot).as_ref().map(|inside| inside.deployment.clone());
        }
        let release = status.slots.get(slot).release.as_deref()?;
        let known = state.previous_deployment.iter().chain(&state.deployment_history);
        let mut fitting = known.filter(|record| record.active_slot == slot && record.version == release);
        fitting.next().map(|record| record.id.clone())
    }

    /// What is live now, for a failure's last words.
    pub(crate) async fn live(&self) -> Live {
        match self.status().await {
            Ok(status) => Live::of(&self.app, &status),
            Err(_) => Live::No,
        }
    }

    /// Takes the lease and shows it to the proxy: from then on older leases change nothing, and nobody whose lease is kept
    /// in another place gets one.
    pub(crate) async fn acquire(&self, operation: &str, wait: Option<Span>) -> Result<Lease, Failure> {
        let deadline = tokio::time::Instant::now() + wait.unwrap_or_default().0;
        loop {
            let left = deadline.duration_since(tokio::time::Instant::now());
            let lease = self.acquire_here(operation, wait.map(|_| Span(left))).await?;
            let claim = self.claim(&lease, self.lease_length)?;
            let error = match self.admin.claim(&self.app, &claim).await {
                Ok(_) => {
                    self.renew(claim);
                    return Ok(lease);
                }
                Err(error) => error,
            };
            if let Err(error) = lease.release() {
                self.ctx.reporter.step(&format!("warning: {}", self.lease_failure(&error).message));
            }
            let held =
                matches!(&error, AdminError::Refused(refusal) if refusal.reason == RefusalReason::LeaseHeld);
            if !held || tokio::time::Instant::now() >= deadline {
                let live = self.live().await;
                return Err(self.ctx.diagnose(&self.admin, error, Some(&self.app), live));
            }
            self.ctx.reporter.waiting("waiting for the lease of an operator elsewhere");
            tokio::time::sleep(LOOK_AGAIN.min(deadline.duration_since(tokio::time::Instant::now()))).await;
        }
    }

    /// Takes the lease of this memory.
    async fn acquire_here(&self, operation: &str, wait: Option<Span>) -> Result<Lease, Failure> {
        let seen = self.status().await?;
        let floor = seen.fence.as_ref().map_or(0, |fence| fence.number);
        let owner = Owner::here(operation, None);
        let reporter = &self.ctx.reporter;
        let mut on_wait = |holder: &crate::state::record::LockRecord| {
            reporter.waiting(&format!("waiting for the lease: {}", holder.sentence()));
        };
        let lease = self
            .store
            .acquire(&owner, floor, self.lease_length, wait, &mut on_wait)
            .await
            .map_err(|error| lock::not_acquired(self.ctx, &error, Live::of(&self.app, &seen)))?;
        reporter.done();
        Ok(lease)
    }

    fn claim(&self, lease: &Lease, length: Span) -> Result<Claim, Failure> {
        let place = self.store.mark().map_err(|error| {
            let message = format!("{} cannot be written: {error}", self.store.folder().display());
            Failure::new(Code::StateNotSaved, message, Live::Unchanged, self.ctx.again())
        })?;
        Ok(Claim { place: Some(place), seconds: length.0.as_secs(), ..Claim::from(self.fence(lease)) })
    }

    /// Renews a claim for as long as this command lives. A renewal that is refused changes nothing here: what the command
    /// asks for afterwards is refused as well.
    fn renew(&self, claim: Claim) {
        let (admin, app) = (self.admin.clone(), self.app.clone());
        let every = self.lease_length.0 / 4;
        let renewing = tokio::spawn(async move {
            loop {
                tokio::time::sleep(every).await;
                let _ = admin.claim(&app, &claim).await;
            }
        });
        if let Some(before) = self.renewing.replace(Some(renewing)) {
            before.abort();
        }
    }

    /// What the proxy checks the changes under a lease by.
    pub(crate) fn fence(&self, lease: &Lease) -> Fence {
        Fence { number: lease.number(), holder: lease.lock_id().to_owned() }
    }

    /// The log of a deployment.
    pub(crate) fn log_of(&self, lease: &Lease, id: &DeploymentId) -> Result<DeploymentLog, Failure> {
        let folder = lease.deployment_folder(id).map_err(|error| self.lease_failure(&error))?;
        let _ = folder;
        Ok(DeploymentLog::open(self.store.folder(), id, self.redactor.clone()))
    }

    /// What fills the words of templates for an order.
    pub(crate) fn words(&self, order: &Order, slot: Slot, replica: u16) -> Words {
        self.words_of(&order.release, &order.id, slot, replica)
    }

    /// What fills the words of templates for a release.
    pub(crate) fn words_of(&self, release: &Release, id: &DeploymentId, slot: Slot, replica: u16) -> Words {
        Words {
            app: self.app.clone(),
            environment: self.environment_name.clone(),
            slot,
            version: release.version.clone(),
            git_commit: release.git_commit.clone().unwrap_or_default(),
            deployment: id.clone(),
            image: release.image.as_ref().map(|image| image.pinned.clone()).unwrap_or_default(),
            replica,
        }
    }

    /// What a stage does, as a sentence.
    pub(crate) fn says(&self, machine: &Machine, stage: Stage) -> String {
        self.redactor.line(&super::plan::what(stage, &machine.order, &self.deploy, None))
    }

    /// The one-off container that runs a migration command from a release's image.
    pub(crate) fn migration_spec(
        &self,
        release: &Release,
        words: &Words,
        command: &[String],
    ) -> Result<ContainerSpec, Failure> {
        let migration = self.environment()?.migration(words);
        let resolved = migration.map_err(|problems| self.environment_failure(&problems))?;
        let deploy = &self.deploy;
        let entrypoint = deploy.migrate.as_ref().and_then(|migrate| migrate.entrypoint.clone());
        let mut labels = self.tenant().labels("migrate");
        labels.insert(label::DEPLOYMENT.to_owned(), words.deployment.to_string());
        labels.insert(label::VERSION.to_owned(), release.version.clone());
        Ok(ContainerSpec {
            name: self.migration_name(),
            image: words.image.clone(),
            platform: release.image.as_ref().map(|image| image.platform.clone()),
            labels,
            env: resolved.variables,
            entrypoint: entrypoint.or_else(|| deploy.entrypoint.clone()),
            command: Some(command.to_vec()),
            user: deploy.user.clone(),
            network: deploy.network.clone(),
            address: None,
            volumes: deploy.volumes.clone(),
            limits: deploy.limits.clone(),
            extra_hosts: deploy.extra_hosts.clone(),
            stop_timeout: deploy.stop_timeout.0,
            healthcheck: switcher_config::settings::HealthcheckChoice::Off,
            restart: false,
            files: resolved.secrets,
        })
    }

    fn migration_name(&self) -> String {
        format!("{}-migrate", self.prefix())
    }

    /// What the names of this application's containers begin with.
    pub(crate) fn prefix(&self) -> String {
        match self.environment_name.as_str() {
            "production" => self.app.to_string(),
            other => format!("{}-{other}", self.app),
        }
    }

    /// What is wrong with the secrets.
    pub(crate) fn environment_failure(&self, problems: &Problems) -> Failure {
        environment_failure(self.ctx, problems)
    }

    /// The migration container of this application, running or ended, whoever made it; none when there is none.
    pub(crate) async fn migration_container(&self) -> Result<Option<Container>, Failure> {
        let Some(engine) = self.engine()? else { return Ok(None) };
        let found =
            engine.inspect(&self.migration_name()).await.map_err(|error| self.docker_failure(&error))?;
        // One of that name that is not ours is met when ours is made, and told then.
        Ok(found.filter(|container| container.deployment().is_some()))
    }

    pub(crate) fn with_evidence(&self, failure: Failure, evidence: &[String]) -> Failure {
        with_evidence(failure, evidence)
    }

    pub(crate) fn docker_failure(&self, error: &DockerError) -> Failure {
        self.ctx.docker_failure(error, Live::Unchanged, self.ctx.again())
    }

    pub(crate) fn runtime_failure(&self, error: &RuntimeError) -> Failure {
        let code = match error {
            RuntimeError::Docker(error) => return self.docker_failure(error),
            RuntimeError::Occupied { .. } | RuntimeError::Unreadable { .. } => Code::DeployOpen,
            RuntimeError::NoImage { .. }
            | RuntimeError::NoSlotAddresses { .. }
            | RuntimeError::NoAddress { .. } => Code::DeployRefused,
            RuntimeError::Ended(_) => Code::StartFailed,
            RuntimeError::Hook(_) => Code::HookFailed,
            RuntimeError::NotRemembered(_) => Code::StateNotSaved,
        };
        let message = self.redactor.line(&error.to_string());
        Failure::new(code, message, Live::Unchanged, self.ctx.command("repair"))
    }

    pub(crate) fn state_failure(&self, error: &StateError) -> Failure {
        lock::state_failure(self.ctx, error)
    }

    pub(crate) fn lease_failure(&self, error: &LeaseError) -> Failure {
        lock::lease_failure(self.ctx, error)
    }

    /// Now; the one clock of the deployer.
    pub(crate) fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}

/// The memory of an application.
pub(crate) fn open_store(
    ctx: &Context,
    settings: &Settings,
    environment: &str,
    app: &AppName,
    sole: bool,
) -> Result<Store, Failure> {
    let allowed = std::env::var("SWITCHER_ALLOW_TEMPORARY_STATE").is_ok_and(|value| value == "1");
    Store::open(&settings.switcher.state_dir, environment, app, sole)
        .map(|store| store.allow_temporary(allowed))
        .map_err(|error| lock::state_failure(ctx, &error))
}

/// Runs the hooks of `runtime: static`.
struct SlotHooks {
    folder: std::path::PathBuf,
    store: std::path::PathBuf,
    redactor: Redactor,
}

#[async_trait]
impl HookRunner for SlotHooks {
    async fn run(&self, name: &'static str, hook: &Hook, words: &Words) -> Result<(), HookFailed> {
        let log = DeploymentLog::open(&self.store, &words.deployment, self.redactor.clone());
        let (folder, redactor) = (&self.folder, &self.redactor);
        let call = Call { name, hook, words, failure: None, folder, redactor, log: &log };
        hook::run(call, &mut |_| {}).await.map_err(|error| HookFailed(error.to_string()))
    }
}

fn environment_failure(ctx: &Context, problems: &Problems) -> Failure {
    Failure::new(Code::EnvironmentBad, problems.to_string(), Live::Unchanged, ctx.again())
}
