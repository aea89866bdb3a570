//! `switcher logs`: what the containers of a slot wrote, several of them interleaved; or the log of a deployment.
//!
//! Invariant: every line is redacted and harmless to a terminal before it is printed. Nothing is changed.

mod deployment;
mod follow;
mod line;
mod source;

use jiff::Timestamp;
use switcher_config::settings::RuntimeKind;
use switcher_config::{Slot, Span};

use self::line::Style;
use self::source::Source;
use super::Outcome;
use crate::cli::{LogsArgs, LogsTarget};
use crate::code::Code;
use crate::configuration;
use crate::console::Reader;
use crate::container::{Container, Tenant, label};
use crate::context::Context;
use crate::deploy::site::{Described, described};
use crate::docker::Engine;
use crate::docker::logs::Part;
use crate::environment::{Environment, Sources};
use crate::failure::{Failure, Live};
use crate::redact::Redactor;

/// Prints what was asked for.
pub(super) async fn run(ctx: &Context, args: LogsArgs) -> Outcome {
    let style = Style { json: ctx.console.json, timestamps: args.timestamps };
    match (&args.deployment, &args.target) {
        (Some(id), _) => deployment::run(ctx, id, &args, style).await,
        (None, Some(target)) => Box::pin(containers(ctx, target, &args, style)).await,
        // The command line asks for one of them.
        (None, None) => Ok(()),
    }
}

async fn containers(ctx: &Context, target: &LogsTarget, args: &LogsArgs, style: Style) -> Outcome {
    let mut interrupt = super::interrupt(ctx)?;
    let early = |end| super::watched(ctx, end);
    let place = interrupt.unless(Box::pin(Place::open(ctx))).await.map_err(early)??;
    let mut found = interrupt.unless(Box::pin(place.find(target))).await.map_err(early)??;
    let part = Part { tail: args.tail.0, since: began(args.since), follow: args.follow };
    if args.follow {
        return Box::pin(follow::run(&place, target, part, style, &mut interrupt)).await;
    }
    if found.is_empty() {
        return Err(place.nothing(target));
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    let mut sources: Vec<Source> =
        found.iter().map(|container| Source::open(&place.engine, container, part, &place.redactor)).collect();
    loop {
        let next = interrupt.unless(source::earliest(&mut sources)).await.map_err(early)?;
        match next.map_err(|error| ctx.docker_failure(&error, Live::Unchanged, ctx.again()))? {
            None => return Ok(()),
            Some((name, line)) => {
                if ctx.console.write(&style.container(&name, &line))? == Reader::Gone {
                    return Ok(());
                }
            }
        }
    }
}

/// The moment from which on lines are wanted.
fn began(since: Option<Span>) -> Option<Timestamp> {
    since.map(|span| Timestamp::now().checked_sub(span.0).unwrap_or(Timestamp::UNIX_EPOCH))
}

/// Where the containers of the application are.
struct Place<'a> {
    ctx: &'a Context,
    engine: Engine,
    redactor: Redactor,
    owner: Tenant,
}

impl<'a> Place<'a> {
    async fn open(ctx: &'a Context) -> Result<Self, Failure> {
        let loaded = configuration::load(ctx, &ctx.command("config check"))?;
        let Described { app, deploy, .. } = described(ctx, &loaded.settings)?;
        if deploy.runtime == RuntimeKind::Static {
            let message = format!(
                "the slots of {app} are filled by its hooks (`runtime: static`), so what runs in them logs where they \
                 send it, such as `journalctl -u UNIT`; what the hooks print is in the log of each deployment"
            );
            let next = ctx.command("logs --deployment ID");
            return Err(Failure::new(Code::LogsElsewhere, message, Live::Unchanged, next));
        }
        let read = Environment::read(&deploy, &Sources::from_process(loaded.folder().to_owned()));
        let redactor = match read {
            Ok(environment) => environment.secrets(),
            Err(problems) => {
                ctx.reporter.step(&format!(
                    "warning: the application's environment cannot be read ({}), so only what looks like a secret is \
                     hidden; `switcher doctor` says what is wrong",
                    match problems.problems.len() {
                        1 => "1 problem".to_owned(),
                        count => format!("{count} problems"),
                    }
                ));
                Redactor::without_secrets()
            }
        };
        let (engine, environment) = (ctx.engine().await?, configuration::environment(ctx));
        let proxy = configuration::proxy_name(ctx, &loaded.settings);
        let owner = Tenant { app, environment, proxy };
        Ok(Self { ctx, engine, redactor, owner })
    }

    /// The containers that are meant now.
    async fn find(&self, target: &LogsTarget) -> Result<Vec<Container>, Failure> {
        let slot = match target {
            LogsTarget::Slot(slot) => *slot,
            LogsTarget::Live => self.live().await?,
            LogsTarget::Standby => self.live().await?.other(),
            LogsTarget::Container(name) => return self.named(name).await,
        };
        let all = self.engine.owned(&self.owner, "app").await.map_err(|error| self.failed(&error))?;
        let inside = |container: &Container| {
            container.labels.get(label::SLOT).map(String::as_str) == Some(slot.as_str())
        };
        Ok(all.into_iter().filter(inside).collect())
    }

    async fn live(&self) -> Result<Slot, Failure> {
        let mut status = self.ctx.status(&self.ctx.admin()?).await?;
        status.apps.remove(&self.owner.app).map(|app| app.active).ok_or_else(|| {
            let message =
                format!("the proxy does not serve \"{}\", so nothing of it is live", self.owner.app);
            Failure::new(Code::AppUnknown, message, Live::Unchanged, self.ctx.command("reload"))
        })
    }

    /// One container of ours; somebody else's is none of this command's.
    async fn named(&self, name: &str) -> Result<Vec<Container>, Failure> {
        let mut ours = Vec::new();
        for role in ["app", "migrate", "snapshot"] {
            ours.extend(self.engine.owned(&self.owner, role).await.map_err(|error| self.failed(&error))?);
        }
        let known: Vec<&str> = ours.iter().map(|container| container.name.as_str()).collect();
        if known.contains(&name) {
            return Ok(ours.into_iter().filter(|container| container.name == name).collect());
        }
        let known = match known.as_slice() {
            [] => "it has no container".to_owned(),
            names => format!("its containers are {}", names.join(", ")),
        };
        let message = format!("{name:?} is neither a slot nor a container of {}; {known}", self.owner.app);
        Err(Failure::new(Code::LogsUnknown, message, Live::Unchanged, self.ctx.command("logs live")))
    }

    fn failed(&self, error: &crate::docker::DockerError) -> Failure {
        self.ctx.docker_failure(error, Live::Unchanged, self.ctx.again())
    }

    fn nothing(&self, target: &LogsTarget) -> Failure {
        let message = format!("no container of {} is in {}", self.owner.app, words(target));
        let next = self.ctx.command("status");
        Failure::new(Code::LogsEmpty, message, Live::Unchanged, next)
    }
}

/// The target, in a sentence.
fn words(target: &LogsTarget) -> String {
    match target {
        LogsTarget::Slot(slot) => slot.to_string(),
        LogsTarget::Live => "the live slot".to_owned(),
        LogsTarget::Standby => "the standby slot".to_owned(),
        LogsTarget::Container(name) => name.clone(),
    }
}
