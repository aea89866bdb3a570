//! `switcher doctor`: looks at everything that a deployment needs, changes nothing, and names a remedy for each fault.
//!
//! The judging is `doctor`'s; here the facts are gathered, side by side and with a deadline each, so that one that
//! hangs or fails stops no other.

mod application;
mod clock;
mod machine;
mod secrets;

use std::pin::Pin;
use std::time::Duration;

use futures::future::join_all;
use jiff::Timestamp;
use serde_json::json;
use switcher_config::settings::RuntimeKind;
use switcher_config::wire::Status;
use switcher_config::{AppName, Loaded, Report};
use tokio::time::timeout;

use super::{Outcome, interrupt, interrupted_early};
use crate::code::Code;
use crate::configuration;
use crate::container::label;
use crate::context::Context;
use crate::deploy::site::Described;
use crate::docker::Engine;
use crate::doctor::{self, Finding, containers, counts, ports, proxy};
use crate::failure::{Failure, Live};
use crate::redact::Redactor;

/// How long a check may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// A check under way.
type Check<'a> = Pin<Box<dyn Future<Output = Vec<Finding>> + 'a>>;

/// Examines, and tells.
pub(super) async fn run(ctx: &Context) -> Outcome {
    let mut interrupt = interrupt(ctx)?;
    let examined = interrupt.unless(Box::pin(examine(ctx))).await;
    let (findings, remote, bad) = examined.map_err(|end| interrupted_early(ctx, end))?;
    ctx.reporter.done();
    let [ok, warnings, failed] = counts(&findings);
    let page = doctor::page(&findings, remote.as_deref());
    let value = json!({
        "at": Timestamp::now(), "server": remote, "ok": ok, "warnings": warnings, "failed": failed,
        "findings": findings,
    });
    ctx.console.result(&page.render(ctx.console.width, ctx.console.colour), &value)?;
    if failed == 0 {
        return Ok(());
    }
    let code = if bad { Code::ConfigBad } else { Code::DoctorFailed };
    let checks = if failed == 1 { "1 check".to_owned() } else { format!("{failed} checks") };
    let message = format!("{checks} failed; each has its remedy beside it");
    Err(Failure::new(code, message, Live::Unchanged, ctx.again()))
}

/// What everything else is looked at by.
struct Around<'a> {
    ctx: &'a Context,
    loaded: Option<Loaded>,
    /// How the server is called that is reached by ssh.
    remote: Option<String>,
    /// The proxy's word; none when it does not answer.
    status: Option<Status>,
    /// The engine; none when it does not answer, or nobody needs it.
    engine: Option<Engine>,
}

/// The findings, the server's name where it is another machine, and whether the configuration is bad.
async fn examine(ctx: &Context) -> (Vec<Finding>, Option<String>, bool) {
    let mut findings = Vec::new();
    let loaded = match configuration::read(ctx) {
        Ok(loaded) => {
            let files: Vec<String> = loaded.files.iter().map(|file| file.display().to_string()).collect();
            findings.push(Finding::ok("configuration", format!("{} can be used", files.join(" and "))));
            findings.extend(secrets::look(&loaded));
            Some(loaded)
        }
        Err(report) => {
            findings.extend(problems(&report));
            None
        }
    };
    let bad = loaded.is_none();
    let reached = ctx.reach().await;
    let server = ctx.remote.get().is_some() || reached.is_err();
    let configured = loaded.as_ref().and_then(|loaded| loaded.settings.switcher.docker_host.clone());
    let remote = ctx.global.host.clone().or(configured).filter(|_| server);
    let mut around = Around { ctx, loaded, remote, status: None, engine: None };
    match &reached {
        Ok(()) => findings.extend(around.meet().await),
        Err(failure) => findings.push(Finding::of("ssh", failure, None)),
    }
    let checks = checks(&around).into_iter().map(|(name, check)| async move {
        timeout(PATIENCE, check).await.unwrap_or_else(|_| {
            let says = format!("there was no answer within {} s", PATIENCE.as_secs());
            vec![Finding::warning(name, says, "try again, and look at what it asks: the network, a disk")]
        })
    });
    ctx.reporter.waiting("looking at everything a deployment needs");
    findings.extend(join_all(checks).await.into_iter().flatten());
    (findings, around.remote, bad)
}

fn problems(report: &Report) -> Vec<Finding> {
    let found = report.problems.iter();
    found
        .map(|problem| Finding::problem("configuration", problem, "`switcher config check` shows the place"))
        .collect()
}

impl Around<'_> {
    /// Asks the proxy and the engine, which others need the answers of.
    async fn meet(&mut self) -> Vec<Finding> {
        let (status, engine) = futures::future::join(self.proxy(), self.docker()).await;
        let mut findings = Vec::new();
        match status {
            Ok(status) => {
                let ours = env!("CARGO_PKG_VERSION");
                findings.extend(proxy::check(&status, ours, &self.apps(), Timestamp::now()));
                self.status = Some(status);
            }
            Err(finding) => findings.push(finding),
        }
        match engine {
            Some(Ok((engine, finding))) => {
                findings.push(finding);
                self.engine = Some(engine);
            }
            Some(Err(finding)) => findings.push(finding),
            None => {}
        }
        findings
    }

    async fn proxy(&self) -> Result<Status, Finding> {
        let start = |failure: &Failure| {
            let start = format!("start the proxy: `{}`, or its service", failure.next);
            let gone = matches!(failure.code, Code::ProxyAbsent | Code::ProxyDead);
            Finding::of("proxy", failure, Some(start.as_str()).filter(|_| gone))
        };
        let admin = self.ctx.admin().map_err(|failure| start(&failure))?;
        self.ctx.status(&admin).await.map_err(|failure| start(&failure))
    }

    /// None when no application needs one.
    async fn docker(&self) -> Option<Result<(Engine, Finding), Finding>> {
        let needed = |loaded: &Loaded| {
            let mut deployed = loaded.settings.apps.values().filter_map(|app| app.deploy.as_ref());
            deployed.any(|deploy| deploy.runtime == RuntimeKind::Docker)
        };
        if !self.loaded.as_ref().is_none_or(needed) {
            return None;
        }
        let engine = match timeout(PATIENCE, self.ctx.engine()).await {
            Ok(Ok(engine)) => engine,
            Ok(Err(failure)) => return Some(Err(unmet(&failure))),
            Err(_) => {
                let says = "the Docker Engine did not answer in time";
                return Some(Err(Finding::failed("docker", says, "`systemctl restart docker`")));
            }
        };
        let info = engine.info().await.map_err(|error| {
            Finding::failed("docker", error.to_string(), "`systemctl status docker` on that machine")
        });
        Some(info.map(|info| {
            let says =
                format!("Docker {} answers at {}, API {}", info.version, engine.name(), info.api_version);
            (engine, Finding::ok("docker", says))
        }))
    }

    /// The applications of the configuration, or the one of `--app`.
    fn apps(&self) -> Vec<AppName> {
        let apps = self.loaded.iter().flat_map(|loaded| loaded.settings.apps.keys());
        apps.filter(|app| self.ctx.global.app.as_ref().is_none_or(|named| named == *app)).cloned().collect()
    }

    /// Those that are deployed, with what says how.
    fn deployed(&self) -> Vec<Described> {
        let Some(loaded) = &self.loaded else { return Vec::new() };
        let apps = &loaded.settings.apps;
        let sole = apps.values().filter(|app| app.deploy.is_some()).count() == 1;
        let described = |name: AppName| {
            let settings = apps.get(&name)?.clone();
            Some(Described { deploy: settings.deploy.clone()?, app: name, settings, sole })
        };
        self.apps().into_iter().filter_map(described).collect()
    }

    /// The containers of this environment that carry our labels.
    async fn containers(&self, engine: &Engine) -> Vec<Finding> {
        let environment = configuration::environment(self.ctx);
        let mut found = Vec::new();
        for role in ["app", "migrate", "snapshot"] {
            match engine.list(&[(label::ROLE, role), (label::ENVIRONMENT, &environment)]).await {
                Ok(containers) => found.extend(containers),
                Err(error) => {
                    let remedy = "`systemctl status docker` on that machine";
                    return vec![Finding::failed("containers", error.to_string(), remedy)];
                }
            }
        }
        let apps = self.loaded.iter().flat_map(|loaded| &loaded.settings.apps);
        let apps: Vec<AppName> =
            apps.filter(|(_, app)| app.deploy.is_some()).map(|(name, _)| name.clone()).collect();
        containers::check(&found, &apps)
    }
}

/// An engine that was not met, with the way out that fits.
fn unmet(failure: &Failure) -> Finding {
    let ways_out = [
        (
            Code::DockerUnreachable,
            "start Docker (`systemctl start docker`), or name its address with `--host`",
        ),
        (Code::DockerPermission, "`usermod -aG docker USER`, then log in again; or run as root"),
        (Code::DockerUnsuited, "update Docker to 20.10 or newer"),
    ];
    let remedy = ways_out.into_iter().find(|(code, _)| *code == failure.code).map(|(_, remedy)| remedy);
    Finding::of("docker", failure, remedy)
}

/// Everything else, by the name that a check without an answer is told by.
fn checks<'a>(around: &'a Around<'a>) -> Vec<(&'static str, Check<'a>)> {
    let mut checks: Vec<(&'static str, Check<'a>)> = Vec::new();
    let here = around.remote.is_none();
    if let Some(loaded) = &around.loaded {
        if here {
            let proxy = around.status.as_ref().map(|status| status.pid);
            let work = machine::ports(&loaded.settings);
            checks.push(("ports", Box::pin(async move { ports::check(&work.await, proxy) })));
        }
        checks.push(("dns", Box::pin(machine::names(&loaded.settings, around.apps(), here))));
        checks.push(("clock", Box::pin(clock::look(&loaded.settings))));
    }
    checks.push(("disk", Box::pin(machine::disks(around))));
    if let (Some(engine), Some(_)) = (&around.engine, &around.loaded) {
        checks.push(("containers", Box::pin(around.containers(engine))));
    }
    if let Some(loaded) = &around.loaded {
        for described in around.deployed() {
            checks.extend(application::checks(around, loaded, described));
        }
    }
    checks
}

/// The same findings, without a secret.
fn redacted(findings: Vec<Finding>, redactor: &Redactor) -> Vec<Finding> {
    let line = |text: String| redactor.line(&text);
    findings
        .into_iter()
        .map(|finding| Finding { says: line(finding.says), remedy: finding.remedy.map(line), ..finding })
        .collect()
}
