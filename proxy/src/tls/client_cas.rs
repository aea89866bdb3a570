//! Which hosts demand a client certificate, and from which roots.
//!
//! Read whole when the configuration is read: a file that cannot be used refuses the configuration, so that a
//! host is never served without the check it was given. Held by the TLS front, asked by handshakes (by host)
//! and by requests (by the application's file).

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use switcher_certs::{ClientCa, RootsId};
use switcher_config::PathPrefix;
use switcher_config::settings::Settings;

use crate::route::{Route, Router};

/// The roots of every application that demands client certificates.
#[derive(Debug, Default)]
pub struct ClientCas {
    by_file: HashMap<PathBuf, Arc<ClientCa>>,
    /// None when no application demands any, which costs handshakes nothing then.
    by_host: Option<Router<Option<RootsId>>>,
}

impl ClientCas {
    /// Reads the files of every application.
    ///
    /// # Errors
    /// A line for each that cannot be used.
    pub fn read(settings: &Settings) -> Result<Self, String> {
        let (mut by_file, mut problems) = (HashMap::new(), Vec::new());
        for (name, app) in &settings.apps {
            let Some(file) = &app.client_ca else { continue };
            match ClientCa::read(file) {
                Ok(ca) => drop(by_file.insert(file.clone(), Arc::new(ca))),
                Err(error) => problems.push(format!("apps.{name}.client_ca: {error}")),
            }
        }
        if !problems.is_empty() {
            return Err(problems.join("\n"));
        }
        let by_host = (!by_file.is_empty()).then(|| by_host(settings, &by_file));
        Ok(Self { by_file, by_host })
    }

    /// The roots that an application's file held.
    #[must_use]
    pub fn of_file(&self, file: &Path) -> Option<RootsId> {
        self.by_file.get(file).map(|ca| ca.id())
    }

    /// The roots that a handshake for this host demands. Without a server name it is that of applications for
    /// every host.
    #[must_use]
    pub(super) fn of_host(&self, host: Option<&str>) -> Option<RootsId> {
        let router = self.by_host.as_ref()?;
        router.of_host(host.unwrap_or_default()).copied().flatten()
    }

    /// Each set of roots once.
    #[must_use]
    pub(super) fn distinct(&self) -> Vec<Arc<ClientCa>> {
        let by_id: HashMap<RootsId, &Arc<ClientCa>> = self.by_file.values().map(|ca| (ca.id(), ca)).collect();
        by_id.into_values().cloned().collect()
    }

    /// The roots with this identity.
    #[must_use]
    pub(super) fn get(&self, id: RootsId) -> Option<&Arc<ClientCa>> {
        self.by_file.values().find(|ca| ca.id() == id)
    }
}

/// Every host of every application, those without a demand too: an exact host without one stands before a
/// wildcard with one. Of applications that share a host one with a demand comes first.
fn by_host(settings: &Settings, by_file: &HashMap<PathBuf, Arc<ClientCa>>) -> Router<Option<RootsId>> {
    let mut router = Router::default();
    let (demanding, others): (Vec<_>, Vec<_>) =
        settings.apps.values().filter(|app| app.ends_tls()).partition(|app| app.client_ca.is_some());
    for app in demanding.into_iter().chain(others) {
        let roots = app.client_ca.as_ref().and_then(|file| by_file.get(file)).map(|ca| ca.id());
        router.add(&app.hosts, &Route::to(PathPrefix::default(), roots));
    }
    router
}
