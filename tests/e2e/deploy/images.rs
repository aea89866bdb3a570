//! Images on their way to a real engine: from real registries, open and guarded, and from files.

use std::path::Path;

use switcher::docker::{DockerErrorKind, Engine as Docker};
use switcher::host::HostAddress;
use switcher_config::ImageReference;
use switcher_tests::certificate::put;
use switcher_tests::image::architecture;
use switcher_tests::registry::{PASSWORD, USER};
use switcher_tests::{Engine, Image, PATIENCE, Registry, skip_or_fail, until};
use tempfile::TempDir;

fn lacks() -> Option<String> {
    Engine::lacks().or_else(Registry::lacks)
}

/// The engine as the deployer sees it, without any login.
async fn connect(engine: &Engine) -> Docker {
    let address: HostAddress = engine.url().parse().expect("an address");
    Docker::connect(&address).await.expect("an engine that answers")
}

fn named(text: &str) -> ImageReference {
    text.parse().expect("the name of an image")
}

/// A folder with the text as Docker's configuration file.
fn config(text: &str) -> TempDir {
    let folder = TempDir::new().expect("a folder");
    put(&folder.path().join("config.json"), text);
    folder
}

fn with_login(docker: &Docker, folder: &Path) -> Docker {
    docker.clone().with_credentials(Some(folder.to_owned()))
}

#[tokio::test]
async fn a_tag_is_pinned_to_its_digest_and_pulled_once_without_a_tag() {
    if let Some(why) = lacks() {
        return skip_or_fail(&why);
    }
    let (engine, registry) = (Engine::start().await, Registry::start().await);
    let docker = connect(&engine).await;
    let pushed =
        registry.push("acme/shop", "v1", &Image::new("v1").commit("c0ffee").padding(3_000_000)).await;
    let asked = named(&registry.image("acme/shop", "v1"));
    let resolved = docker.resolve(&asked, None).await.expect("it is there");
    assert_eq!(resolved.digest, pushed);
    assert_eq!(resolved.image.pinned, format!("{}@{pushed}", registry.name("acme/shop")));
    assert!(engine.digests().await.is_empty(), "asking pulls nothing");

    let mut told = Vec::new();
    let pulled =
        docker.pull(&resolved.image, &mut |progress| told.push(progress)).await.expect("it is pulled");
    assert_eq!((pulled.git_commit(), pulled.repo_tags.len()), (Some("c0ffee"), 0));
    assert_eq!(engine.digests().await, std::slice::from_ref(&resolved.image.pinned));
    let last = told.last().expect("progress");
    assert_eq!((last.layers, last.layers_done, last.bytes), (2, 2, last.bytes_total), "{told:?}");

    // The tag moves; the pinned image does not, and needs no registry any more.
    registry.push("acme/shop", "v1", &Image::new("another")).await;
    // The registry logs a request a moment after it is answered.
    let pushed = |line: &String| line.starts_with("PUT /v2/acme/shop/manifests/v1");
    until(PATIENCE, "both pushes to be logged", || async {
        registry.requests().into_iter().filter(pushed).count() == 2
    })
    .await;
    let before = registry.requests().len();
    let again = docker.pull(&resolved.image, &mut |_| ()).await.expect("it is there already");
    assert_eq!((again.id, registry.requests().len()), (pulled.id, before));
}

#[tokio::test]
async fn guarded_registries_take_the_login_of_dockers_file_and_say_what_is_missing_without_it() {
    if let Some(why) = lacks() {
        return skip_or_fail(&why);
    }
    let engine = Engine::start().await;
    let docker = connect(&engine).await;
    for registry in [Registry::with_basic_auth().await, Registry::with_private_tokens().await] {
        registry.push("acme/shop", "v1", &Image::new("v1")).await;
        let asked = named(&registry.image("acme/shop", "v1"));
        let refused = docker.resolve(&asked, None).await.expect_err("nobody logged in");
        assert_eq!(refused.kind(), DockerErrorKind::Unauthorized, "{refused}");
        assert!(refused.to_string().contains(&format!("`docker login {}`", registry.host())), "{refused}");

        let folder =
            config(&registry.login().to_string().replace(r#""auth":""#, r#""auth":"ZGV2OmJhZA==","x":""#));
        let refused =
            with_login(&docker, folder.path()).resolve(&asked, None).await.expect_err("a wrong login");
        assert_eq!(refused.kind(), DockerErrorKind::Unauthorized, "{refused}");
        assert!(refused.to_string().contains("do not suffice"), "{refused}");

        let folder = config(&registry.login().to_string());
        let known = with_login(&docker, folder.path());
        let resolved = known.resolve(&asked, None).await.expect("with the login it is there");
        known.pull(&resolved.image, &mut |_| ()).await.expect("and can be pulled");
        let refused =
            known.resolve(&named(&registry.image("acme/shop", "v9")), None).await.expect_err("no such tag");
        assert_eq!(refused.kind(), DockerErrorKind::ImageUnknown, "{refused}");
    }
}

#[tokio::test]
async fn a_registry_that_anyone_may_pull_from_is_asked_without_a_login() {
    if let Some(why) = lacks() {
        return skip_or_fail(&why);
    }
    let (engine, registry) = (Engine::start().await, Registry::with_tokens().await);
    let docker = connect(&engine).await;
    registry.push("acme/shop", "v1", &Image::new("v1")).await;
    let resolved =
        docker.resolve(&named(&registry.image("acme/shop", "v1")), None).await.expect("it is there");
    docker.pull(&resolved.image, &mut |_| ()).await.expect("it is pulled");
}

#[tokio::test]
async fn a_credential_helper_that_is_missing_is_named_and_no_secret_is() {
    if let Some(why) = lacks() {
        return skip_or_fail(&why);
    }
    let (engine, registry) = (Engine::start().await, Registry::with_basic_auth().await);
    let folder = config(&format!(r#"{{"credHelpers": {{"{}": "of-nobody"}}}}"#, registry.host()));
    let docker = with_login(&connect(&engine).await, folder.path());
    let refused = docker.resolve(&named(&registry.image("shop", "v1")), None).await.expect_err("no helper");
    assert_eq!(refused.kind(), DockerErrorKind::Credentials);
    assert!(refused.to_string().contains("docker-credential-of-nobody"), "{refused}");
    assert!(!refused.to_string().contains(PASSWORD) && !refused.to_string().contains(USER), "{refused}");
}

#[tokio::test]
async fn of_several_platforms_the_engines_own_is_taken_and_a_foreign_image_is_refused() {
    if let Some(why) = lacks() {
        return skip_or_fail(&why);
    }
    let (engine, registry) = (Engine::start().await, Registry::start().await);
    let docker = connect(&engine).await;
    let own = format!("linux/{}", architecture());
    assert_eq!(docker.platform(), own);
    let both = [own.as_str(), "linux/riscv64"].map(|platform| Image::new("v1").platform(platform));
    let index = registry.push_index("acme/shop", "v1", &both).await;
    let resolved =
        docker.resolve(&named(&registry.image("acme/shop", "v1")), None).await.expect("it is there");
    assert_eq!((resolved.digest, resolved.image.platform.as_str()), (index, own.as_str()));
    let pulled = docker.pull(&resolved.image, &mut |_| ()).await.expect("it is pulled");
    assert_eq!(pulled.platform, own);

    let foreign = ["linux/riscv64", "linux/s390x"].map(|platform| Image::new("v2").platform(platform));
    registry.push_index("acme/shop", "v2", &foreign).await;
    let refused =
        docker.resolve(&named(&registry.image("acme/shop", "v2")), None).await.expect_err("foreign");
    assert_eq!(refused.kind(), DockerErrorKind::Platform);
    assert!(refused.to_string().contains("linux/riscv64, linux/s390x"), "{refused}");
    let wanted = docker.resolve(&named(&registry.image("acme/shop", "v2")), Some("linux/s390x")).await;
    assert_eq!(wanted.expect("it was asked for").image.platform, "linux/s390x");
}

#[tokio::test]
async fn without_its_registry_a_digest_that_is_there_can_be_deployed_and_a_tag_cannot() {
    if let Some(why) = lacks() {
        return skip_or_fail(&why);
    }
    let (engine, mut registry) = (Engine::start().await, Registry::start().await);
    let docker = connect(&engine).await;
    registry.push("acme/shop", "v1", &Image::new("v1")).await;
    let tag = registry.image("acme/shop", "v1");
    engine.pull(&tag).await;
    let pinned = docker.resolve(&named(&tag), None).await.expect("it is there").image.pinned;
    registry.stop();
    let resolved = docker.resolve(&named(&pinned), None).await.expect("it lies on the engine");
    assert!(resolved.note.is_some_and(|note| note.contains("does not answer")));
    docker.pull(&resolved.image, &mut |_| ()).await.expect("it lies on the engine");
    let refused = docker.resolve(&named(&tag), None).await.expect_err("a tag may have moved");
    assert_eq!(refused.kind(), DockerErrorKind::RegistryUnreachable);
    assert!(refused.to_string().contains(&pinned), "it offers what is there: {refused}");
    let absent = named(&registry.image("acme/other", "v1"));
    assert_eq!(
        docker.resolve(&absent, None).await.expect_err("gone").kind(),
        DockerErrorKind::RegistryUnreachable
    );
}

#[tokio::test]
async fn an_image_comes_from_a_file_and_is_pinned_by_its_id() {
    if let Some(why) = lacks() {
        return skip_or_fail(&why);
    }
    let engine = Engine::start().await;
    let docker = connect(&engine).await;
    let folder = TempDir::new().expect("a folder");
    let file = folder.path().join("shop.tar");
    Image::new("v1").save(&file, "acme/shop:v1");
    let mut last = None;
    let loaded = docker.load(&file, &mut |progress| last = Some(progress)).await.expect("it is loaded");
    assert_eq!(loaded.tags, ["acme/shop:v1"]);
    assert!(last.is_some_and(|progress| progress.bytes == progress.bytes_total), "{last:?}");
    docker.suits(&loaded.image, None).expect("it is made for this engine");
    let pinned = loaded.pinned(named("acme/shop:v1"));
    assert!(pinned.pinned.starts_with("sha256:"), "{pinned:?}");
    let there = docker.pull(&pinned, &mut |_| ()).await.expect("it needs no registry");
    assert_eq!(there.id, loaded.id);

    let damaged = folder.path().join("damaged.tar");
    put(&damaged, "no image");
    for (file, word) in [(&damaged, "docker save"), (&folder.path().join("absent.tar"), "cannot be read")] {
        let refused = docker.load(file, &mut |_| ()).await.expect_err("no image");
        assert_eq!(refused.kind(), DockerErrorKind::File, "{refused}");
        assert!(refused.to_string().contains(word), "{refused}");
    }
}

#[tokio::test]
async fn an_image_that_a_container_uses_is_not_removed() {
    if let Some(why) = lacks() {
        return skip_or_fail(&why);
    }
    let (engine, registry) = (Engine::start().await, Registry::start().await);
    let docker = connect(&engine).await;
    for version in ["v1", "v2"] {
        registry.push("acme/shop", version, &Image::new(version)).await;
        let resolved =
            docker.resolve(&named(&registry.image("acme/shop", version)), None).await.expect("there");
        docker.pull(&resolved.image, &mut |_| ()).await.expect("it is pulled");
    }
    let stored = docker.images(&named(&registry.name("acme/shop"))).await.expect("a list");
    let [used, free] = stored.as_slice() else { panic!("two images: {stored:?}") };
    let spec = serde_json::json!({"Image": used.names[0], "HostConfig": {"NetworkMode": "none"}});
    engine.run("shop", &spec).await;
    let refused = docker.remove_image(&used.names[0]).await.expect_err("a container uses it");
    assert_eq!(refused.kind(), DockerErrorKind::Conflict, "{refused}");
    assert_eq!(docker.remove_image(&free.names[0]).await, Ok(true));
    assert_eq!(docker.remove_image(&free.names[0]).await, Ok(false), "it is gone already");
    let left = docker.images(&named(&registry.name("acme/shop"))).await.expect("a list");
    assert_eq!(left, std::slice::from_ref(used));
    assert!(docker.images(&named(&registry.name("acme/shopping"))).await.expect("a list").is_empty());
}

#[tokio::test]
async fn an_engine_that_is_gone_is_told_from_one_that_refuses() {
    if let Some(why) = lacks() {
        return skip_or_fail(&why);
    }
    let mut engine = Engine::start().await;
    let docker = connect(&engine).await;
    assert_eq!(docker.image("acme/nothing:v1").await, Ok(None));
    engine.kill();
    let lost = docker.image("acme/nothing:v1").await.expect_err("the engine is gone");
    assert_eq!(lost.kind(), DockerErrorKind::Unreachable, "{lost}");
    assert!(lost.to_string().contains(&engine.url()), "{lost}");
}
