//! The keys of the sections `switcher` and `deploy`: the deployer and what it brings up.

use std::path::PathBuf;

use super::CanaryKeys;
use crate::request::Method;
use crate::section::{record, section};
use crate::settings::{HealthcheckChoice, Hook, NotifyEvent, OnUnverified, RuntimeKind, Workers};
use crate::values::{
    BakeSpan, Count, Cpus, DatabaseUrl, DockerHost, Entrypoint, Environment, ExtraHost, Headers,
    HealthcheckCommand, HookUrl, ImageName, Labels, LeaseSpan, Limit, LookSpan, MemoryLimit, Network,
    OneOrMore, Platform, Port, Positive, ProbePath, PublicUrl, Repository, SecretFile, SecretName,
    StatusRange, Tag, Text, Unique, User, VariableName, Volume, Words,
};
use crate::{BakeLimits, Bytes, Factor, ListenAddress, OnInconclusive, Share, Span};

section! {
    /// The deployer itself.
    SwitcherKeys {
        /// Where deployments are remembered.
        state_dir: PathBuf = PathBuf::from("/var/lib/switcher-deployments");
        /// How long a lease holds after its owner's last sign of life: 5s to 30m.
        lease: LeaseSpan = LeaseSpan(Span::seconds(120));
        /// The Docker Engine: `unix:///path`, `tcp://host:2376` or `ssh://user@host`. Default: `$DOCKER_HOST`, else the local socket.
        docker_host: Option<DockerHost> = None;
        /// Who is told of deployments: one section or a list.
        notify: Vec<NotifyKeys> = Vec::new();
        /// Where `switcher watch` hears that an image was pushed. Absent: nowhere.
        webhook: Option<WebhookKeys> = None;
    }
}

section! {
    /// Somebody who is told of deployments by a POST of JSON. Its `text` is a sentence, as Slack and Mattermost show it.
    NotifyKeys {
        /// The address, or `url_file`; never shown, because who knows it can post there.
        url: Option<HookUrl> = None;
        /// A file with mode 0600 that holds the address, relative to the configuration file's folder.
        url_file: Option<SecretFile> = None;
        /// What is told: `deployed`, `failed`, `rolled_back` and `attention`.
        events: OneOrMore<NotifyEvent> = OneOrMore(NotifyEvent::ALL.to_vec());
        /// A file with mode 0600 that holds the key of `X-Hub-Signature-256`, relative to the configuration file's folder. Default: nothing is signed.
        secret_file: Option<SecretFile> = None;
        /// Headers that the receiver asks for, such as `Authorization`; their values are never shown.
        headers: Headers = Headers::default();
    }
}

record! {
    /// Where `switcher watch` hears that an image was pushed.
    WebhookKeys, "write for example `webhook: {listen: 127.0.0.1:9182, secret_file: webhook.secret}`" {
        /// The address it listens on; `POST /hooks/APP` makes it look at once.
        listen: ListenAddress;
        /// The file with the secret that bodies are signed with, at least 16 characters, mode 0600; relative to the configuration file's folder.
        secret_file: SecretFile;
    }
}

section! {
    /// What runs in the application's slots and how a new version gets there. Read by `switcher`.
    DeployKeys {
        /// Who runs the slots: `docker`, or `static` with the hooks `start` and `stop`.
        runtime: RuntimeKind = RuntimeKind::Docker;
        /// The repository, so that `deploy v1.5.0` is enough; without tag and digest.
        image: Option<Repository> = None;
        /// `os/arch[/variant]` to pull. Default: the engine's own.
        platform: Option<Platform> = None;
        /// Whether the tag `latest` (or none) may be deployed in production.
        allow_latest: bool = false;
        /// The port inside the container.
        port: Port = Port(8080);
        /// The network that containers join; made when it is missing.
        network: Network = Network("switcher".into());
        /// Containers in a slot.
        replicas: Count = Count(1);
        /// Files of `NAME=value` lines with mode 0600, relative to the configuration file's folder; the later wins.
        env_files: Vec<PathBuf> = Vec::new();
        /// Variables of the application; they win over the files. `${NAME}` and words such as `{slot}` are filled in by a deployment.
        env: Environment = Environment::default();
        /// Variables that must be there and filled.
        required_env: Unique<VariableName> = Unique(Vec::new());
        /// Secrets put at `/run/secrets/NAME`; taken from that file on this machine, else from the variable of the same name in capitals.
        secrets: Unique<SecretName> = Unique(Vec::new());
        /// `source:/path[:ro]`, as Docker writes them.
        volumes: Vec<Volume> = Vec::new();
        /// Bounds of a container.
        limits: LimitKeys = LimitKeys::default();
        /// Labels beside our own.
        labels: Labels = Labels::default();
        /// `name:address` lines for `/etc/hosts`.
        extra_hosts: Vec<ExtraHost> = Vec::new();
        /// The user the process runs as. Default: the image's.
        user: Option<User> = None;
        /// Instead of the image's entrypoint; `[]` means none.
        entrypoint: Option<Entrypoint> = None;
        /// Instead of the image's command.
        command: Option<Words> = None;
        /// From SIGTERM to SIGKILL.
        stop_timeout: Span = Span::seconds(30);
        /// Docker's own check: `off` or a section. Default: the image's.
        healthcheck: HealthcheckChoice = HealthcheckChoice::Image;
        /// How long a new slot may take to become healthy.
        ready_timeout: Positive = Positive(Span::seconds(120));
        /// Requests that the new version must answer well, through the proxy's own listeners, before traffic moves: one section or a list.
        smoke: Vec<SmokeKeys> = Vec::new();
        /// Schema migrations, run once from the new image before the slot starts.
        migrate: Option<MigrateKeys> = None;
        /// A dump of the database before migrations.
        snapshot: Option<SnapshotKeys> = None;
        /// The part of the clients that the new version gets before all of them, step by step. Absent: all move at once.
        canary: Option<CanaryKeys> = None;
        /// How the new version is judged on live traffic after the switch. Absent: not at all.
        bake: Option<BakeKeys> = None;
        /// What the public address must answer after the switch, asked from where `switcher` runs. Absent: it is not asked.
        verify: Option<VerifyKeys> = None;
        /// How long the slot that was left keeps running.
        keep_previous: Span = Span::seconds(1800);
        /// The tag that `switcher watch` deploys whenever it moves. Absent: it is not watched.
        watch: Option<WatchKeys> = None;
        /// Whether the workers of two versions may run together: `overlap` or `stop_old_first`.
        workers: Workers = Workers::Overlap;
        /// What `prune` leaves.
        retain: RetainKeys = RetainKeys::default();
        /// Commands run on this machine around a deployment.
        hooks: HookKeys = HookKeys::default();
    }
}

section! {
    /// Bounds of a container.
    LimitKeys {
        /// Memory; beyond it the kernel kills.
        memory: Option<MemoryLimit> = None;
        /// Processors, such as `1.5`.
        cpus: Option<Cpus> = None;
        /// Processes and threads.
        pids: Option<Limit> = None;
    }
}

record! {
    /// Docker's own check of a container.
    HealthcheckKeys, "write for example `healthcheck: {command: [app, healthcheck]}`, or `healthcheck: off`" {
        /// The command inside the container. A single text is run by `/bin/sh -c`.
        command: HealthcheckCommand;
        /// From one check to the next.
        interval: Positive = Positive(Span::seconds(5));
        /// How long one may take.
        timeout: Positive = Positive(Span::seconds(3));
        /// Failures in a row that make it unhealthy.
        retries: Count = Count(3);
        /// How long failures do not count after the start.
        start_period: Span = Span::seconds(0);
    }
}

record! {
    /// A request that the new version must answer well before traffic moves.
    SmokeKeys, "write for example `smoke: [{path: /}]`" {
        /// The path and query asked for. Words such as `{version}` are filled in.
        path: ProbePath;
        /// How it is asked: `GET`, `HEAD`, `POST`, `PUT`, `PATCH`, `DELETE` or `OPTIONS`, without a body.
        method: Method = Method::Get;
        /// Headers sent along; their values are never shown. Words such as `{version}` are filled in.
        headers: Headers = Headers::default();
        /// The status, or range of them, that is a success.
        status: StatusRange = StatusRange(200, 299);
        /// A text that the body must contain, in its first 64 KiB. Words such as `{version}` are filled in.
        contains: Option<Text> = None;
        /// How long the whole answer may take.
        timeout: Positive = Positive(Span::seconds(10));
        /// How often it is asked at most, a second apart, until it succeeds.
        attempts: Count = Count(1);
    }
}

record! {
    /// Schema migrations.
    MigrateKeys, "write for example `migrate: {command: [app, migrate, up]}`" {
        /// What Docker and Compose call the command: the arguments of the image's entrypoint.
        command: Words;
        /// Instead of the image's entrypoint; `[]` means none.
        entrypoint: Option<Entrypoint> = None;
        /// The command that goes back; `{to}` is the version to go to.
        down: Option<Words> = None;
        /// Variables that differ from the application's, such as a direct database URL.
        env: Environment = Environment::default();
        /// How long they may take.
        timeout: Positive = Positive(Span::seconds(600));
        /// Whether the version that is live now can run on the new schema.
        compatible: bool = true;
        /// Where the schema's version is read. Default: `DATABASE_URL` of `env`, else of the application.
        database_url: Option<DatabaseUrl> = None;
    }
}

record! {
    /// A dump of the database before migrations.
    SnapshotKeys, "write for example `snapshot: {database_url: \"${DATABASE_URL}\"}`" {
        /// The database, PostgreSQL.
        database_url: DatabaseUrl;
        /// An image with `pg_dump`, run on the application's network. Default: the `pg_dump` of this machine.
        image: Option<ImageName> = None;
        /// How long a snapshot is kept.
        keep: Positive = Positive(Span::seconds(604_800));
        /// How long a dump may take.
        timeout: Positive = Positive(Span::seconds(1800));
    }
}

record! {
    /// A tag that is deployed whenever it moves.
    WatchKeys, "write for example `watch: {tag: production}`" {
        /// The tag of `deploy.image`.
        tag: Tag;
        /// From one look at the registry to the next: 1s to 24h.
        interval: LookSpan = LookSpan(Span::seconds(300));
        /// The share of the interval by which looks come earlier or later, so that not every host asks at once.
        jitter: Share = Share::percent(10);
    }
}

section! {
    /// What `prune` leaves.
    RetainKeys {
        /// Releases whose image stays, beside the ones in use.
        images: u16 = 3;
        /// Snapshots that stay, whatever their age.
        snapshots: u16 = 7;
        /// How long logs of deployments stay.
        logs: Span = Span::seconds(2_592_000);
    }
}

section! {
    /// How the new version is judged on live traffic after the switch; the proxy goes back by itself when it is worse.
    BakeKeys {
        /// How long it is judged: 1s to 24h, and no longer than `keep_previous`.
        r#for: BakeSpan = BakeSpan(BakeLimits::default().window);
        /// The largest share of requests that may fail; a service that failed more often before may go on so.
        max_error_rate: Share = BakeLimits::default().max_error_rate;
        /// How many times slower the slowest hundredth of requests may be than before.
        max_p99_ratio: Factor = BakeLimits::default().max_p99_ratio;
        /// How slow the slowest hundredth of requests may be at most. Default: no such limit.
        max_p99: Option<Positive> = None;
        /// How many requests a judgement needs.
        min_requests: Limit = Limit(BakeLimits::default().min_requests);
        /// What becomes of a version that too few requests reached: `keep` or `rollback`.
        on_inconclusive: OnInconclusive = OnInconclusive::Keep;
    }
}

record! {
    /// What the public address must answer after the switch.
    VerifyKeys, "write for example `verify: {url: \"https://shop.example.com/version\", contains: \"{version}\"}`" {
        /// The address, as users ask for it. Words such as `{version}` are filled in; no redirect is followed.
        url: PublicUrl;
        /// The status, or range of them, that is a success.
        status: StatusRange = StatusRange(200, 299);
        /// A text that the body must contain, in its first 64 KiB. Without it an answer is also wrong when its header names another slot.
        contains: Option<Text> = None;
        /// How long a good answer is waited for in all.
        timeout: Positive = Positive(Span::seconds(30));
        /// From one question to the next.
        interval: Positive = Positive(Span::seconds(1));
        /// Roots in PEM that are believed beside the system's, relative to the configuration file's folder.
        ca_file: Option<PathBuf> = None;
        /// What becomes of a version that it does not answer well for: `rollback` or `keep`.
        on_failure: OnUnverified = OnUnverified::Rollback;
    }
}

section! {
    /// Commands run on this machine around a deployment: a list of words, or one text for `/bin/sh -c`. Words such as `{slot}` are filled in.
    HookKeys {
        /// Before anything is pulled; a failure stops the deployment.
        pre_deploy: Option<Hook> = None;
        /// Before traffic moves; a failure stops the deployment.
        pre_promote: Option<Hook> = None;
        /// After traffic has moved.
        post_promote: Option<Hook> = None;
        /// After a rollback.
        post_rollback: Option<Hook> = None;
        /// After a deployment failed.
        on_failure: Option<Hook> = None;
        /// Starts a slot's workers.
        activate: Option<Hook> = None;
        /// Stops a slot's workers.
        deactivate: Option<Hook> = None;
        /// `runtime: static`: starts the version in the slot.
        start: Option<Hook> = None;
        /// `runtime: static`: stops what runs in the slot.
        stop: Option<Hook> = None;
    }
}

/// Whether the values at a place keep their `${NAME}` until a deployment needs them. The steps of `path` are keys;
/// those of lists begin with `[`.
pub(crate) fn keeps_names(path: &[String]) -> bool {
    let steps: Vec<&str> = path.iter().map(String::as_str).filter(|step| !step.starts_with('[')).collect();
    let ["apps", _, "deploy", below @ ..] = steps.as_slice() else { return false };
    matches!(
        below,
        ["env", _]
            | ["migrate", "env", _]
            | ["migrate" | "snapshot", "database_url"]
            | ["hooks", _]
            | ["hooks", _, "command"]
    )
}

/// The least memory that an engine gives a container.
pub(crate) const LEAST_MEMORY: Bytes = Bytes(6 << 20);
