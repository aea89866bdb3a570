//! Containers on a real engine: one-off runs, and engines that die in the middle. What runs in the slots is in `slots`.

mod slots;

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use async_trait::async_trait;
use switcher::container::{ContainerSpec, ContainerState, Ended, Output, RunEnd, label};
use switcher::docker::{self, DockerErrorKind};
use switcher_config::Bytes;
use switcher_config::settings::{ContainerLimits, HealthcheckChoice};
use switcher_tests::engine::Engine;
use switcher_tests::registry::Registry;
use switcher_tests::until::{PATIENCE, until};
use switcher_tests::{Image, skip_or_fail};

const OLD: &str = "dep_01JBQR2K3M4N5P6Q7R8S9T0VWX";
const NEW: &str = "dep_01JBQR2K3M4N5P6Q7R8S9T0VWY";

/// Long enough for every run here that is to end by itself.
const LIMIT: Duration = Duration::from_secs(60);

/// An engine with one image on it, and the deployer's way to it.
struct Stage {
    engine: Engine,
    image: String,
}

impl Stage {
    fn lacks() -> Option<String> {
        Engine::lacks().or_else(Registry::lacks)
    }

    async fn with(image: Image) -> Self {
        let (engine, registry) = (Engine::start().await, Registry::start().await);
        registry.push("shop", image.version(), &image).await;
        let name = registry.image("shop", image.version());
        engine.pull(&name).await;
        Self { engine, image: name }
    }

    async fn docker(&self) -> docker::Engine {
        let host = self.engine.url().parse().expect("an address");
        docker::Engine::connect(&host).await.expect("an engine that answers")
    }

    fn one_off(&self, command: &[&str]) -> ContainerSpec {
        let labels = [(label::DEPLOYMENT, NEW), (label::ROLE, "migrate")];
        ContainerSpec {
            name: "shop-migrate".to_owned(),
            image: self.image.clone(),
            platform: None,
            labels: labels.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
            env: BTreeMap::new(),
            entrypoint: None,
            command: Some(command.iter().map(|&word| word.to_owned()).collect()),
            user: None,
            network: "none".to_owned(),
            address: None,
            volumes: Vec::new(),
            limits: ContainerLimits::default(),
            extra_hosts: Vec::new(),
            stop_timeout: Duration::from_secs(1),
            healthcheck: HealthcheckChoice::Image,
            restart: false,
            files: Vec::new(),
        }
    }

    async fn nothing_is_left(&self) {
        let left = self.engine.containers().await;
        assert!(left.is_empty(), "{left:#?}");
    }
}

/// Keeps what a run writes.
#[derive(Default)]
struct Kept {
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

#[async_trait]
impl Output for Kept {
    async fn stdout(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stdout.extend_from_slice(bytes);
        Ok(())
    }

    async fn stderr(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stderr.extend_from_slice(bytes);
        Ok(())
    }
}

/// Says when the first byte has come, and takes no second one.
struct First(Option<tokio::sync::oneshot::Sender<()>>);

#[async_trait]
impl Output for First {
    async fn stdout(&mut self, _: &[u8]) -> io::Result<()> {
        self.0.take().map_or(Ok(()), |tell| tell.send(()).map_err(|()| io::ErrorKind::BrokenPipe.into()))
    }

    async fn stderr(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stdout(bytes).await
    }
}

/// Refuses everything, as a full disk does.
struct Full;

#[async_trait]
impl Output for Full {
    async fn stdout(&mut self, _: &[u8]) -> io::Result<()> {
        Err(io::ErrorKind::StorageFull.into())
    }

    async fn stderr(&mut self, _: &[u8]) -> io::Result<()> {
        Err(io::ErrorKind::StorageFull.into())
    }
}

fn ended(code: i64) -> RunEnd {
    RunEnd::Ended(Ended { code, out_of_memory: false, error: None })
}

#[tokio::test]
async fn a_run_loses_no_output_and_leaves_nothing_behind() {
    if let Some(why) = Stage::lacks() {
        return skip_or_fail(&why);
    }
    let stage = Stage::with(Image::new("v1")).await;
    let docker = stage.docker().await;
    let mut kept = Kept::default();
    let run = docker.run(&stage.one_off(&["print", "all", "is", "well"]), LIMIT, &mut kept).await;
    assert_eq!(run.expect("a run"), ended(0));
    assert_eq!(
        (kept.stdout.as_slice(), kept.stderr.as_slice()),
        (b"all is well\n".as_slice(), b"".as_slice())
    );
    let mut kept = Kept::default();
    let run = docker.run(&stage.one_off(&["nonsense"]), LIMIT, &mut kept).await;
    assert_eq!(run.expect("a run"), ended(2), "what fails is no error of the engine");
    assert!(kept.stdout.is_empty() && !kept.stderr.is_empty(), "{:?}", String::from_utf8_lossy(&kept.stderr));
    stage.nothing_is_left().await;
}

#[tokio::test]
async fn a_run_that_cannot_begin_has_ended_and_says_why() {
    if let Some(why) = Stage::lacks() {
        return skip_or_fail(&why);
    }
    let stage = Stage::with(Image::new("v1")).await;
    let docker = stage.docker().await;
    let spec = ContainerSpec { entrypoint: Some(vec!["/nope".to_owned()]), ..stage.one_off(&[]) };
    let RunEnd::Ended(end) = docker.run(&spec, LIMIT, &mut Kept::default()).await.expect("a run") else {
        panic!("it did not take too long");
    };
    assert_eq!(end.code, 127);
    assert!(end.error.as_deref().is_some_and(|error| error.contains("/nope")), "{end:?}");
    let error = docker.run(&stage.one_off(&["print", "x"]), LIMIT, &mut Full).await.expect_err("a full disk");
    assert_eq!(error.kind(), DockerErrorKind::File, "{error}");
    stage.nothing_is_left().await;
}

#[tokio::test]
async fn a_run_that_takes_too_long_is_ended_and_removed() {
    if let Some(why) = Stage::lacks() {
        return skip_or_fail(&why);
    }
    let stage = Stage::with(Image::new("v1").env("IGNORE_TERM", "1")).await;
    let limit = Duration::from_secs(1);
    let run = stage.docker().await.run(&stage.one_off(&["serve"]), limit, &mut Kept::default()).await;
    assert_eq!(run.expect("a run"), RunEnd::TimedOut);
    stage.nothing_is_left().await;
}

#[tokio::test]
async fn memory_is_seen_before_the_container_is_gone() {
    if let Some(why) = Stage::lacks() {
        return skip_or_fail(&why);
    }
    let stage = Stage::with(Image::new("v1").env("MEMORY_AT_START_MB", "256")).await;
    let limits = ContainerLimits { memory: Some(Bytes(32 << 20)), ..ContainerLimits::default() };
    let spec = ContainerSpec { limits, ..stage.one_off(&["serve"]) };
    let run = stage.docker().await.run(&spec, LIMIT, &mut Kept::default()).await;
    assert_eq!(run.expect("a run"), RunEnd::Ended(Ended { code: 137, out_of_memory: true, error: None }));
    stage.nothing_is_left().await;
}

#[tokio::test]
async fn an_engine_that_is_killed_during_a_run_is_an_error_and_the_run_no_success() {
    if let Some(why) = Stage::lacks() {
        return skip_or_fail(&why);
    }
    let mut stage = Stage::with(Image::new("v1")).await;
    let (docker, spec) = (stage.docker().await, stage.one_off(&["serve"]));
    let (tell, told) = tokio::sync::oneshot::channel();
    let mut first = First(Some(tell));
    let killing = async {
        told.await.expect("the first line");
        stage.engine.kill();
    };
    let (run, ()) = tokio::join!(docker.run(&spec, LIMIT, &mut first), killing);
    let error = run.expect_err("the engine is gone");
    assert!(matches!(error.kind(), DockerErrorKind::Lost | DockerErrorKind::Unreachable), "{error}");
    stage.engine.restart().await;
    // The engine ends it when it comes back, which this program answers with code 0.
    let docker = stage.docker().await;
    let end = docker.reattach(&spec.name, LIMIT, &mut Kept::default()).await.expect("an engine that answers");
    assert!(matches!(&end, Some(RunEnd::Ended(end)) if end.code != 0), "{end:?}");
    stage.nothing_is_left().await;
    assert_eq!(docker.reattach(&spec.name, LIMIT, &mut Kept::default()).await, Ok(None));
}

#[tokio::test]
async fn somebody_who_comes_later_sees_all_of_a_run() {
    if let Some(why) = Stage::lacks() {
        return skip_or_fail(&why);
    }
    let stage = Stage::with(Image::new("v1")).await;
    let (docker, spec) = (stage.docker().await, stage.one_off(&["print", "done"]));
    docker.create(&spec).await.expect("made");
    docker.start(&spec.name).await.expect("started");
    until(PATIENCE, "the run to end", || async {
        matches!(docker.inspect(&spec.name).await, Ok(Some(found)) if matches!(found.state, ContainerState::Exited(_)))
    })
    .await;
    let mut kept = Kept::default();
    let end = docker.reattach(&spec.name, LIMIT, &mut kept).await;
    assert_eq!((end, kept.stdout.as_slice()), (Ok(Some(ended(0))), b"done\n".as_slice()));
    stage.nothing_is_left().await;
}
