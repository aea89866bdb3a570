//! From what the admin client met to what people read: the one map from [`AdminError`] to [`Failure`].

use switcher_config::AppName;
use switcher_config::wire::{Refusal, RefusalReason};

use crate::admin::{Admin, AdminError, ConnectProblem};
use crate::code::Code;
use crate::context::{Context, quoted};
use crate::failure::{Failure, Live};
use crate::phrase;

/// Diagnoses an error; `live` is what was known before the question was asked.
pub(crate) fn failure(
    ctx: &Context,
    admin: &Admin,
    error: AdminError,
    app: Option<&AppName>,
    live: Live,
) -> Failure {
    let socket = admin.socket().display();
    match error {
        AdminError::Connect(problem) => unreachable(ctx, admin, &problem, live),
        AdminError::Lost(why) => Failure::new(
            Code::ProxyLost,
            format!("the proxy at {socket} closed the connection before it answered: {why}"),
            live,
            ctx.command("status"),
        ),
        AdminError::Timeout(within) => Failure::new(
            Code::ProxyTimeout,
            format!("the proxy at {socket} did not answer within {}", phrase::duration(within.as_secs_f64())),
            live,
            ctx.command("status"),
        ),
        AdminError::Refused(refusal) => refused(ctx, &refusal, app, live),
        AdminError::Gibberish(what) => Failure::new(
            Code::ProxyGibberish,
            format!("what answers at {socket} is not understood: {what}"),
            live,
            "switcher-proxy --version",
        ),
    }
}

fn unreachable(ctx: &Context, admin: &Admin, problem: &ConnectProblem, live: Live) -> Failure {
    let socket = admin.socket().display();
    // The proxy finds the file by itself in the places where this command looked.
    let start = match &ctx.global.config {
        Some(path) => format!("switcher-proxy --config {}", quoted(path.as_os_str())),
        None => "switcher-proxy".to_owned(),
    };
    let (code, message, next) = match problem {
        ConnectProblem::Absent => {
            (Code::ProxyAbsent, format!("no proxy runs behind {socket}: there is no such file"), start)
        }
        ConnectProblem::Dead => (
            Code::ProxyDead,
            format!("the proxy behind {socket} is gone: its socket is there, but nobody listens"),
            start,
        ),
        ConnectProblem::Permission => (
            Code::ProxyPermission,
            format!("this user may not open {socket}: only the user who runs the proxy, and root, may"),
            format!("sudo {}", ctx.again()),
        ),
        ConnectProblem::NotSocket => (
            Code::ProxyNotSocket,
            format!("{socket} is no unix socket"),
            "switcher config show --origin".to_owned(),
        ),
        ConnectProblem::TooLong => (
            Code::ProxyNotSocket,
            format!("{socket} is no usable path of a unix socket: it may have 107 bytes at most"),
            "switcher config show --origin".to_owned(),
        ),
        ConnectProblem::Busy => (
            Code::ProxyTimeout,
            format!("the proxy at {socket} takes no connection: it is overloaded or stopped"),
            ctx.again().to_owned(),
        ),
        ConnectProblem::Other(why) => {
            (Code::ProxyAbsent, format!("the proxy at {socket} cannot be reached: {why}"), start)
        }
    };
    let live = match problem {
        // Whatever was live before: without a proxy nothing is.
        ConnectProblem::Absent | ConnectProblem::Dead => Live::No,
        ConnectProblem::Permission
        | ConnectProblem::NotSocket
        | ConnectProblem::TooLong
        | ConnectProblem::Busy
        | ConnectProblem::Other(_) => live,
    };
    Failure::new(code, message, live, next)
}

fn refused(ctx: &Context, refusal: &Refusal, app: Option<&AppName>, live: Live) -> Failure {
    let live = Live::refused(refusal, app, live);
    let standby = refusal.active.map_or("SLOT", |slot| slot.other().as_str());
    let (code, next) = match refusal.reason {
        RefusalReason::UnknownApp => (Code::AppUnknown, "switcher status".to_owned()),
        RefusalReason::UnknownDrain => (Code::DrainLost, ctx.command("status")),
        RefusalReason::UnknownBake => (Code::BakeLost, ctx.command("status")),
        RefusalReason::UnknownCanary => (Code::CanaryNone, ctx.command("canary")),
        RefusalReason::CanaryGoesOn => (Code::CanaryGoesOn, ctx.command("canary abort")),
        RefusalReason::BadRequest => (Code::ProxyRefused, "switcher-proxy --version".to_owned()),
        // The command looked before it asked: a slot that is live all of a sudden was made so by somebody else.
        RefusalReason::GenerationMoved | RefusalReason::AlreadyActive => {
            (Code::GenerationMoved, ctx.command("status"))
        }
        RefusalReason::StaleFence => (Code::LeaseLost, ctx.command("status")),
        RefusalReason::LeaseHeld => (Code::LeaseHeld, format!("{} --lock-wait 5m", ctx.again())),
        RefusalReason::SlotIsLive => (Code::SlotLive, ctx.command(&format!("register {standby} HOST:PORT"))),
        RefusalReason::Unhealthy => {
            (Code::HealthBad, ctx.command(&format!("promote {standby} --wait-healthy 30s")))
        }
        RefusalReason::NoUpstreams => {
            (Code::SlotEmpty, ctx.command(&format!("register {standby} HOST:PORT")))
        }
        RefusalReason::PreviewOff => (Code::PreviewOff, ctx.command("config check")),
        RefusalReason::BadConfiguration => (Code::ConfigRefused, ctx.command("config check")),
        RefusalReason::NotSaved => (Code::StateNotSaved, "df -h".to_owned()),
        RefusalReason::ShuttingDown => (Code::ProxyShuttingDown, ctx.again().to_owned()),
        RefusalReason::ReadOnly => (Code::ProxyReadOnly, ctx.command("config show")),
        RefusalReason::UnknownCertificate => (Code::CertUnknown, ctx.command("certs list")),
        RefusalReason::TooManyWatchers => (Code::TopFull, ctx.command("status --watch")),
        RefusalReason::CertificateFailed => (Code::CertFailed, ctx.command("certs check")),
    };
    Failure::new(code, refusal.message.trim_end().to_owned(), live, next)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use switcher_config::Slot;

    use super::*;
    use crate::cli::Global;
    use crate::context::Surroundings;

    fn diagnosed(error: AdminError) -> String {
        let args = ["switcher", "promote", "green"].map(Into::into);
        let ctx = Context::new(Global::default(), &args, Surroundings::default());
        let admin = Admin::new("/run/switcher/admin.sock".into());
        let shop: AppName = "shop".parse().expect("a name");
        let generation = "7".parse().expect("a generation");
        let live = Live::Yes { app: shop.clone(), slot: Slot::Blue, generation };
        failure(&ctx, &admin, error, Some(&shop), live).text(false)
    }

    #[test]
    fn every_broken_connection_has_its_sentence() {
        let mut errors: Vec<AdminError> = [
            ConnectProblem::Absent,
            ConnectProblem::Dead,
            ConnectProblem::Permission,
            ConnectProblem::NotSocket,
            ConnectProblem::TooLong,
            ConnectProblem::Busy,
            ConnectProblem::Other("too many open files".to_owned()),
        ]
        .map(AdminError::Connect)
        .into();
        errors.push(AdminError::Lost("connection closed before message completed".to_owned()));
        errors.push(AdminError::Timeout(Duration::from_secs(10)));
        errors.push(AdminError::Gibberish("200 OK with `hello`".to_owned()));
        insta::assert_snapshot!(errors.into_iter().map(diagnosed).collect::<String>());
    }

    #[test]
    fn every_refusal_has_its_code_and_its_way_on() {
        let reasons = [
            RefusalReason::UnknownApp,
            RefusalReason::UnknownDrain,
            RefusalReason::BadRequest,
            RefusalReason::GenerationMoved,
            RefusalReason::SlotIsLive,
            RefusalReason::UnknownCanary,
            RefusalReason::CanaryGoesOn,
            RefusalReason::StaleFence,
            RefusalReason::LeaseHeld,
            RefusalReason::Unhealthy,
            RefusalReason::AlreadyActive,
            RefusalReason::NoUpstreams,
            RefusalReason::PreviewOff,
            RefusalReason::BadConfiguration,
            RefusalReason::NotSaved,
            RefusalReason::ShuttingDown,
            RefusalReason::ReadOnly,
            RefusalReason::UnknownCertificate,
            RefusalReason::TooManyWatchers,
            RefusalReason::CertificateFailed,
        ];
        let shown = reasons.into_iter().map(|reason| {
            let message = format!("the proxy's own sentence about {reason:?}");
            let (active, generation) = (Some(Slot::Green), "9".parse().ok());
            diagnosed(AdminError::Refused(Box::new(Refusal { reason, message, active, generation })))
        });
        insta::assert_snapshot!(shown.collect::<String>());
    }

    #[test]
    fn a_refusal_that_names_no_slot_keeps_what_was_known() {
        let reason = RefusalReason::ShuttingDown;
        let refusal = Refusal { reason, message: "shutting down".to_owned(), active: None, generation: None };
        let text = diagnosed(AdminError::Refused(Box::new(refusal)));
        assert!(text.contains("live now: shop: blue, generation 7"), "{text}");
    }
}
