//! Who holds the addresses that the proxy is to listen on. Pure.

use std::net::SocketAddr;

use super::Finding;

/// Who listens at an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Holder {
    /// Nobody.
    Nobody,
    /// A process of this machine.
    Process {
        /// Its number.
        pid: u32,
        /// The name of its program.
        program: String,
    },
    /// Somebody whose process this user may not look at.
    Hidden,
}

/// An address of the configuration, as it was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    /// The key that names it: `proxy.http`, `proxy.https` or `tcp.listen` of an application.
    pub key: &'static str,
    /// The address.
    pub address: SocketAddr,
    /// Who listens there.
    pub holder: Holder,
    /// Whether this user may not take it: the port is privileged.
    pub privileged: bool,
}

/// Judges them. `proxy` is the process that answered on the admin socket; none when nobody did.
#[must_use]
pub fn check(ports: &[Port], proxy: Option<u32>) -> Vec<Finding> {
    ports.iter().map(|port| judge(port, proxy)).collect()
}

fn judge(port: &Port, proxy: Option<u32>) -> Finding {
    let Port { key, address, holder, privileged } = port;
    match (holder, proxy) {
        (Holder::Process { pid, .. }, Some(proxy)) if *pid == proxy => {
            Finding::ok("ports", format!("{address} ({key}) is held by our proxy"))
        }
        // Docker's own forwarder: the proxy is in a container, and its process numbers are not ours.
        (Holder::Process { program, .. }, Some(_)) if program == "docker-proxy" => {
            Finding::ok("ports", format!("{address} ({key}) is forwarded into a container by Docker"))
        }
        (Holder::Process { pid, program }, None) if program.starts_with("switcher-proxy") => {
            Finding::warning(
                "ports",
                format!(
                    "{address} ({key}) is held by {program} (process {pid}), which does not answer at the admin socket"
                ),
                "name its admin socket with `--admin`, or start it with this configuration",
            )
        }
        (Holder::Process { pid, program }, _) => Finding::failed(
            "ports",
            format!(
                "{address} ({key}) is held by {program} (process {pid}), so the proxy cannot listen there"
            ),
            format!("stop {program} (`kill {pid}`, or its service), or give `{key}` another address"),
        ),
        (Holder::Hidden, Some(_)) => Finding::ok(
            "ports",
            format!("{address} ({key}) is held, by a process that this user may not look at"),
        ),
        (Holder::Hidden, None) => Finding::failed(
            "ports",
            format!("{address} ({key}) is held by a process that this user may not look at"),
            "run `sudo switcher doctor` to see who it is",
        ),
        (Holder::Nobody, Some(_)) => Finding::warning(
            "ports",
            format!(
                "nobody listens at {address} ({key}), although the proxy runs: it has another configuration"
            ),
            "restart the proxy: listeners are opened at its start",
        ),
        (Holder::Nobody, None) if *privileged => Finding::warning(
            "ports",
            format!("{address} ({key}) is free, and this user may not take a port so low"),
            "start the proxy as a service with CAP_NET_BIND_SERVICE, or as root",
        ),
        (Holder::Nobody, None) => Finding::ok("ports", format!("{address} ({key}) is free")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Verdict;

    #[test]
    fn a_port_is_ours_somebody_elses_or_free() {
        let process = |pid, program: &str| Holder::Process { pid, program: program.to_owned() };
        for (holder, privileged, proxy, verdict, part) in [
            (process(7, "switcher-proxy"), true, Some(7), Verdict::Ok, "our proxy"),
            (process(8, "nginx"), true, Some(7), Verdict::Failed, "nginx (process 8)"),
            (process(8, "nginx"), false, None, Verdict::Failed, "nginx (process 8)"),
            (process(8, "docker-proxy"), false, Some(1), Verdict::Ok, "forwarded"),
            (process(8, "switcher-proxy"), false, None, Verdict::Warning, "does not answer"),
            (Holder::Hidden, false, Some(7), Verdict::Ok, "may not look"),
            (Holder::Hidden, false, None, Verdict::Failed, "may not look"),
            (Holder::Nobody, true, None, Verdict::Warning, "so low"),
            (Holder::Nobody, false, None, Verdict::Ok, "is free"),
            (Holder::Nobody, false, Some(7), Verdict::Warning, "another configuration"),
        ] {
            let address = "0.0.0.0:80".parse().expect("an address");
            let found = check(&[Port { key: "proxy.http", address, holder, privileged }], proxy).remove(0);
            assert_eq!(found.verdict, verdict, "{found:?}");
            assert!(found.says.contains(part), "{found:?}");
            assert_eq!(found.remedy.is_none(), verdict == Verdict::Ok);
        }
    }
}
