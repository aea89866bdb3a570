//! The `deploy` section of an application: what runs in its slots and how a new version gets there.
//!
//! Read by the deployer. The proxy reads the same file and needs none of its secrets: values with `${NAME}` are
//! [`Template`]s, filled in only when a deployment needs them.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::CanarySettings;
use crate::request::{Method, RequestHeaders};
use crate::template::Template;
use crate::{BakeLimits, Bytes, ImageReference, ListenAddress, Share, Span};

/// The `switcher` section: the deployer itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SwitcherSettings {
    /// Where deployments are remembered. Default `/var/lib/switcher-deployments`.
    pub state_dir: PathBuf,
    /// How long a lease holds after its owner's last sign of life: 5s to 30m. Default 2m.
    pub lease: Span,
    /// The Docker Engine: `unix:///path`, `tcp://host:2376` or `ssh://user@host`. Default: `$DOCKER_HOST`, else the
    /// local socket.
    pub docker_host: Option<String>,
    /// Who is told of deployments. Default nobody.
    pub notify: Vec<NotifySettings>,
    /// Where `switcher watch` hears that an image was pushed. Default: nowhere.
    pub webhook: Option<Webhook>,
}

/// Somebody who is told of deployments by a POST.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotifySettings {
    /// Where.
    pub to: NotifyTarget,
    /// What is told. Default everything.
    pub events: Vec<NotifyEvent>,
    /// A file with what the body is signed with, relative to the configuration file's folder. Default: it is not signed.
    pub secret_file: Option<PathBuf>,
    /// Headers that the receiver asks for. Default none.
    pub headers: RequestHeaders,
}

/// Where a notification goes. Such addresses are secrets: who knows one can post there.
#[derive(Clone, PartialEq, Eq)]
pub enum NotifyTarget {
    /// To this address.
    Url(String),
    /// To the address in this file, relative to the configuration file's folder.
    File(PathBuf),
}

/// Never shows the address.
impl std::fmt::Debug for NotifyTarget {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Url(_) => f.write_str("Url(***)"),
            Self::File(file) => f.debug_tuple("File").field(file).finish(),
        }
    }
}

/// What is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotifyEvent {
    /// A version is live.
    Deployed,
    /// A deployment failed before traffic moved.
    Failed,
    /// Traffic went back.
    RolledBack,
    /// A version is live, or a deployment cannot go on, and a person has to look at it.
    Attention,
}

impl NotifyEvent {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Deployed, Self::Failed, Self::RolledBack, Self::Attention];

    /// The word for it, as the configuration and the notification have it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Deployed => "deployed",
            Self::Failed => "failed",
            Self::RolledBack => "rolled_back",
            Self::Attention => "attention",
        }
    }
}

/// Where `switcher watch` hears that an image was pushed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Webhook {
    /// The address it listens on.
    pub listen: ListenAddress,
    /// The file with the secret that bodies are signed with, mode 0600.
    pub secret_file: PathBuf,
}

/// How a new version of an application is brought up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeploySettings {
    /// Who runs the slots. Default `docker`.
    pub runtime: RuntimeKind,
    /// The repository, so that `deploy v1.5.0` is enough. Never with a digest. Default none.
    pub image: Option<ImageReference>,
    /// `os/arch[/variant]` to pull. Default: the engine's own.
    pub platform: Option<String>,
    /// Whether the tag `latest` (or none) may be deployed in production. Default false.
    pub allow_latest: bool,
    /// The port inside the container. Default 8080.
    pub port: u16,
    /// The network that containers join; made when it is missing. Default `switcher`.
    pub network: String,
    /// Containers in a slot. Default 1.
    pub replicas: u16,
    /// Files of `NAME=value` lines, relative to the configuration file's folder; the later wins. Default none.
    pub env_files: Vec<PathBuf>,
    /// Variables of the application; they win over the files.
    pub env: BTreeMap<String, Template>,
    /// Variables that must be there and filled. Default none.
    pub required_env: Vec<String>,
    /// Secrets put at `/run/secrets/<name>`; taken from that file on this machine, else from the variable of the same
    /// name in capitals. Default none.
    pub secrets: Vec<String>,
    /// `source:/path[:ro]`, as Docker writes them. Default none.
    pub volumes: Vec<String>,
    /// Bounds of a container.
    pub limits: ContainerLimits,
    /// Labels beside our own. Default none.
    pub labels: BTreeMap<String, String>,
    /// `name:address` lines for `/etc/hosts`. Default none.
    pub extra_hosts: Vec<String>,
    /// The user the process runs as. Default: the image's.
    pub user: Option<String>,
    /// Instead of the image's entrypoint; one empty word means none, as the engine has it. Default: the image's.
    pub entrypoint: Option<Vec<String>>,
    /// Instead of the image's command. Default: the image's.
    pub command: Option<Vec<String>>,
    /// From SIGTERM to SIGKILL. Default 30s.
    pub stop_timeout: Span,
    /// Docker's own check. Default: the image's.
    pub healthcheck: HealthcheckChoice,
    /// How long a new slot may take to become healthy. Default 2m.
    pub ready_timeout: Span,
    /// Requests that the new version must answer well before traffic moves. Default none.
    pub smoke: Vec<SmokeTest>,
    /// Schema migrations, from the new image. Default none.
    pub migrate: Option<MigrateSettings>,
    /// A dump of the database before migrations. Default none.
    pub snapshot: Option<SnapshotSettings>,
    /// The part of the clients that a new version gets first. Default: all move at once.
    pub canary: Option<CanarySettings>,
    /// How the new version is judged on live traffic after the switch. Default: not at all.
    pub bake: Option<BakeLimits>,
    /// What the public address must answer after the switch. Default: it is not asked.
    pub verify: Option<VerifySettings>,
    /// How long the slot that was left keeps running. Default 30m.
    pub keep_previous: Span,
    /// The tag that `switcher watch` deploys whenever it moves. Default none.
    pub watch: Option<WatchSettings>,
    /// Whether the workers of two versions may run together. Default `overlap`.
    pub workers: Workers,
    /// What `prune` leaves.
    pub retain: Retain,
    /// Commands run on this machine around a deployment.
    pub hooks: Hooks,
}

/// Who runs the slots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RuntimeKind {
    /// A Docker Engine.
    Docker,
    /// The hooks `start` and `stop`; addresses are those of `slots`.
    Static,
}

/// Bounds of a container. Default none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ContainerLimits {
    /// Memory; beyond it the kernel kills.
    pub memory: Option<Bytes>,
    /// Processors, in thousandths (`cpus: 1.5` is 1500).
    pub cpu_millis: Option<u32>,
    /// Processes and threads.
    pub pids: Option<u32>,
}

/// Docker's own check of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HealthcheckChoice {
    /// What the image says.
    Image,
    /// None, whatever the image says (`healthcheck: off`).
    Off,
    /// This one.
    Command {
        /// The command inside the container.
        command: Vec<String>,
        /// From one check to the next. Default 5s.
        interval: Span,
        /// How long one may take. Default 3s.
        timeout: Span,
        /// Failures in a row that make it unhealthy. Default 3.
        retries: u16,
        /// How long failures do not count after the start. Default 0s.
        start_period: Span,
    },
}

/// A request that the new version must answer well, asked through the proxy's own listener, before traffic moves.
/// Words such as `{version}` in `path`, `headers` and `contains` are filled in by the deployment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SmokeTest {
    /// The path and query asked for.
    pub path: String,
    /// How. Default GET.
    pub method: Method,
    /// Headers sent along. Default none.
    pub headers: RequestHeaders,
    /// The lowest and highest status that is a success. Default 200-299.
    pub status: (u16, u16),
    /// A text that the body must contain, in its first 64 KiB. Default none.
    pub contains: Option<String>,
    /// How long the whole answer may take. Default 10s.
    pub timeout: Span,
    /// How often it is asked at most, a second apart, until it succeeds. Default 1.
    pub attempts: u16,
}

/// What the public address must answer after the switch, asked from where the deployer runs, as users ask it.
/// Words such as `{version}` in `url` and `contains` are filled in by the deployment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifySettings {
    /// The address: http or https, without user and password.
    pub url: String,
    /// The lowest and highest status that is a success. Default 200-299.
    pub status: (u16, u16),
    /// A text that the body must contain, in its first 64 KiB. Without it the slot that the answer names counts.
    pub contains: Option<String>,
    /// How long a good answer is waited for in all. Default 30s.
    pub timeout: Span,
    /// From one question to the next. Default 1s.
    pub interval: Span,
    /// Roots in PEM that are believed beside the system's, relative to the configuration file's folder. Default none.
    pub ca_file: Option<PathBuf>,
    /// What becomes of a version that it does not answer well for. Default `rollback`.
    pub on_failure: OnUnverified,
}

/// What becomes of a version for which the public address does not answer well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnUnverified {
    /// Traffic goes back.
    Rollback,
    /// It stays live, and that is told.
    Keep,
}

/// Schema migrations. They run once, from the new image, before the slot starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MigrateSettings {
    /// What Docker and Compose call the command: the arguments of the image's entrypoint.
    pub command: Vec<String>,
    /// Instead of the image's entrypoint; one empty word means none, as the engine has it. Default: the image's.
    pub entrypoint: Option<Vec<String>>,
    /// The command that goes back; `{to}` is the version to go to. Default none.
    pub down: Option<Vec<String>>,
    /// Variables that differ from the application's, such as a direct database URL.
    pub env: BTreeMap<String, Template>,
    /// How long they may take. Default 10m.
    pub timeout: Span,
    /// Whether the version that is live now can run on the new schema. Default true.
    pub compatible: bool,
    /// Where the schema's version is read. Default: `DATABASE_URL` of `env`, else of the application.
    pub database_url: Option<Template>,
}

/// A dump of the database before migrations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotSettings {
    /// The database.
    pub database_url: Template,
    /// An image with `pg_dump`, run on the application's network. Default: the `pg_dump` of this machine.
    pub image: Option<ImageReference>,
    /// How long a snapshot is kept. Default 7d.
    pub keep: Span,
    /// How long a dump may take. Default 30m.
    pub timeout: Span,
}

/// Whether the workers of two versions may run together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Workers {
    /// The new ones start before the old ones stop.
    Overlap,
    /// The old ones stop first, before traffic moves.
    StopOldFirst,
}

/// A tag that is deployed whenever it moves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WatchSettings {
    /// The tag of `deploy.image`.
    pub tag: String,
    /// From one look at the registry to the next: 1s to 24h. Default 5m.
    pub interval: Span,
    /// The share of the interval by which looks come earlier or later. Default 10%.
    pub jitter: Share,
}

/// What `prune` leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retain {
    /// Releases whose image stays, beside the ones in use. Default 3.
    pub images: u16,
    /// Snapshots that stay, whatever their age. Default 7.
    pub snapshots: u16,
    /// How long logs of deployments stay. Default 30d.
    pub logs: Span,
}

/// Commands run on this machine around a deployment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hooks {
    /// Before anything is pulled; a failure stops the deployment.
    pub pre_deploy: Option<Hook>,
    /// Before traffic moves; a failure stops the deployment.
    pub pre_promote: Option<Hook>,
    /// After traffic has moved.
    pub post_promote: Option<Hook>,
    /// After a rollback.
    pub post_rollback: Option<Hook>,
    /// After a deployment failed.
    pub on_failure: Option<Hook>,
    /// Starts a slot's workers.
    pub activate: Option<Hook>,
    /// Stops a slot's workers.
    pub deactivate: Option<Hook>,
    /// `runtime: static`: starts the version in the slot.
    pub start: Option<Hook>,
    /// `runtime: static`: stops what runs in the slot.
    pub stop: Option<Hook>,
}

/// A command run on this machine, without a shell unless it names one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hook {
    /// Program and arguments as they were written; [`crate::template::fill`] fills the words in. `${NAME}` is the
    /// shell's. A single text is run by `/bin/sh -c`.
    pub command: Vec<String>,
    /// How long it may take. Default 5m.
    pub timeout: Span,
}
