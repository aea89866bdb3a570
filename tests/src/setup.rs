//! The configuration of an ephemeral proxy, as a test wants it.
//!
//! Every key has a default fit for tests; a test names only what it is about. Values are YAML in flow style. A file that
//! is there already is left as it is: what the test sets goes over it by variables of the environment, as a user may do.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use switcher_config::Slot;

use crate::app::App;
use crate::port::Port;
use crate::proxy::Proxy;

/// Settings in the making: one app named `shop`, and others a test adds.
#[derive(Debug, Clone)]
pub struct Setup {
    proxy: Section,
    acme: Section,
    switcher: Section,
    deploy: Section,
    pub(crate) listeners: Option<[Arc<Port>; 2]>,
    apps: Vec<(String, Section)>,
    file: Option<PathBuf>,
    variables: Section,
    pub(crate) arguments: Vec<String>,
}

type Section = Vec<(String, String)>;

fn set(section: &mut Section, key: &str, value: &str) {
    section.retain(|(k, _)| k != key);
    section.push((key.to_owned(), value.to_owned()));
}

/// A probe has time enough: an upstream of a test answers at once, refuses, or is slow because the machine is busy.
const HEALTH: &str = "{path: /health, interval: 100ms, timeout: 10s, rise: 1, fall: 2}";
const DRAIN: &str = "{requests: 20s, uploads: 20s, streams: 20s, websockets: 20s, spread: 0s}";

fn app(slots: &str) -> Section {
    let lines = [("redirect", "false"), ("health", HEALTH), ("drain", DRAIN), ("slots", slots)];
    lines.map(|(k, v)| (k.to_owned(), v.to_owned())).into()
}

fn raw_app(slots: &str, tcp: &str) -> Section {
    let health = "{interval: 100ms, timeout: 10s, rise: 1, fall: 2}";
    let lines =
        [("health", health), ("drain", "{connections: 1h, spread: 0s}"), ("slots", slots), ("tcp", tcp)];
    lines.map(|(k, v)| (k.to_owned(), v.to_owned())).into()
}

/// The `slots` value for addresses of both slots; an empty list leaves the slot out.
#[must_use]
pub fn slots(blue: &[String], green: &[String]) -> String {
    let slot = |slot: Slot, list: &[String]| format!("{slot}: [{}]", quoted(list));
    let both = [(Slot::Blue, blue), (Slot::Green, green)];
    let given: Vec<String> = both.iter().filter(|(_, l)| !l.is_empty()).map(|(s, l)| slot(*s, l)).collect();
    format!("{{{}}}", given.join(", "))
}

fn quoted(list: &[String]) -> String {
    list.iter().map(|a| format!("\"{a}\"")).collect::<Vec<_>>().join(", ")
}

impl Setup {
    /// `shop` with these addresses in its slots; an empty list leaves the slot out, and the other one is live.
    #[must_use]
    pub fn slots(blue: &[String], green: &[String]) -> Self {
        let mut shop = app(&slots(blue, green));
        if blue.is_empty() && !green.is_empty() {
            set(&mut shop, "initial", "green");
        }
        let proxy = vec![("threads".to_owned(), "2".to_owned())];
        Self {
            proxy,
            acme: Vec::new(),
            switcher: Vec::new(),
            deploy: Vec::new(),
            listeners: None,
            apps: vec![("shop".to_owned(), shop)],
            file: None,
            variables: Vec::new(),
            arguments: Vec::new(),
        }
    }

    /// `shop` with two applications as its slots.
    #[must_use]
    pub fn two(blue: &App, green: &App) -> Self {
        Self::slots(&[blue.upstream()], &[green.upstream()])
    }

    /// `shop` as an application of raw TCP, with what its `tcp` says.
    #[must_use]
    pub fn raw(blue: &[String], green: &[String], tcp: &str) -> Self {
        let mut setup = Self::slots(blue, green);
        setup.apps[0].1 = raw_app(&slots(blue, green), tcp);
        setup
    }

    /// Adds an application of raw TCP with one upstream in the blue slot, and sets some of its keys.
    #[must_use]
    pub fn another_raw(
        mut self,
        name: &str,
        upstream: impl ToString,
        tcp: &str,
        keys: &[(&str, &str)],
    ) -> Self {
        let mut section = raw_app(&slots(&[upstream.to_string()], &[]), tcp);
        for (key, value) in keys {
            set(&mut section, key, value);
        }
        self.apps.push((name.to_owned(), section));
        self
    }

    /// `shop` with one upstream in the blue slot and no green one.
    #[must_use]
    pub fn one(upstream: impl ToString) -> Self {
        Self::slots(&[upstream.to_string()], &[])
    }

    /// Sets a key of the `proxy` section.
    #[must_use]
    pub fn proxy(mut self, key: &str, value: &str) -> Self {
        set(&mut self.proxy, key, value);
        self
    }

    /// Sets a key of the `acme` section.
    #[must_use]
    pub fn acme(mut self, key: &str, value: &str) -> Self {
        set(&mut self.acme, key, value);
        self
    }

    /// `shop` without addresses: releases are deployed into its slots.
    #[must_use]
    pub fn deployed() -> Self {
        let mut setup = Self::slots(&[], &[]);
        setup.apps[0].1.retain(|(key, _)| key != "slots");
        setup
    }

    /// A file that is there already, with the application `shop` in it.
    #[must_use]
    pub fn of_file(file: &Path) -> Self {
        let mut setup = Self::slots(&[], &[]);
        setup.proxy.clear();
        setup.apps[0].1.clear();
        setup.file = Some(file.to_owned());
        setup
    }

    /// Sets a variable of the environment of the proxy and of its command line.
    #[must_use]
    pub fn variable(mut self, name: &str, value: &str) -> Self {
        set(&mut self.variables, name, value);
        self
    }

    /// Sets a key of the `switcher` section.
    #[must_use]
    pub fn switcher(mut self, key: &str, value: &str) -> Self {
        set(&mut self.switcher, key, value);
        self
    }

    /// Sets a key of the `deploy` section of `shop`.
    #[must_use]
    pub fn deploy(mut self, key: &str, value: &str) -> Self {
        set(&mut self.deploy, key, value);
        self
    }

    /// Takes a key of the `deploy` section of `shop` away.
    #[must_use]
    pub fn without(mut self, key: &str) -> Self {
        self.deploy.retain(|(known, _)| known != key);
        self
    }

    /// Listens where an authority looks: its plain and its TLS port.
    #[must_use]
    pub fn listeners(mut self, http: &Arc<Port>, https: &Arc<Port>) -> Self {
        self.listeners = Some([Arc::clone(http), Arc::clone(https)]);
        self
    }

    /// Sets a key of the app `shop`.
    #[must_use]
    pub fn shop(mut self, key: &str, value: &str) -> Self {
        set(&mut self.apps[0].1, key, value);
        self
    }

    /// Adds an app with one upstream in the blue slot, and sets some of its keys.
    #[must_use]
    pub fn another(mut self, name: &str, upstream: impl ToString, keys: &[(&str, &str)]) -> Self {
        let mut section = app(&slots(&[upstream.to_string()], &[]));
        for (key, value) in keys {
            set(&mut section, key, value);
        }
        self.apps.push((name.to_owned(), section));
        self
    }

    /// Adds an argument of the proxy's command line.
    #[must_use]
    pub fn argument(mut self, argument: &str) -> Self {
        self.arguments.push(argument.to_owned());
        self
    }

    /// Starts a proxy and waits until it is ready.
    ///
    /// # Panics
    /// When it does not get ready.
    pub async fn start(self) -> Proxy {
        let mut proxy = Proxy::spawn(self);
        proxy.wait_ready().await;
        proxy
    }

    /// Starts a proxy and waits until it answers, ready or not: for live slots that cannot serve.
    ///
    /// # Panics
    /// When it does not get that far.
    pub async fn start_unready(self) -> Proxy {
        let mut proxy = Proxy::spawn(self);
        proxy.wait_up().await;
        proxy
    }

    /// Starts a proxy and waits until every slot that has addresses is healthy.
    ///
    /// # Panics
    /// When that does not happen.
    pub async fn start_healthy(self) -> Proxy {
        let proxy = self.start().await;
        proxy.wait_healthy().await;
        proxy
    }

    /// The file that is there already, if the test has one.
    pub(crate) fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// The variables of the environment. Over a file that is there already they say everything that the test sets.
    pub(crate) fn variables(&self, place: &Place<'_>) -> Vec<(String, String)> {
        let mut variables = self.variables.clone();
        if self.file.is_some() {
            let over = |above: &str, section: &Section| -> Section {
                let name = |key: &str| format!("SWITCHER__{above}__{key}").to_uppercase();
                section.iter().map(|(key, value)| (name(key), value.clone())).collect()
            };
            variables.extend(over("proxy", &self.proxy_section(place)));
            variables.extend(over("acme", &self.acme));
            variables.extend(over("switcher", &self.switcher));
            for (app, section) in &self.apps {
                variables.extend(over(&format!("apps__{app}"), section));
            }
            variables.extend(over("apps__shop__deploy", &self.deploy));
        }
        variables
    }

    /// Listeners, socket and folder are the harness's unless a test has set them.
    fn proxy_section(&self, place: &Place<'_>) -> Section {
        let mut proxy = self.proxy.clone();
        let mut default = |key: &str, value: String| {
            if !proxy.iter().any(|(k, _)| k == key) {
                proxy.push((key.to_owned(), value));
            }
        };
        default("http", place.http.address().to_string());
        default("https", place.https.address().to_string());
        default("status", place.status.address().to_string());
        default("admin", place.folder.join("admin.sock").display().to_string());
        default("data_dir", place.folder.join("data").display().to_string());
        proxy
    }

    /// The file's text.
    pub(crate) fn text(&self, place: &Place<'_>) -> String {
        let proxy = self.proxy_section(place);
        let mut text = "proxy:\n".to_owned();
        write_section(&mut text, &proxy, "  ");
        if !self.acme.is_empty() {
            text.push_str("acme:\n");
            write_section(&mut text, &self.acme, "  ");
        }
        if !self.switcher.is_empty() {
            text.push_str("switcher:\n");
            write_section(&mut text, &self.switcher, "  ");
        }
        text.push_str("apps:\n");
        for (at, (name, section)) in self.apps.iter().enumerate() {
            let _ = writeln!(text, "  {name}:");
            write_section(&mut text, section, "    ");
            if at == 0 && !self.deploy.is_empty() {
                text.push_str("    deploy:\n");
                write_section(&mut text, &self.deploy, "      ");
            }
        }
        text
    }
}

/// Where a proxy stands: its folder, and the ports of its listeners.
pub(crate) struct Place<'a> {
    pub(crate) folder: &'a Path,
    pub(crate) http: &'a Port,
    pub(crate) https: &'a Port,
    pub(crate) status: &'a Port,
}

fn write_section(text: &mut String, section: &Section, indent: &str) {
    for (key, value) in section {
        let _ = writeln!(text, "{indent}{key}: {value}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_test_sets_takes_the_place_of_the_default() {
        let setup = Setup::one("127.0.0.1:8001").shop("health", "{path: /up}").proxy("status", "127.0.0.1:9");
        let port = Port::reserve();
        let place = Place { folder: Path::new("/f"), http: &port, https: &port, status: &port };
        let text = setup.text(&place);
        assert_eq!(text.matches("health:").count(), 1, "{text}");
        assert!(
            text.contains("    health: {path: /up}\n") && text.contains("  status: 127.0.0.1:9\n"),
            "{text}"
        );
        assert!(text.contains("    slots: {blue: [\"127.0.0.1:8001\"]}\n"), "{text}");
        assert!(text.contains("  admin: /f/admin.sock\n"), "{text}");
    }
}
