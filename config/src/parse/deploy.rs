//! The sections `switcher` and `deploy` turned into their settings, and back.

use std::collections::BTreeMap;

use crate::keys::{
    BakeKeys, DeployKeys, HookKeys, LimitKeys, MigrateKeys, NotifyKeys, RetainKeys, SmokeKeys, SnapshotKeys,
    SwitcherKeys, VerifyKeys, WatchKeys, WebhookKeys,
};
use crate::settings::{
    ContainerLimits, DeploySettings, Hooks, MigrateSettings, NotifySettings, NotifyTarget, Retain, SmokeTest,
    SnapshotSettings, SwitcherSettings, VerifySettings, WatchSettings, Webhook,
};
use crate::values::{
    BakeSpan, Count, Cpus, DatabaseUrl, DockerHost, Entrypoint, Environment, ExtraHost, Headers, HookUrl,
    ImageName, Labels, LeaseSpan, Limit, LookSpan, MemoryLimit, Network, OneOrMore, Platform, Port, Positive,
    ProbePath, PublicUrl, Repository, SecretFile, SecretName, StatusRange, Tag, Text, Unique, User,
    VariableName, Volume, Words,
};
use crate::{BakeLimits, Template};

impl From<SwitcherKeys> for SwitcherSettings {
    fn from(keys: SwitcherKeys) -> Self {
        Self {
            state_dir: keys.state_dir,
            lease: keys.lease.0,
            docker_host: keys.docker_host.map(|host| host.0),
            notify: keys.notify.into_iter().map(Into::into).collect(),
            webhook: keys.webhook.map(Into::into),
        }
    }
}

impl From<SwitcherSettings> for SwitcherKeys {
    fn from(switcher: SwitcherSettings) -> Self {
        Self {
            state_dir: switcher.state_dir,
            lease: LeaseSpan(switcher.lease),
            docker_host: switcher.docker_host.map(DockerHost),
            notify: switcher.notify.into_iter().map(Into::into).collect(),
            webhook: switcher.webhook.map(Into::into),
        }
    }
}

/// That one of the two is written is seen to by [`crate::checks`].
impl From<NotifyKeys> for NotifySettings {
    fn from(keys: NotifyKeys) -> Self {
        let to = match keys.url {
            Some(url) => NotifyTarget::Url(url.0),
            None => NotifyTarget::File(keys.url_file.map(|file| file.0).unwrap_or_default()),
        };
        let secret_file = keys.secret_file.map(|file| file.0);
        Self { to, events: keys.events.0, secret_file, headers: keys.headers.0 }
    }
}

impl From<NotifySettings> for NotifyKeys {
    fn from(notify: NotifySettings) -> Self {
        let (url, url_file) = match notify.to {
            NotifyTarget::Url(url) => (Some(HookUrl(url)), None),
            NotifyTarget::File(file) => (None, Some(SecretFile(file))),
        };
        let (events, secret_file) = (OneOrMore(notify.events), notify.secret_file.map(SecretFile));
        Self { url, url_file, events, secret_file, headers: Headers(notify.headers) }
    }
}

impl From<WebhookKeys> for Webhook {
    fn from(WebhookKeys { listen, secret_file }: WebhookKeys) -> Self {
        Self { listen, secret_file: secret_file.0 }
    }
}

impl From<Webhook> for WebhookKeys {
    fn from(Webhook { listen, secret_file }: Webhook) -> Self {
        Self { listen, secret_file: SecretFile(secret_file) }
    }
}

impl From<WatchKeys> for WatchSettings {
    fn from(WatchKeys { tag, interval, jitter }: WatchKeys) -> Self {
        Self { tag: tag.0, interval: interval.0, jitter }
    }
}

impl From<WatchSettings> for WatchKeys {
    fn from(WatchSettings { tag, interval, jitter }: WatchSettings) -> Self {
        Self { tag: Tag(tag), interval: LookSpan(interval), jitter }
    }
}

impl From<DeployKeys> for DeploySettings {
    fn from(keys: DeployKeys) -> Self {
        let bake: Option<BakeLimits> = keys.bake.map(Into::into);
        Self {
            runtime: keys.runtime,
            image: keys.image.map(|image| image.0),
            platform: keys.platform.map(|platform| platform.0),
            allow_latest: keys.allow_latest,
            port: keys.port.0,
            network: keys.network.0,
            replicas: keys.replicas.0,
            env_files: keys.env_files,
            env: keys.env.into(),
            required_env: keys.required_env.0.into_iter().map(|name| name.0).collect(),
            secrets: keys.secrets.0.into_iter().map(|name| name.0).collect(),
            volumes: keys.volumes.into_iter().map(|volume| volume.0).collect(),
            limits: keys.limits.into(),
            labels: keys.labels.0,
            extra_hosts: keys.extra_hosts.into_iter().map(|host| host.0).collect(),
            user: keys.user.map(|user| user.0),
            entrypoint: keys.entrypoint.map(|words| words.0),
            command: keys.command.map(|words| words.0),
            stop_timeout: keys.stop_timeout,
            healthcheck: keys.healthcheck,
            ready_timeout: keys.ready_timeout.0,
            smoke: keys.smoke.into_iter().map(Into::into).collect(),
            migrate: keys.migrate.map(Into::into),
            snapshot: keys.snapshot.map(Into::into),
            canary: keys.canary.map(|canary| canary.beside(bake.as_ref())),
            bake,
            verify: keys.verify.map(Into::into),
            keep_previous: keys.keep_previous,
            watch: keys.watch.map(Into::into),
            workers: keys.workers,
            retain: keys.retain.into(),
            hooks: keys.hooks.into(),
        }
    }
}

impl From<DeploySettings> for DeployKeys {
    fn from(deploy: DeploySettings) -> Self {
        Self {
            runtime: deploy.runtime,
            image: deploy.image.map(Repository),
            platform: deploy.platform.map(Platform),
            allow_latest: deploy.allow_latest,
            port: Port(deploy.port),
            network: Network(deploy.network),
            replicas: Count(deploy.replicas),
            env_files: deploy.env_files,
            env: deploy.env.into(),
            required_env: Unique(deploy.required_env.into_iter().map(VariableName).collect()),
            secrets: Unique(deploy.secrets.into_iter().map(SecretName).collect()),
            volumes: deploy.volumes.into_iter().map(Volume).collect(),
            limits: deploy.limits.into(),
            labels: Labels(deploy.labels),
            extra_hosts: deploy.extra_hosts.into_iter().map(ExtraHost).collect(),
            user: deploy.user.map(User),
            entrypoint: deploy.entrypoint.map(Entrypoint),
            command: deploy.command.map(Words),
            stop_timeout: deploy.stop_timeout,
            healthcheck: deploy.healthcheck,
            ready_timeout: Positive(deploy.ready_timeout),
            smoke: deploy.smoke.into_iter().map(Into::into).collect(),
            migrate: deploy.migrate.map(Into::into),
            snapshot: deploy.snapshot.map(Into::into),
            canary: deploy.canary.map(Into::into),
            bake: deploy.bake.map(Into::into),
            verify: deploy.verify.map(Into::into),
            keep_previous: deploy.keep_previous,
            watch: deploy.watch.map(Into::into),
            workers: deploy.workers,
            retain: deploy.retain.into(),
            hooks: deploy.hooks.into(),
        }
    }
}

impl From<Environment> for BTreeMap<String, Template> {
    fn from(env: Environment) -> Self {
        env.0.into_iter().map(|(name, value)| (name.0, value)).collect()
    }
}

impl From<BTreeMap<String, Template>> for Environment {
    fn from(env: BTreeMap<String, Template>) -> Self {
        Self(env.into_iter().map(|(name, value)| (VariableName(name), value)).collect())
    }
}

impl From<LimitKeys> for ContainerLimits {
    fn from(LimitKeys { memory, cpus, pids }: LimitKeys) -> Self {
        Self {
            memory: memory.map(|memory| memory.0),
            cpu_millis: cpus.map(|cpus| cpus.0),
            pids: pids.map(|pids| pids.0),
        }
    }
}

impl From<ContainerLimits> for LimitKeys {
    fn from(ContainerLimits { memory, cpu_millis, pids }: ContainerLimits) -> Self {
        Self { memory: memory.map(MemoryLimit), cpus: cpu_millis.map(Cpus), pids: pids.map(Limit) }
    }
}

impl From<SmokeKeys> for SmokeTest {
    fn from(keys: SmokeKeys) -> Self {
        Self {
            path: keys.path.0,
            method: keys.method,
            headers: keys.headers.0,
            status: (keys.status.0, keys.status.1),
            contains: keys.contains.map(|text| text.0),
            timeout: keys.timeout.0,
            attempts: keys.attempts.0,
        }
    }
}

impl From<SmokeTest> for SmokeKeys {
    fn from(test: SmokeTest) -> Self {
        Self {
            path: ProbePath(test.path),
            method: test.method,
            headers: Headers(test.headers),
            status: StatusRange(test.status.0, test.status.1),
            contains: test.contains.map(Text),
            timeout: Positive(test.timeout),
            attempts: Count(test.attempts),
        }
    }
}

impl From<VerifyKeys> for VerifySettings {
    fn from(keys: VerifyKeys) -> Self {
        Self {
            url: keys.url.0,
            status: (keys.status.0, keys.status.1),
            contains: keys.contains.map(|text| text.0),
            timeout: keys.timeout.0,
            interval: keys.interval.0,
            ca_file: keys.ca_file,
            on_failure: keys.on_failure,
        }
    }
}

impl From<VerifySettings> for VerifyKeys {
    fn from(verify: VerifySettings) -> Self {
        Self {
            url: PublicUrl(verify.url),
            status: StatusRange(verify.status.0, verify.status.1),
            contains: verify.contains.map(Text),
            timeout: Positive(verify.timeout),
            interval: Positive(verify.interval),
            ca_file: verify.ca_file,
            on_failure: verify.on_failure,
        }
    }
}

impl From<MigrateKeys> for MigrateSettings {
    fn from(keys: MigrateKeys) -> Self {
        Self {
            command: keys.command.0,
            entrypoint: keys.entrypoint.map(|words| words.0),
            down: keys.down.map(|words| words.0),
            env: keys.env.into(),
            timeout: keys.timeout.0,
            compatible: keys.compatible,
            database_url: keys.database_url.map(|url| url.0),
        }
    }
}

impl From<MigrateSettings> for MigrateKeys {
    fn from(migrate: MigrateSettings) -> Self {
        Self {
            command: Words(migrate.command),
            entrypoint: migrate.entrypoint.map(Entrypoint),
            down: migrate.down.map(Words),
            env: migrate.env.into(),
            timeout: Positive(migrate.timeout),
            compatible: migrate.compatible,
            database_url: migrate.database_url.map(DatabaseUrl),
        }
    }
}

impl From<SnapshotKeys> for SnapshotSettings {
    fn from(keys: SnapshotKeys) -> Self {
        Self {
            database_url: keys.database_url.0,
            image: keys.image.map(|image| image.0),
            keep: keys.keep.0,
            timeout: keys.timeout.0,
        }
    }
}

impl From<SnapshotSettings> for SnapshotKeys {
    fn from(snapshot: SnapshotSettings) -> Self {
        Self {
            database_url: DatabaseUrl(snapshot.database_url),
            image: snapshot.image.map(ImageName),
            keep: Positive(snapshot.keep),
            timeout: Positive(snapshot.timeout),
        }
    }
}

impl From<BakeKeys> for BakeLimits {
    fn from(keys: BakeKeys) -> Self {
        Self {
            window: keys.r#for.0,
            max_error_rate: keys.max_error_rate,
            max_p99_ratio: keys.max_p99_ratio,
            max_p99: keys.max_p99.map(|longest| longest.0),
            min_requests: keys.min_requests.0,
            on_inconclusive: keys.on_inconclusive,
        }
    }
}

impl From<BakeLimits> for BakeKeys {
    fn from(bake: BakeLimits) -> Self {
        Self {
            r#for: BakeSpan(bake.window),
            max_error_rate: bake.max_error_rate,
            max_p99_ratio: bake.max_p99_ratio,
            max_p99: bake.max_p99.map(Positive),
            min_requests: Limit(bake.min_requests),
            on_inconclusive: bake.on_inconclusive,
        }
    }
}

/// Both have the same fields.
macro_rules! same {
    ($from:ident => $to:ident { $($key:ident),+ }) => {
        impl From<$from> for $to {
            fn from($from { $($key),+ }: $from) -> Self {
                Self { $($key),+ }
            }
        }
    };
}

same!(RetainKeys => Retain { images, snapshots, logs });
same!(Retain => RetainKeys { images, snapshots, logs });
same!(HookKeys => Hooks {
    pre_deploy, pre_promote, post_promote, post_rollback, on_failure, activate, deactivate, start, stop
});
same!(Hooks => HookKeys {
    pre_deploy, pre_promote, post_promote, post_rollback, on_failure, activate, deactivate, start, stop
});
