//! From a command line to the engine it means, and to the proxy beside it.
//!
//! A server named by `--host ssh://…` (or by the configuration) has its proxy there too: one tunnel carries both, opened
//! before the command begins. `$DOCKER_HOST` names an engine only, as everywhere else.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{HostAddress, InvalidHost, SshHost, Tunnel, TunnelError};
use crate::code::Code;
use crate::configuration;
use crate::context::Context;
use crate::docker::{DockerError, Engine};
use crate::failure::{Failure, Live};

/// Where a proxy listens unless its configuration says otherwise.
const ADMIN: &str = "/run/switcher/admin.sock";

/// A server whose engine and proxy are reached through one tunnel.
#[derive(Debug)]
pub(crate) struct Remote {
    tunnel: Arc<Tunnel>,
    /// Whether the proxy answered, else why not; the engine is asked when it is needed.
    admin: Result<(), String>,
}

impl Context {
    /// Opens the tunnel when the command is for a server behind `ssh`; else nothing.
    pub(crate) async fn reach(&self) -> Result<(), Failure> {
        let Some(HostAddress::Ssh(host)) = self.named_host()? else { return Ok(()) };
        let tunnel = self.tunnel(&host).await?;
        // The proxy may be missing on a server that is being set up; commands that need it say so.
        let admin = tunnel.admin_answers().await;
        // Nobody else opens one: this is called once, before the command.
        let _ = self.remote.set(Remote { tunnel, admin });
        Ok(())
    }

    /// This end of the admin socket of a server behind `ssh`.
    pub(crate) fn remote_admin(&self) -> Option<Result<PathBuf, Failure>> {
        let remote = self.remote.get()?;
        Some(match &remote.admin {
            Ok(()) => Ok(remote.tunnel.admin()),
            Err(sentence) => Err(self.unreachable(Code::HostProxy, sentence)),
        })
    }

    /// Connects to the engine that `--host`, the configuration, `$DOCKER_HOST` or Docker's own default names.
    ///
    /// # Errors
    /// When nobody answers there, or it may not be used.
    pub async fn engine(&self) -> Result<Engine, Failure> {
        let engine = match self.remote.get() {
            Some(Remote { tunnel, .. }) => Engine::through(Arc::clone(tunnel)).await,
            None => {
                let host = self.host()?;
                self.warn_of_plain_tcp(&host);
                match host {
                    HostAddress::Ssh(host) => Engine::through(self.tunnel(&host).await?).await,
                    HostAddress::Unix(_) | HostAddress::Tcp(_) => Engine::connect(&host).await,
                }
            }
        };
        engine
            .map(|engine| engine.with_credentials(self.surroundings.docker_config.clone()))
            .map_err(|error| self.docker_failure(&error, Live::Unchanged, self.again()))
    }

    /// What an engine did not do, as a failure of the command.
    #[must_use]
    pub fn docker_failure(&self, error: &DockerError, live: Live, next: impl Into<String>) -> Failure {
        Failure::new(error.kind().code(), error.to_string(), live, next)
    }

    /// The engine's address.
    fn host(&self) -> Result<HostAddress, Failure> {
        let host = match (self.named_host()?, &self.surroundings.docker_host) {
            (Some(host), _) => host,
            (None, Some(text)) => text
                .parse()
                .map_err(|error: InvalidHost| self.bad_host(Code::HostBad, "$DOCKER_HOST", &error))?,
            (None, None) => HostAddress::local(),
        };
        Ok(match &self.surroundings.docker_certificates {
            Some(folder) => host.with_certificates(folder.clone()),
            None => host,
        })
    }

    /// The address that `--host` or the configuration names.
    fn named_host(&self) -> Result<Option<HostAddress>, Failure> {
        if let Some(text) = &self.global.host {
            let host = text.parse().map_err(|error| self.bad_host(Code::HostBad, "--host", &error))?;
            return Ok(Some(host));
        }
        // A configuration that cannot be used is reported by the commands that need more of it than this.
        let configured =
            configuration::load(self, "").ok().and_then(|loaded| loaded.settings.switcher.docker_host);
        configured
            .map(|text| {
                text.parse().map_err(|error| self.bad_host(Code::ConfigBad, "switcher.docker_host", &error))
            })
            .transpose()
    }

    async fn tunnel(&self, host: &SshHost) -> Result<Arc<Tunnel>, Failure> {
        self.reporter.waiting(&format!("reaching {host} by ssh"));
        let admin = self.admin_path()?;
        let place = self.surroundings.runtime_dir.as_deref().filter(|place| place.is_dir());
        let tunnel = Tunnel::open(host, &admin, place.unwrap_or(Path::new("/tmp"))).await;
        self.reporter.done();
        tunnel.map(Arc::new).map_err(|error| match error {
            TunnelError::NoPlace { .. } => {
                Failure::new(Code::Internal, error.to_string(), Live::Unchanged, self.again())
            }
            TunnelError::NoSsh { .. } | TunnelError::Refused { .. } | TunnelError::Slow { .. } => {
                self.unreachable(Code::HostUnreachable, &error.to_string())
            }
        })
    }

    /// The path of the admin socket on the server: as named, as configured here, or the usual one.
    fn admin_path(&self) -> Result<PathBuf, Failure> {
        if let Some(named) = self.named_admin() {
            return Ok(named);
        }
        match configuration::admin_socket_if_any(self, &self.command("config check"))? {
            Some(configured) => Ok(configured),
            None => Ok(PathBuf::from(ADMIN)),
        }
    }

    fn warn_of_plain_tcp(&self, host: &HostAddress) {
        if let HostAddress::Tcp(tcp) = host
            && tcp.certificates.is_none()
            && !tcp.is_loopback()
        {
            self.reporter.step(&format!(
                "warning: {host} is spoken to without TLS: whoever is on the way can read everything and rule the \
                 machine; use ssh://, or $DOCKER_TLS_VERIFY=1 and $DOCKER_CERT_PATH"
            ));
        }
    }

    fn bad_host(&self, code: Code, source: &str, error: &InvalidHost) -> Failure {
        Failure::new(code, format!("{source}: {error}"), Live::Unchanged, self.again())
    }

    fn unreachable(&self, code: Code, sentence: &str) -> Failure {
        Failure::new(code, sentence, Live::No, self.again())
    }
}
