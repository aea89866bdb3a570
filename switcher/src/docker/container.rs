//! Containers: made, started, stopped, removed, found.
//!
//! Every act is idempotent, since a command that was killed is repeated: what is there already is used, what is gone
//! already is no error. Called by the runtime, by migrations and by snapshots.

mod archive;
mod body;
mod found;

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use bollard::body_full;
use bollard::models::{ContainerInspectResponse, ContainerUpdateBody};
use bollard::query_parameters::{
    ContainerArchiveInfoOptionsBuilder, CreateContainerOptionsBuilder, InspectContainerOptions,
    ListContainersOptionsBuilder, RemoveContainerOptionsBuilder, StartContainerOptions,
    StopContainerOptionsBuilder, UploadToContainerOptionsBuilder,
};
use tokio::time::{Instant, sleep};

use super::deadline::ANSWER;
use super::{DockerError, DockerErrorKind, Engine};
use crate::container::{Container, ContainerSpec, ContainerState, SecretFile, Tenant, label};

/// How often is looked whether a container that is being removed is gone.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// Whether a container is a one-off of ours whose command was killed, and that nobody needs: a dump, whose file is gone
/// with the command, or a migration of an earlier deployment that has ended.
fn is_leftover(there: &Container, spec: &ContainerSpec) -> bool {
    let same = |name| there.labels.contains_key(name) && there.labels.get(name) == spec.labels.get(name);
    let ours = [label::APP, label::ENVIRONMENT, label::PROXY, label::ROLE].into_iter().all(same);
    let ended = matches!(there.state, ContainerState::Exited(_) | ContainerState::Created);
    let role = spec.labels.get(label::ROLE).map(String::as_str);
    let other = there.labels.get(label::DEPLOYMENT) != spec.labels.get(label::DEPLOYMENT);
    ours && (role == Some("snapshot") || (role == Some("migrate") && ended && other))
}

impl Engine {
    /// Makes a container and puts its files into it; the id. One of the same name that the same deployment made for
    /// the same purpose is used as it is.
    ///
    /// # Errors
    /// When the name belongs to another container (`Conflict`), the image is not there (`NotFound`), or the engine
    /// refuses.
    pub async fn create(&self, spec: &ContainerSpec) -> Result<String, DockerError> {
        let made = match self.made(spec).await {
            Err(error) if error.kind() == DockerErrorKind::Conflict => match self.met(spec, error).await? {
                Some(there) => return Ok(there),
                None => self.made(spec).await,
            },
            made => made,
        };
        let id = made?;
        if let Err(error) = self.fill(&id, spec).await {
            // Without its files it must not be met by the next try. What matters is the first error.
            let _ = self.remove(&id).await;
            return Err(error);
        }
        Ok(id)
    }

    async fn made(&self, spec: &ContainerSpec) -> Result<String, DockerError> {
        let doing = format!("make the container {}", spec.name);
        let body = body::body(spec).map_err(|error| {
            DockerError::new(DockerErrorKind::Refused, format!("could not {doing}: {error}"))
        })?;
        let options = CreateContainerOptionsBuilder::new().name(&spec.name);
        let options = match &spec.platform {
            Some(platform) => options.platform(platform),
            None => options,
        };
        let created = self.docker.create_container(Some(options.build()), body);
        Ok(self.within(ANSWER, &doing, created).await?.id)
    }

    /// The container that has the name already, if it is this very one; none when it was a leftover, which is gone now.
    async fn met(&self, spec: &ContainerSpec, conflict: DockerError) -> Result<Option<String>, DockerError> {
        let Some(there) = self.inspect(&spec.name).await? else { return Err(conflict) };
        let same = |name| there.labels.get(name) == spec.labels.get(name);
        if is_leftover(&there, spec) {
            self.remove(&there.id).await?;
            return Ok(None);
        }
        let same_owner = same(label::PROXY) && same(label::ROLE);
        if !spec.labels.contains_key(label::DEPLOYMENT) || !same(label::DEPLOYMENT) || !same_owner {
            let elsewhere = there.labels.get(label::PROXY).filter(|_| !same(label::PROXY));
            if let Some(proxy) = elsewhere {
                return Err(DockerError::new(
                    DockerErrorKind::Conflict,
                    format!(
                        "there is a container named {} already, and it serves behind another proxy ({proxy}); give one of \
                         the two applications another name",
                        spec.name
                    ),
                ));
            }
            let owner = match there.deployment() {
                Some(deployment) => format!("deployment {deployment} made it"),
                None => "nobody here made it".to_owned(),
            };
            return Err(DockerError::new(
                DockerErrorKind::Conflict,
                format!(
                    "there is a container named {name} already, and {owner}; if it is not needed, remove it with \
                     `docker rm -f {name}`",
                    name = spec.name
                ),
            ));
        }
        if there.state == ContainerState::Created {
            // Whoever made it may have been killed before its files were in.
            self.fill(&there.id, spec).await?;
        }
        Ok(Some(there.id))
    }

    /// Puts the files into a container that never ran.
    async fn fill(&self, id: &str, spec: &ContainerSpec) -> Result<(), DockerError> {
        if spec.files.is_empty() {
            return Ok(());
        }
        let doing = format!("put files into the container {}", spec.name);
        let missing = self.missing_folders(id, &spec.files, &doing).await?;
        let archive = archive::archive(&spec.files, &missing).map_err(|error| {
            DockerError::new(DockerErrorKind::Refused, format!("could not {doing}: {error}"))
        })?;
        let options = UploadToContainerOptionsBuilder::new().path("/").build();
        let upload = self.docker.upload_to_container(id, Some(options), body_full(archive.into()));
        self.within(ANSWER, &doing, upload).await
    }

    async fn missing_folders(
        &self,
        id: &str,
        files: &[SecretFile],
        doing: &str,
    ) -> Result<BTreeSet<String>, DockerError> {
        let mut missing = BTreeSet::new();
        for folder in archive::folders(files) {
            let options = ContainerArchiveInfoOptionsBuilder::new().path(&folder).build();
            let look = self.docker.get_container_archive_info(id, Some(options));
            match self.within(ANSWER, doing, look).await {
                Ok(_) => {}
                Err(error) if error.kind() == DockerErrorKind::NotFound => {
                    missing.insert(folder);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(missing)
    }

    /// Starts a container; one that runs already is left alone.
    ///
    /// # Errors
    /// When there is no such container, or its program cannot be started: the engine's words say why.
    pub async fn start(&self, id: &str) -> Result<(), DockerError> {
        let start = self.docker.start_container(id, None::<StartContainerOptions>);
        self.within(ANSWER, &format!("start the container {id}"), start).await
    }

    /// Says whether the engine is to start a container again when it ends, and when the engine itself was restarted.
    ///
    /// # Errors
    /// When there is no such container, or the engine cannot do it.
    pub async fn restart_by_itself(&self, id: &str, again: bool) -> Result<(), DockerError> {
        let change = ContainerUpdateBody {
            restart_policy: Some(body::restart_policy(again)),
            ..ContainerUpdateBody::default()
        };
        let doing = format!("change when the container {id} is started again");
        self.within(ANSWER, &doing, self.docker.update_container(id, change)).await
    }

    /// Asks a container to end for good, and kills it after `grace`; one that has ended or is gone is no error.
    ///
    /// # Errors
    /// When the engine cannot do it.
    pub async fn stop(&self, id: &str, grace: Duration) -> Result<(), DockerError> {
        match self.restart_by_itself(id, false).await {
            Err(error) if error.kind() == DockerErrorKind::NotFound => return Ok(()),
            // One that is being removed, or is between two starts, takes no changes, and needs none: the engine
            // does not start again what it was asked to stop.
            Err(error) if matches!(error.kind(), DockerErrorKind::Conflict | DockerErrorKind::Refused) => {}
            done => done?,
        }
        let limit = grace.saturating_add(ANSWER);
        let seconds = i32::try_from(body::whole_seconds(grace)).unwrap_or(i32::MAX);
        let options = StopContainerOptionsBuilder::new().t(seconds).build();
        // The engine answers when the container has ended: that may take longer than other answers.
        let patient = self.docker.clone().with_timeout(limit);
        let stop = patient.stop_container(id, Some(options));
        match self.within(limit, &format!("stop the container {id}"), stop).await {
            Err(error) if error.kind() == DockerErrorKind::NotFound => Ok(()),
            done => done,
        }
    }

    /// Removes a container, running or not, with the unnamed volumes that were made for it; returns when it is gone.
    ///
    /// # Errors
    /// When the engine cannot do it.
    pub async fn remove(&self, id: &str) -> Result<(), DockerError> {
        let doing = format!("remove the container {id}");
        let deadline = Instant::now() + ANSWER;
        loop {
            let options = RemoveContainerOptionsBuilder::new().force(true).v(true).build();
            let remove = self.docker.remove_container(id, Some(options));
            match self.within(ANSWER, &doing, remove).await {
                Err(error) if error.kind() == DockerErrorKind::NotFound => return Ok(()),
                // Somebody else is removing it just now: it counts when it is gone.
                Err(error) if error.kind() == DockerErrorKind::Conflict && Instant::now() < deadline => {
                    sleep(LOOK_AGAIN).await;
                }
                done => return done,
            }
        }
    }

    /// Every container, running or not, that carries all of these labels, by name.
    ///
    /// # Errors
    /// When the engine cannot be asked.
    pub async fn list(&self, labels: &[(&str, &str)]) -> Result<Vec<Container>, DockerError> {
        let wanted: Vec<String> = labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let filters = HashMap::from([("label".to_owned(), wanted)]);
        let options = ListContainersOptionsBuilder::new().all(true).filters(&filters).build();
        let list = self.docker.list_containers(Some(options));
        let mut found = Vec::new();
        for summary in self.within(ANSWER, "list containers", list).await? {
            // One that is gone meanwhile is left out.
            if let Some(id) = summary.id
                && let Some(container) = self.inspect(&id).await?
            {
                found.push(container);
            }
        }
        found.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(found)
    }

    /// Every container of an owner with this role, running or not, by name.
    ///
    /// # Errors
    /// When the engine cannot be asked.
    pub async fn owned(&self, owner: &Tenant, role: &str) -> Result<Vec<Container>, DockerError> {
        let labels = owner.labels(role);
        let wanted: Vec<_> = labels.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        self.list(&wanted).await
    }

    /// One container by id or name; none when there is none.
    ///
    /// # Errors
    /// When the engine cannot be asked.
    pub async fn inspect(&self, id_or_name: &str) -> Result<Option<Container>, DockerError> {
        let Some(found) = self.described(id_or_name).await? else { return Ok(None) };
        let memory = found.host_config.as_ref().and_then(|host| host.memory);
        let limited = memory.is_some_and(|bytes| bytes > 0);
        let Some(found) = found::container(found) else { return Ok(None) };
        Ok(Some(Container { state: self.with_memory(&found.id, found.state, limited).await, ..found }))
    }

    /// The engine's own description of a container.
    pub(super) async fn described(
        &self,
        id_or_name: &str,
    ) -> Result<Option<ContainerInspectResponse>, DockerError> {
        let look = self.docker.inspect_container(id_or_name, None::<InspectContainerOptions>);
        match self.within(ANSWER, &format!("look at the container {id_or_name}"), look).await {
            Ok(found) => Ok(Some(found)),
            Err(error) if error.kind() == DockerErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}
