//! A real registry on the loopback address: open, with a password, or with tokens as the large ones do it.
//!
//! An engine takes it over plain HTTP, as it does with all of 127.0.0.0/8. Images are put in over its API.

use std::process::Command;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::certificate::put;
use crate::daemon::{Daemon, lacking, program};
use crate::http1::{Answer, Head, Http1, request};
use crate::image::{Blob, Built, INDEX, Image, MANIFEST, index};
use crate::port::Port;
use crate::until::{PATIENCE, until, within};

use self::tokens::Tokens;

mod tokens;

/// The user that registries with a password know.
pub const USER: &str = "tester";
/// Its password: in standard base64 it has both `+` and `/`, which an engine that expects the URL's alphabet refuses.
pub const PASSWORD: &str = "p+w/with?odd~chars>>>???";

/// A running registry.
pub struct Registry {
    port: Port,
    folder: TempDir,
    guard: Guard,
    server: Option<Daemon>,
}

/// Who may do what.
enum Guard {
    /// Everybody, everything.
    Open,
    /// Only [`USER`], by HTTP's basic authentication.
    Basic,
    /// [`USER`] everything, others only pull; with a token from a service of its own.
    Tokens(Tokens),
    /// [`USER`] everything, others nothing; with a token from a service of its own.
    PrivateTokens(Tokens),
}

impl Registry {
    /// Why this machine cannot run one, if it cannot.
    #[must_use]
    pub fn lacks() -> Option<String> {
        lacking(&["docker-registry", "htpasswd"])
    }

    /// One that is open to everybody.
    ///
    /// # Panics
    /// When it does not come up.
    pub async fn start() -> Self {
        Self::guarded(Guard::Open).await
    }

    /// One that asks for [`USER`] and [`PASSWORD`].
    ///
    /// # Panics
    /// When it does not come up.
    pub async fn with_basic_auth() -> Self {
        Self::guarded(Guard::Basic).await
    }

    /// One that sends its clients to a token service: everybody may pull, [`USER`] may push.
    ///
    /// # Panics
    /// When it does not come up.
    pub async fn with_tokens() -> Self {
        Self::guarded(Guard::Tokens(Tokens::start(true).await)).await
    }

    /// One that sends its clients to a token service, where nobody but [`USER`] gets anything.
    ///
    /// # Panics
    /// When it does not come up.
    pub async fn with_private_tokens() -> Self {
        Self::guarded(Guard::PrivateTokens(Tokens::start(false).await)).await
    }

    async fn guarded(guard: Guard) -> Self {
        let folder = tempfile::Builder::new().prefix("switcher-registry-").tempdir().expect("a folder");
        let mut registry = Self { port: Port::reserve(), folder, guard, server: None };
        put(&registry.folder.path().join("config.json"), &registry.configuration().to_string());
        registry.restart().await;
        registry
    }

    /// The configuration; JSON is YAML too.
    fn configuration(&self) -> Value {
        let folder = self.folder.path();
        let mut configuration = json!({
            "version": "0.1",
            "log": {"level": "warn"},
            "storage": {
                "filesystem": {"rootdirectory": folder.join("data")},
                "delete": {"enabled": true},
            },
            "http": {"addr": self.host(), "secret": "test"},
        });
        match &self.guard {
            Guard::Open => {}
            Guard::Basic => {
                let file = folder.join("htpasswd");
                let made =
                    Command::new("htpasswd").args(["-Bbn", USER, PASSWORD]).output().expect("htpasswd");
                put(&file, &String::from_utf8_lossy(&made.stdout));
                configuration["auth"] = json!({"htpasswd": {"realm": "test", "path": file}});
            }
            Guard::Tokens(tokens) | Guard::PrivateTokens(tokens) => {
                let file = folder.join("issuer.pem");
                put(&file, &tokens.certificate());
                configuration["auth"] = json!({"token": {
                    "realm": tokens.url(), "service": tokens::SERVICE, "issuer": tokens::ISSUER,
                    "rootcertbundle": file,
                }});
            }
        }
        configuration
    }

    /// Stops it: nobody can reach it, and it forgets nothing.
    pub fn stop(&mut self) {
        self.server = None;
    }

    /// Starts it again.
    ///
    /// # Panics
    /// When it does not come up.
    pub async fn restart(&mut self) {
        // It takes every variable REGISTRY_… for a setting, so it gets an environment of its own.
        let mut command = Command::new(program("docker-registry").expect("docker-registry"));
        command.env_clear().arg("serve").arg(self.folder.path().join("config.json"));
        let mut server = Daemon::spawn("docker-registry", command);
        until(PATIENCE, "the registry to answer", || {
            server.insist();
            async { Http1::try_connect(self.port.address()).await.is_ok() }
        })
        .await;
        self.server = Some(server);
    }

    /// Host and port, as they stand in an image's name.
    #[must_use]
    pub fn host(&self) -> String {
        self.port.address().to_string()
    }

    /// The name of a repository: host, port and path.
    #[must_use]
    pub fn name(&self, repository: &str) -> String {
        format!("{}/{repository}", self.host())
    }

    /// The name of an image with its tag.
    #[must_use]
    pub fn image(&self, repository: &str, tag: &str) -> String {
        format!("{}:{tag}", self.name(repository))
    }

    /// What `docker login` would leave in `config.json`.
    #[must_use]
    pub fn login(&self) -> Value {
        json!({"auths": {self.host(): {"auth": BASE64_STANDARD.encode(format!("{USER}:{PASSWORD}"))}}})
    }

    /// The requests that it has answered, one a line: method, path and status.
    #[must_use]
    pub fn requests(&self) -> Vec<String> {
        let lines = self.server.as_ref().map(|server| server.output().lines()).unwrap_or_default();
        // The common log format quotes the request line.
        let request = |line: &String| {
            let mut parts = line.split('"').skip(1);
            let (request, after) = (parts.next()?, parts.next()?);
            let request = request.strip_suffix(" HTTP/1.1")?;
            Some(format!("{request} {}", after.split_whitespace().next()?))
        };
        lines.iter().filter_map(request).collect()
    }

    /// Puts an image in, under a tag. Its digest.
    ///
    /// # Panics
    /// When the registry refuses it.
    pub async fn push(&self, repository: &str, tag: &str, image: &Image) -> String {
        let built = image.build();
        self.put_image(repository, &built, tag).await;
        built.manifest.digest
    }

    /// Puts images for several platforms in, under one tag. The digest of the index.
    ///
    /// # Panics
    /// When the registry refuses them.
    pub async fn push_index(&self, repository: &str, tag: &str, images: &[Image]) -> String {
        let built: Vec<Built> = images.iter().map(Image::build).collect();
        for image in &built {
            self.put_image(repository, image, &image.manifest.digest).await;
        }
        let index = index(&built);
        self.put_manifest(repository, tag, INDEX, &index).await;
        index.digest
    }

    async fn put_image(&self, repository: &str, image: &Built, name: &str) {
        for blob in image.layers.iter().chain([&image.config]) {
            self.put_blob(repository, blob).await;
        }
        self.put_manifest(repository, name, MANIFEST, &image.manifest).await;
    }

    async fn put_manifest(&self, repository: &str, name: &str, media_type: &str, manifest: &Blob) {
        let path = format!("/v2/{repository}/manifests/{name}");
        let answer = self.call(repository, "PUT", &path, media_type, &manifest.bytes).await;
        assert_eq!(answer.status, 201, "{path}: {}", answer.text());
    }

    async fn put_blob(&self, repository: &str, blob: &Blob) {
        let path = format!("/v2/{repository}/blobs/{}", blob.digest);
        if self.head(repository, &path, "*/*").await.status() == 200 {
            return;
        }
        let begin = format!("/v2/{repository}/blobs/uploads/");
        let begun = self.call(repository, "POST", &begin, "", &[]).await;
        assert_eq!(begun.status, 202, "{begin}: {}", begun.text());
        let place = begun.header("location").expect("a place to upload to");
        let place = place.strip_prefix("http://registry").expect("a place of this registry");
        let join = if place.contains('?') { '&' } else { '?' };
        let place = format!("{place}{join}digest={}", blob.digest);
        let answer = self.call(repository, "PUT", &place, "application/octet-stream", &blob.bytes).await;
        assert_eq!(answer.status, 201, "{place}: {}", answer.text());
    }

    /// The digest that a tag stands for now; none when there is no such tag.
    ///
    /// # Panics
    /// When the registry does not answer.
    pub async fn digest(&self, repository: &str, tag: &str) -> Option<String> {
        let path = format!("/v2/{repository}/manifests/{tag}");
        let head = self.head(repository, &path, &format!("{MANIFEST}, {INDEX}")).await;
        head.get("docker-content-digest").filter(|_| head.status() == 200).map(str::to_owned)
    }

    /// Removes an image, so that it cannot be pulled any more: its configuration too, for an engine may remember the manifest
    /// for a while.
    ///
    /// # Panics
    /// When there is no such image.
    pub async fn remove(&self, repository: &str, digest: &str) {
        let path = format!("/v2/{repository}/manifests/{digest}");
        let manifest = self.call(repository, "GET", &path, "", &[]).await.json();
        let config = manifest["config"]["digest"].as_str().expect("a configuration");
        for path in [path, format!("/v2/{repository}/blobs/{config}")] {
            let answer = self.call(repository, "DELETE", &path, "", &[]).await;
            assert_eq!(answer.status, 202, "{path}: {}", answer.text());
        }
    }

    async fn call(
        &self,
        repository: &str,
        method: &str,
        path: &str,
        media_type: &str,
        body: &[u8],
    ) -> Answer {
        let authorization = self.authorization(repository).await;
        let mut headers = vec![("Host", "registry"), ("Connection", "close")];
        headers.extend(authorization.iter().map(|value| ("Authorization", value.as_str())));
        if !media_type.is_empty() {
            headers.push(("Content-Type", media_type));
        }
        Http1::connect(self.port.address()).await.exchange(&request(method, path, &headers, body)).await
    }

    /// The answer to a HEAD, whose length is that of a body which does not come.
    async fn head(&self, repository: &str, path: &str, accept: &str) -> Head {
        let authorization = self.authorization(repository).await;
        let mut headers = vec![("Host", "registry"), ("Connection", "close"), ("Accept", accept)];
        headers.extend(authorization.iter().map(|value| ("Authorization", value.as_str())));
        let mut connection = Http1::connect(self.port.address()).await;
        connection.send(&request("HEAD", path, &headers, b"")).await;
        within(PATIENCE, "the registry's answer", connection.head()).await
    }

    /// The harness itself may do everything.
    async fn authorization(&self, repository: &str) -> Option<String> {
        match &self.guard {
            Guard::Open => None,
            Guard::Basic => Some(format!("Basic {}", BASE64_STANDARD.encode(format!("{USER}:{PASSWORD}")))),
            Guard::Tokens(tokens) | Guard::PrivateTokens(tokens) => {
                Some(format!("Bearer {}", tokens.everything(repository)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::skip_or_fail;

    #[tokio::test]
    async fn what_was_pushed_is_there_under_its_digest_also_after_a_restart() {
        if let Some(why) = Registry::lacks() {
            return skip_or_fail(&why);
        }
        let mut registry = Registry::start().await;
        let digest = registry.push("acme/shop", "v1", &Image::new("v1")).await;
        assert_eq!(registry.digest("acme/shop", "v1").await, Some(digest.clone()));
        assert_eq!(registry.digest("acme/shop", "v2").await, None);
        let platforms = ["linux/amd64", "linux/arm64"].map(|p| Image::new("v2").platform(p));
        let index = registry.push_index("acme/shop", "v2", &platforms).await;
        registry.stop();
        assert!(Http1::try_connect(registry.port.address()).await.is_err(), "it is stopped");
        registry.restart().await;
        assert_eq!(registry.digest("acme/shop", "v2").await, Some(index));
        registry.remove("acme/shop", &digest).await;
        assert_eq!(registry.digest("acme/shop", "v1").await, None);
        until(PATIENCE, "its log of a request", || async {
            registry.requests().iter().any(|request| request == "HEAD /v2/acme/shop/manifests/v1 404")
        })
        .await;
    }

    #[tokio::test]
    async fn a_guarded_registry_serves_whom_it_knows_and_nobody_else() {
        if let Some(why) = Registry::lacks() {
            return skip_or_fail(&why);
        }
        assert!(BASE64_STANDARD.encode(format!("{{\"password\":\"{PASSWORD}\"}}")).contains(['+', '/']));
        for registry in [
            Registry::with_basic_auth().await,
            Registry::with_tokens().await,
            Registry::with_private_tokens().await,
        ] {
            let digest = registry.push("shop", "v1", &Image::new("v1")).await;
            assert_eq!(registry.digest("shop", "v1").await, Some(digest));
            let headers = [("Host", "registry"), ("Connection", "close")];
            let asked = request("GET", "/v2/shop/manifests/v1", &headers, b"");
            let refused = Http1::connect(registry.port.address()).await.exchange(&asked).await;
            assert_eq!(refused.status, 401);
            assert!(refused.header("www-authenticate").is_some());
        }
    }
}
