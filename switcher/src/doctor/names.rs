//! Whether the hosts of the applications lead here. Pure.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::Finding;

/// A host of the configuration, and what its name resolves to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name {
    /// The host.
    pub host: String,
    /// Its addresses, or the resolver's words.
    pub addresses: Result<Vec<IpAddr>, String>,
}

/// Judges a name. `here` are the addresses of the proxy's machine; none when it is another one.
#[must_use]
pub fn check(name: &Name, here: Option<&BTreeSet<IpAddr>>) -> Finding {
    let host = &name.host;
    let addresses = match &name.addresses {
        Ok(addresses) => addresses,
        // The resolver is away; that says nothing about the name.
        Err(why) if why.contains("emporary failure") => {
            let says = format!("nobody could be asked for the address of {host}: {why}");
            return Finding::warning("dns", says, "`resolvectl status` shows the machine's resolvers");
        }
        Err(why) => {
            let says = format!("{host} has no address: {why}");
            return Finding::failed(
                "dns",
                says,
                format!("make an A or AAAA record for {host} that names this server"),
            );
        }
    };
    let list = addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let Some(here) = here else { return Finding::ok("dns", format!("{host} is {list}")) };
    let ours = |address: &&IpAddr| address.is_loopback() || here.contains(address);
    match addresses.iter().filter(ours).count() {
        n if n == addresses.len() && n > 0 => {
            Finding::ok("dns", format!("{host} is {list}, which is this machine"))
        }
        0 => Finding::warning(
            "dns",
            format!("{host} is {list}, which is no address of this machine"),
            "good behind NAT, a load balancer or a content network; else change the record",
        ),
        _ => Finding::warning(
            "dns",
            format!("{host} is {list}, and not all of them are addresses of this machine"),
            "take the other records away, unless the other machines serve the host as well",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Verdict;

    #[test]
    fn a_name_leads_here_elsewhere_or_nowhere() {
        let ip = |text: &str| text.parse::<IpAddr>().expect("an address");
        let here = BTreeSet::from([ip("192.0.2.1"), ip("2001:db8::1")]);
        for (addresses, verdict) in [
            (Ok(vec!["192.0.2.1", "2001:db8::1"]), Verdict::Ok),
            (Ok(vec!["127.0.0.1"]), Verdict::Ok),
            (Ok(vec!["192.0.2.9"]), Verdict::Warning),
            (Ok(vec!["192.0.2.1", "192.0.2.9"]), Verdict::Warning),
            (Err("Name or service not known"), Verdict::Failed),
            (Err("Temporary failure in name resolution"), Verdict::Warning),
        ] {
            let addresses: Result<Vec<IpAddr>, String> = match addresses {
                Ok(list) => Ok(list.into_iter().map(ip).collect()),
                Err(why) => Err(why.to_owned()),
            };
            let name = Name { host: "shop.example.com".to_owned(), addresses };
            assert_eq!(check(&name, Some(&here)).verdict, verdict, "{name:?}");
        }
        let name = Name { host: "x".to_owned(), addresses: Ok(vec![ip("192.0.2.9")]) };
        assert_eq!(check(&name, None).verdict, Verdict::Ok);
    }
}
