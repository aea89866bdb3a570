//! The DNS providers that can set records for dns-01, and the options that each needs.
//!
//! The calls themselves are the library's that `switcher-certs` uses; this table only lets the parser say at once
//! what is missing. Read by the parser and by the certs crate, whose tests make a client of every entry.
//!
//! Left out are the library's providers that can hold one TXT record for a name only: a domain and its wildcard
//! need two at once.

/// A provider and its options.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Provider {
    /// As it is written in `acme.dns.provider`.
    pub name: &'static str,
    /// Options without which it cannot work.
    pub needs: &'static [&'static str],
    /// Options that it knows beside those.
    pub may: &'static [&'static str],
}

/// Every option of every provider. Those that end in `_file` name a file that holds a secret.
pub const OPTIONS: &[&str] = &[
    // The usual ones: a token, or a key with its secret, or a user with a password.
    "token_file",
    "key_id",
    "user",
    "secret_file",
    // A private key: TSIG in base64, PEM, or a service account in JSON.
    "key_file",
    "key_name",
    "algorithm",
    // Where and whose the zones are.
    "server",
    "region",
    "zone",
    "view",
    "account",
    "project",
    "tenant",
    "subscription",
    "resource_group",
    "compartment",
    "fingerprint",
    "client_ip",
];

/// Every provider, by name.
pub const PROVIDERS: &[Provider] = &[
    Provider { name: "alidns", needs: &["key_id", "secret_file"], may: &["region"] },
    Provider { name: "arvancloud", needs: &["token_file"], may: &[] },
    Provider { name: "autodns", needs: &["user", "secret_file"], may: &[] },
    Provider {
        name: "azuredns",
        needs: &["tenant", "key_id", "secret_file", "subscription", "resource_group"],
        may: &[],
    },
    Provider { name: "baiducloud", needs: &["key_id", "secret_file"], may: &[] },
    Provider { name: "bluecatv2", needs: &["server", "user", "secret_file", "account", "view"], may: &[] },
    Provider { name: "bunny", needs: &["token_file"], may: &[] },
    Provider { name: "cloudflare", needs: &["token_file"], may: &[] },
    Provider { name: "cloudns", needs: &["user", "secret_file"], may: &[] },
    Provider { name: "constellix", needs: &["key_id", "secret_file"], may: &[] },
    Provider { name: "cpanel", needs: &["server", "user", "token_file"], may: &[] },
    Provider { name: "desec", needs: &["token_file"], may: &[] },
    Provider { name: "digitalocean", needs: &["token_file"], may: &[] },
    Provider { name: "dnsimple", needs: &["account", "token_file"], may: &[] },
    Provider { name: "dnsmadeeasy", needs: &["key_id", "secret_file"], may: &[] },
    Provider { name: "domeneshop", needs: &["key_id", "secret_file"], may: &[] },
    Provider { name: "dreamhost", needs: &["token_file"], may: &[] },
    Provider { name: "dynu", needs: &["token_file"], may: &[] },
    Provider { name: "easydns", needs: &["key_id", "secret_file"], may: &[] },
    Provider {
        name: "edgedns",
        needs: &["server", "key_id", "secret_file", "token_file"],
        may: &["account"],
    },
    Provider { name: "exoscale", needs: &["key_id", "secret_file"], may: &[] },
    Provider { name: "gandiv5", needs: &["token_file"], may: &[] },
    Provider { name: "gcore", needs: &["token_file"], may: &[] },
    Provider { name: "glesys", needs: &["user", "secret_file"], may: &[] },
    Provider { name: "godaddy", needs: &["key_id", "secret_file"], may: &[] },
    Provider { name: "google", needs: &["project", "key_file"], may: &["zone"] },
    Provider { name: "hetzner", needs: &["token_file"], may: &[] },
    Provider { name: "hostingde", needs: &["token_file"], may: &[] },
    Provider { name: "hostinger", needs: &["token_file"], may: &[] },
    Provider { name: "huaweicloud", needs: &["region", "key_id", "secret_file"], may: &[] },
    Provider { name: "ibmcloud", needs: &["user", "secret_file"], may: &[] },
    Provider { name: "infoblox", needs: &["server", "user", "secret_file"], may: &["view"] },
    Provider { name: "infomaniak", needs: &["token_file"], may: &[] },
    Provider { name: "inwx", needs: &["user", "secret_file"], may: &[] },
    Provider { name: "ionos", needs: &["token_file"], may: &[] },
    Provider { name: "ipv64", needs: &["token_file"], may: &[] },
    Provider { name: "joker", needs: &["token_file"], may: &[] },
    Provider { name: "lightsail", needs: &["key_id", "secret_file"], may: &["region"] },
    Provider { name: "linode", needs: &["token_file"], may: &[] },
    Provider { name: "luadns", needs: &["user", "secret_file"], may: &[] },
    Provider { name: "mythicbeasts", needs: &["user", "secret_file"], may: &[] },
    Provider { name: "namecheap", needs: &["user", "secret_file", "client_ip"], may: &[] },
    Provider { name: "namedotcom", needs: &["user", "token_file"], may: &[] },
    Provider { name: "namesilo", needs: &["token_file"], may: &[] },
    Provider { name: "netcup", needs: &["user", "key_id", "secret_file"], may: &[] },
    Provider { name: "netlify", needs: &["token_file"], may: &[] },
    Provider { name: "nifcloud", needs: &["key_id", "secret_file"], may: &[] },
    Provider { name: "ns1", needs: &["token_file"], may: &[] },
    Provider {
        name: "oraclecloud",
        needs: &["tenant", "user", "fingerprint", "key_file", "region", "compartment"],
        may: &[],
    },
    Provider { name: "ovh", needs: &["key_id", "secret_file", "token_file"], may: &["region"] },
    Provider { name: "pdns", needs: &["server", "token_file"], may: &[] },
    Provider { name: "plesk", needs: &["server", "token_file"], may: &[] },
    Provider { name: "porkbun", needs: &["key_id", "secret_file"], may: &[] },
    Provider { name: "rfc2136", needs: &["server", "key_name", "key_file"], may: &["algorithm"] },
    Provider { name: "route53", needs: &["key_id", "secret_file"], may: &["region", "zone"] },
    Provider { name: "safedns", needs: &["token_file"], may: &[] },
    Provider { name: "scaleway", needs: &["token_file"], may: &[] },
    Provider { name: "selectel", needs: &["user", "secret_file", "account", "project"], may: &[] },
    Provider { name: "simplycom", needs: &["user", "secret_file"], may: &[] },
    Provider { name: "spaceship", needs: &["key_id", "secret_file"], may: &[] },
    Provider { name: "tencentcloud", needs: &["key_id", "secret_file"], may: &["region"] },
    Provider { name: "transip", needs: &["user", "key_file"], may: &[] },
    Provider { name: "ultradns", needs: &["user", "secret_file"], may: &[] },
    Provider { name: "vercel", needs: &["token_file"], may: &["account"] },
    Provider { name: "volcengine", needs: &["key_id", "secret_file"], may: &["region"] },
    Provider { name: "vultr", needs: &["token_file"], may: &[] },
    Provider { name: "websupport", needs: &["key_id", "secret_file"], may: &[] },
    Provider { name: "yandexcloud", needs: &["project", "key_file"], may: &[] },
    Provider { name: "zoneeu", needs: &["user", "secret_file"], may: &[] },
];

/// The provider of that name.
#[must_use]
pub fn provider(name: &str) -> Option<&'static Provider> {
    PROVIDERS.iter().find(|provider| provider.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_order_and_names_each_provider_and_option_once() {
        assert!(PROVIDERS.is_sorted_by(|a, b| a.name < b.name));
        let mut used: Vec<&str> = Vec::new();
        for Provider { name, needs, may } in PROVIDERS {
            let all: Vec<&str> = needs.iter().chain(*may).copied().collect();
            assert!(all.iter().all(|option| OPTIONS.contains(option)), "{name}");
            let mut once = all.clone();
            once.sort_unstable();
            once.dedup();
            assert_eq!(once.len(), all.len(), "{name} names an option twice");
            used.extend(all);
        }
        assert!(OPTIONS.iter().all(|option| used.contains(option)), "an option that nobody knows");
    }

    #[test]
    fn every_provider_takes_its_secrets_from_a_file() {
        for Provider { name, needs, .. } in PROVIDERS {
            assert!(needs.iter().any(|option| option.ends_with("_file")), "{name}");
        }
        assert_eq!(provider("cloudflare").map(|it| it.needs), Some(&["token_file"][..]));
        assert_eq!(provider("clodflare"), None);
    }
}
