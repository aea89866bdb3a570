//! Reloading: the configuration is read again and applied, whole or not at all.
//!
//! The same for SIGHUP and the admin API. A file with a mistake in it changes nothing.

use std::sync::Arc;

use switcher_certs::{Manager, Pair, Plan, Store};
use switcher_config::settings::{Settings, Tls};
use switcher_config::wire::{RefusalReason, Reloaded};
use switcher_config::{Sources, load};
use tokio::sync::Mutex;

use crate::access_log;
use crate::apply::{all_chains, guards};
use crate::control::Control;
use crate::decide::Denied;
use crate::gateway::Shared;
use crate::limits;
use crate::pages::Fresh;
use crate::preview::Token;
use crate::rules::Rules;
use crate::tls::client_cas::ClientCas;
use crate::traces::export;

/// Reads the configuration again and applies it.
pub struct Reloader {
    /// Where to read, looked up each time: the environment of the process does not change, its files do.
    pub sources: Box<dyn Fn() -> Sources + Send + Sync>,
    /// The routing's owner.
    pub control: Arc<Control>,
    /// The rules that requests follow.
    pub shared: Arc<Shared>,
    /// What is served by TLS.
    pub certificates: Arc<Store>,
    /// What is renewed.
    pub manager: Manager,
    /// One reload at a time: it has several steps.
    pub turn: Mutex<()>,
}

impl Reloader {
    /// Reads and applies. A bad file changes nothing.
    ///
    /// # Errors
    /// The report of a bad file, or why the routing could not be saved.
    pub async fn reload(&self) -> Result<Reloaded, Denied> {
        let _turn = self.turn.lock().await;
        let loaded = load(&(self.sources)()).map_err(|report| Denied {
            reason: RefusalReason::BadConfiguration,
            message: report.to_string(),
        })?;
        let bad = |message| Denied { reason: RefusalReason::BadConfiguration, message };
        loaded.check_pages().map_err(|report| bad(report.to_string()))?;
        let settings = Arc::new(loaded.proxy_settings());
        check_certificates(&settings, Some(&self.control.view().settings)).map_err(bad)?;
        let client_cas = ClientCas::read(&settings).map_err(bad)?;
        // Before any request may follow the settings that name them.
        self.shared.pages.add(Fresh::read(&settings).map_err(bad)?);
        let log_before = self.control.view().settings.proxy.access_log.clone();
        let reloaded = self.control.apply(Arc::clone(&settings)).await?;
        if settings.proxy.access_log != log_before
            && let Err(error) = self.shared.access_log.replace(&settings.proxy.access_log)
        {
            tracing::error!("{error}; the access log goes on as it was");
        }
        self.shared.rules.store(Arc::new(Rules::new(&settings)));
        self.shared.pages.keep(&settings);
        self.shared.hsts.replace(&settings);
        self.shared.cache.set(&settings.proxy.cache);
        self.shared.traces.set(settings.proxy.traces.as_ref());
        let shares = limits::shares_now(&settings.proxy.limits);
        self.shared.crowd.set(shares.connections, shares.per_address);
        self.shared.spares.set(shares.streams);
        if let Err(error) = self.shared.tls.replace(&settings, client_cas) {
            tracing::error!(%error, "the TLS settings could not be changed");
        }
        let plan = Plan::new(&settings);
        if let Err(error) = self.certificates.replace_wanted(plan.wanted.clone()) {
            tracing::error!(%error, "a certificate could not be prepared");
        }
        self.manager.apply(plan).await;
        Ok(reloaded)
    }
}

/// Whether every certificate, client CA, token and file of the access log that the settings name can be used, except certificates that `before` named too:
/// a running proxy goes on with what it has of them.
///
/// # Errors
/// A line for each that cannot.
pub fn check_certificates(settings: &Settings, before: Option<&Settings>) -> Result<(), String> {
    let mut problems = Vec::new();
    for (name, app) in &settings.apps {
        let known = before.and_then(|b| b.apps.get(name)).is_some_and(|b| b.tls == app.tls);
        if let Tls::Files { certificate, key, .. } = &app.tls
            && !known
            && let Err(error) = Pair::read(certificate, key)
        {
            problems.push(format!("apps.{name}.tls: {error}"));
        }
    }
    if let Err(lines) = ClientCas::read(settings) {
        problems.push(lines);
    }
    if let Err(line) = guards(settings) {
        problems.push(line);
    }
    if let Some(Err(why)) = settings.proxy.dashboard_token.as_deref().map(Token::read) {
        problems.push(format!("proxy.dashboard.token_file cannot be used: {why}"));
    }
    if let Err(lines) = all_chains(settings, None) {
        problems.push(lines);
    }
    if let Err(line) = access_log::check(&settings.proxy.access_log) {
        problems.push(line);
    }
    if let Err(line) = export::check(settings.proxy.traces.as_ref()) {
        problems.push(line);
    }
    if problems.is_empty() { Ok(()) } else { Err(problems.join("\n")) }
}
