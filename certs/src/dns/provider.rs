//! Providers' interfaces: the options of the configuration made into a client of the library's.
//!
//! One table says how; [`switcher_config::providers`] says which options there are, and a test keeps the two together.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use dns_update::providers::azuredns::{AzureDnsConfig, AzureEnvironment};
use dns_update::providers::bluecatv2::BluecatV2Config;
use dns_update::providers::edgedns::EdgeDnsConfig;
use dns_update::providers::google_cloud_dns::GoogleCloudDnsConfig;
use dns_update::providers::infoblox::InfobloxConfig;
use dns_update::providers::joker::JokerAuth;
use dns_update::providers::lightsail::LightsailConfig;
use dns_update::providers::oraclecloud::OracleCloudConfig;
use dns_update::providers::rfc2136::DnsAddress;
use dns_update::providers::route53::Route53Config;
use dns_update::providers::volcengine::VolcengineConfig;
use dns_update::providers::yandexcloud::YandexCloudConfig;
use dns_update::{DnsRecord, DnsRecordType, DnsUpdater, Error, TsigAlgorithm};
use switcher_config::providers::{Provider, provider};
use tokio::time::timeout;

use super::DnsError;
use super::exec::Action;

/// How long one request to a provider may take; one record takes a few.
const REQUEST: Option<Duration> = Some(Duration::from_secs(30));

/// How long a whole change may take, with the library's own repetitions.
const CHANGE: Duration = Duration::from_secs(120);

/// A TXT record with one of its values.
pub(super) struct Text<'a> {
    pub(super) record: &'a str,
    pub(super) zone: &'a str,
    pub(super) value: &'a str,
    /// In seconds.
    pub(super) ttl: u32,
}

/// A provider that can be asked.
pub(super) struct Client {
    provider: &'static str,
    updater: DnsUpdater,
    options: Options,
}

/// Whether a provider of that name can work with these options, as far as that can be told without their files.
pub(super) fn check(name: &str, options: &BTreeMap<String, String>) -> Result<(), DnsError> {
    let known = known(name)?;
    match known.needs.iter().find(|option| !options.contains_key(**option)) {
        Some(option) => Err(DnsError::Missing { provider: known.name, option }),
        None => Ok(()),
    }
}

fn known(name: &str) -> Result<&'static Provider, DnsError> {
    provider(name).ok_or_else(|| DnsError::Unknown(name.to_owned()))
}

impl Client {
    /// Reads the secrets and makes a client of them.
    pub(super) async fn new(name: &str, options: &BTreeMap<String, String>) -> Result<Self, DnsError> {
        let provider = known(name)?.name;
        let options = Options::read(options).await?;
        let (_, make) = MAKERS
            .iter()
            .find(|(of, _)| *of == provider)
            .ok_or_else(|| DnsError::Unknown(name.to_owned()))?;
        match make(&options) {
            Ok(updater) => Ok(Self { provider, updater, options }),
            Err(error) => Err(DnsError::Options { provider, why: options.redact(&error.to_string()) }),
        }
    }

    /// Adds or removes one value and leaves the others.
    pub(super) async fn act(&self, action: Action, text: &Text<'_>) -> Result<(), DnsError> {
        let &Text { record, zone, value, ttl } = text;
        let values = vec![DnsRecord::TXT(value.to_owned())];
        let change = async {
            match action {
                Action::Set => self.updater.add_to_rrset(record, DnsRecordType::TXT, ttl, values, zone).await,
                Action::Remove => {
                    self.updater.remove_from_rrset(record, DnsRecordType::TXT, values, zone).await
                }
            }
        };
        // The futures of seventy providers lie in one, so it is kept off the stack.
        let why = match timeout(CHANGE, Box::pin(change)).await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) => self.options.redact(&self.explain(&error)),
            Err(_) => format!("no end after {} s", CHANGE.as_secs()),
        };
        let (provider, record) = (self.provider, record.to_owned());
        Err(DnsError::Provider { provider, doing: action.word(), record, why })
    }

    /// The library's words, and what is behind the terse ones.
    fn explain(&self, error: &Error) -> String {
        let words = error.to_string();
        // A refused signature comes without one of the server's own, which the library reports as unsupported.
        if self.provider == "rfc2136" && words.contains("TSIG") {
            return "the server refuses the signature; check that `acme.dns.key_name`, `acme.dns.algorithm` and \
                    the key in the file of `acme.dns.key_file` are the server's, and both clocks"
                .to_owned();
        }
        let secrets: Vec<&str> = self.options.secrets().map(|(option, _)| option).collect();
        let hint = if matches!(error, Error::Unauthorized) {
            "check that the secret is valid and may edit the zone"
        } else if matches!(error, Error::NotFound) {
            "check that the zone is in this account"
        } else if self.provider == "rfc2136" {
            "check the server, that it takes updates of this zone, and the TSIG key"
        } else {
            return words;
        };
        format!("{words}; {hint} (`acme.dns.{}`)", secrets.join("`, `acme.dns."))
    }
}

/// The options with what their files hold.
struct Options(BTreeMap<String, String>);

impl Options {
    async fn read(given: &BTreeMap<String, String>) -> Result<Self, DnsError> {
        let mut values = BTreeMap::new();
        for (option, value) in given {
            let value =
                if is_file(option) { read_secret(option, Path::new(value)).await? } else { value.clone() };
            values.insert(option.clone(), value);
        }
        Ok(Self(values))
    }

    fn need(&self, option: &'static str) -> dns_update::Result<String> {
        self.may(option).ok_or_else(|| Error::Client(format!("`acme.dns.{option}` is missing")))
    }

    fn may(&self, option: &'static str) -> Option<String> {
        self.0.get(option).cloned()
    }

    fn secrets(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().filter(|(option, _)| is_file(option)).map(|(option, it)| (option.as_str(), it.as_str()))
    }

    /// A text without secrets: some providers have them in their addresses, which errors repeat.
    fn redact(&self, text: &str) -> String {
        self.secrets().fold(text.to_owned(), |text, (_, secret)| text.replace(secret, "[secret]"))
    }
}

fn is_file(option: &str) -> bool {
    option.ends_with("_file")
}

async fn read_secret(option: &str, file: &Path) -> Result<String, DnsError> {
    let text = tokio::fs::read_to_string(file).await.and_then(|text| match text.trim() {
        "" => Err(io::Error::new(io::ErrorKind::InvalidData, "it is empty")),
        text => Ok(text.to_owned()),
    });
    text.map_err(|why| DnsError::File { option: option.to_owned(), file: file.to_owned(), why })
}

type Maker = fn(&Options) -> dns_update::Result<DnsUpdater>;

/// How each provider's client is made, in the order of the table of their options.
const MAKERS: &[(&str, Maker)] = &[
    ("alidns", |o| {
        let none = None::<String>;
        let (key, secret) = (o.need("key_id")?, o.need("secret_file")?);
        DnsUpdater::new_alidns(key, secret, o.may("region"), none.clone(), none, REQUEST)
    }),
    ("arvancloud", |o| DnsUpdater::new_arvancloud(o.need("token_file")?, REQUEST)),
    ("autodns", |o| DnsUpdater::new_autodns(o.need("user")?, o.need("secret_file")?, None, REQUEST)),
    ("azuredns", azuredns),
    ("baiducloud", |o| DnsUpdater::new_baiducloud(o.need("key_id")?, o.need("secret_file")?, REQUEST)),
    ("bluecatv2", bluecatv2),
    ("bunny", |o| DnsUpdater::new_bunny(o.need("token_file")?, REQUEST)),
    ("cloudflare", |o| DnsUpdater::new_cloudflare(o.need("token_file")?, REQUEST)),
    ("cloudns", |o| {
        DnsUpdater::new_cloudns(Some(o.need("user")?), None::<String>, o.need("secret_file")?, REQUEST)
    }),
    ("constellix", |o| DnsUpdater::new_constellix(o.need("key_id")?, o.need("secret_file")?, REQUEST)),
    ("cpanel", |o| {
        DnsUpdater::new_cpanel(o.need("server")?, o.need("user")?, o.need("token_file")?, REQUEST)
    }),
    ("desec", |o| DnsUpdater::new_desec(o.need("token_file")?, REQUEST)),
    ("digitalocean", |o| DnsUpdater::new_digitalocean(o.need("token_file")?, REQUEST)),
    ("dnsimple", |o| DnsUpdater::new_dnsimple(o.need("token_file")?, o.need("account")?, REQUEST)),
    ("dnsmadeeasy", |o| DnsUpdater::new_dnsmadeeasy(o.need("key_id")?, o.need("secret_file")?, REQUEST)),
    ("domeneshop", |o| DnsUpdater::new_domeneshop(o.need("key_id")?, o.need("secret_file")?, REQUEST)),
    ("dreamhost", |o| DnsUpdater::new_dreamhost(o.need("token_file")?, REQUEST)),
    ("dynu", |o| DnsUpdater::new_dynu(o.need("token_file")?, REQUEST)),
    ("easydns", |o| DnsUpdater::new_easydns(o.need("key_id")?, o.need("secret_file")?, REQUEST)),
    ("edgedns", edgedns),
    ("exoscale", |o| DnsUpdater::new_exoscale(o.need("key_id")?, o.need("secret_file")?, REQUEST)),
    ("gandiv5", |o| DnsUpdater::new_gandiv5(o.need("token_file")?, REQUEST)),
    ("gcore", |o| DnsUpdater::new_gcore(o.need("token_file")?, REQUEST)),
    ("glesys", |o| DnsUpdater::new_glesys(o.need("user")?, o.need("secret_file")?, REQUEST)),
    ("godaddy", |o| DnsUpdater::new_godaddy(o.need("key_id")?, o.need("secret_file")?, REQUEST)),
    ("google", google),
    ("hetzner", |o| DnsUpdater::new_hetzner(o.need("token_file")?, REQUEST)),
    ("hostingde", |o| DnsUpdater::new_hostingde(o.need("token_file")?, REQUEST)),
    ("hostinger", |o| DnsUpdater::new_hostinger(o.need("token_file")?, REQUEST)),
    ("huaweicloud", |o| {
        DnsUpdater::new_huaweicloud(o.need("key_id")?, o.need("secret_file")?, o.need("region")?, REQUEST)
    }),
    ("ibmcloud", |o| DnsUpdater::new_ibmcloud(o.need("user")?, o.need("secret_file")?, REQUEST)),
    ("infoblox", infoblox),
    ("infomaniak", |o| DnsUpdater::new_infomaniak(o.need("token_file")?, REQUEST)),
    ("inwx", |o| DnsUpdater::new_inwx(o.need("user")?, o.need("secret_file")?, false, REQUEST)),
    ("ionos", |o| DnsUpdater::new_ionos(o.need("token_file")?, REQUEST)),
    ("ipv64", |o| DnsUpdater::new_ipv64(o.need("token_file")?, REQUEST)),
    ("joker", |o| DnsUpdater::new_joker(JokerAuth::ApiKey(o.need("token_file")?), REQUEST)),
    ("lightsail", lightsail),
    ("linode", |o| DnsUpdater::new_linode(o.need("token_file")?, REQUEST)),
    ("luadns", |o| DnsUpdater::new_luadns(o.need("user")?, o.need("secret_file")?, REQUEST)),
    ("mythicbeasts", |o| DnsUpdater::new_mythicbeasts(o.need("user")?, o.need("secret_file")?, REQUEST)),
    ("namecheap", |o| {
        let (user, key, ip) = (o.need("user")?, o.need("secret_file")?, o.need("client_ip")?);
        DnsUpdater::new_namecheap(user, key, ip, None::<String>, REQUEST)
    }),
    ("namedotcom", |o| DnsUpdater::new_namedotcom(o.need("user")?, o.need("token_file")?, REQUEST)),
    ("namesilo", |o| DnsUpdater::new_namesilo(o.need("token_file")?, REQUEST)),
    ("netcup", |o| {
        DnsUpdater::new_netcup(o.need("user")?, o.need("key_id")?, o.need("secret_file")?, REQUEST)
    }),
    ("netlify", |o| DnsUpdater::new_netlify(o.need("token_file")?, REQUEST)),
    ("nifcloud", |o| DnsUpdater::new_nifcloud(o.need("key_id")?, o.need("secret_file")?, REQUEST)),
    ("ns1", |o| DnsUpdater::new_ns1(o.need("token_file")?, REQUEST)),
    ("oraclecloud", oraclecloud),
    ("ovh", |o| {
        let region = o.may("region").unwrap_or_else(|| "ovh-eu".to_owned()).parse()?;
        let (key, secret, consumer) = (o.need("key_id")?, o.need("secret_file")?, o.need("token_file")?);
        DnsUpdater::new_ovh(key, secret, consumer, region, REQUEST)
    }),
    ("pdns", |o| {
        DnsUpdater::new_pdns(o.need("token_file")?, Some(o.need("server")?), None::<String>, REQUEST)
    }),
    ("plesk", |o| DnsUpdater::new_plesk(o.need("server")?, o.need("token_file")?, REQUEST)),
    ("porkbun", |o| DnsUpdater::new_porkbun(o.need("key_id")?, o.need("secret_file")?, REQUEST)),
    ("rfc2136", rfc2136),
    ("route53", route53),
    ("safedns", |o| DnsUpdater::new_safedns(o.need("token_file")?, REQUEST)),
    ("scaleway", |o| DnsUpdater::new_scaleway(o.need("token_file")?, REQUEST)),
    ("selectel", |o| {
        let (user, password) = (o.need("user")?, o.need("secret_file")?);
        DnsUpdater::new_selectel(user, password, o.need("account")?, o.need("project")?, REQUEST)
    }),
    ("simplycom", |o| DnsUpdater::new_simplycom(o.need("user")?, o.need("secret_file")?, REQUEST)),
    ("spaceship", |o| DnsUpdater::new_spaceship(o.need("key_id")?, o.need("secret_file")?, REQUEST)),
    ("tencentcloud", |o| {
        let (id, secret) = (o.need("key_id")?, o.need("secret_file")?);
        DnsUpdater::new_tencentcloud(id, secret, o.may("region"), None::<String>, REQUEST)
    }),
    ("transip", |o| DnsUpdater::new_transip(o.need("user")?, o.need("key_file")?, true, REQUEST)),
    ("ultradns", |o| DnsUpdater::new_ultradns(o.need("user")?, o.need("secret_file")?, None, REQUEST)),
    ("vercel", |o| DnsUpdater::new_vercel(o.need("token_file")?, o.may("account"), REQUEST)),
    ("volcengine", volcengine),
    ("vultr", |o| DnsUpdater::new_vultr(o.need("token_file")?, REQUEST)),
    ("websupport", |o| DnsUpdater::new_websupport(o.need("key_id")?, o.need("secret_file")?, REQUEST)),
    ("yandexcloud", |o| {
        DnsUpdater::new_yandexcloud(YandexCloudConfig {
            iam_token_b64: BASE64_STANDARD.encode(o.need("key_file")?),
            folder_id: o.need("project")?,
            request_timeout: REQUEST,
        })
    }),
    ("zoneeu", |o| DnsUpdater::new_zoneeu(o.need("user")?, o.need("secret_file")?, REQUEST)),
];

fn azuredns(o: &Options) -> dns_update::Result<DnsUpdater> {
    DnsUpdater::new_azuredns(AzureDnsConfig {
        tenant_id: o.need("tenant")?,
        client_id: o.need("key_id")?,
        client_secret: o.need("secret_file")?,
        subscription_id: o.need("subscription")?,
        resource_group: o.need("resource_group")?,
        environment: AzureEnvironment::Public,
        request_timeout: REQUEST,
    })
}

fn bluecatv2(o: &Options) -> dns_update::Result<DnsUpdater> {
    DnsUpdater::new_bluecatv2(BluecatV2Config {
        server_url: o.need("server")?,
        username: o.need("user")?,
        password: o.need("secret_file")?,
        config_name: o.need("account")?,
        view_name: o.need("view")?,
        skip_deploy: false,
        request_timeout: REQUEST,
    })
}

fn edgedns(o: &Options) -> dns_update::Result<DnsUpdater> {
    DnsUpdater::new_edgedns(EdgeDnsConfig {
        host: o.need("server")?,
        client_token: o.need("key_id")?,
        client_secret: o.need("secret_file")?,
        access_token: o.need("token_file")?,
        account_switch_key: o.may("account"),
        request_timeout: REQUEST,
    })
}

fn google(o: &Options) -> dns_update::Result<DnsUpdater> {
    DnsUpdater::new_google_cloud_dns(GoogleCloudDnsConfig {
        service_account_json: o.need("key_file")?,
        project_id: o.need("project")?,
        managed_zone: o.may("zone"),
        private_zone: false,
        impersonate_service_account: None,
        request_timeout: REQUEST,
    })
}

fn infoblox(o: &Options) -> dns_update::Result<DnsUpdater> {
    DnsUpdater::new_infoblox(InfobloxConfig {
        host: o.need("server")?,
        port: None,
        username: o.need("user")?,
        password: o.need("secret_file")?,
        wapi_version: None,
        dns_view: o.may("view"),
        request_timeout: REQUEST,
    })
}

fn lightsail(o: &Options) -> dns_update::Result<DnsUpdater> {
    DnsUpdater::new_lightsail(LightsailConfig {
        access_key_id: o.need("key_id")?,
        secret_access_key: o.need("secret_file")?,
        session_token: None,
        region: o.may("region"),
        domain: None,
        request_timeout: REQUEST,
    })
}

fn oraclecloud(o: &Options) -> dns_update::Result<DnsUpdater> {
    DnsUpdater::new_oraclecloud(OracleCloudConfig {
        tenancy_ocid: o.need("tenant")?,
        user_ocid: o.need("user")?,
        fingerprint: o.need("fingerprint")?,
        private_key_pem: o.need("key_file")?,
        private_key_password: None,
        region: o.need("region")?,
        compartment_ocid: o.need("compartment")?,
        request_timeout: REQUEST,
    })
}

/// Dynamic updates (RFC 2136), signed (RFC 8945) and over TCP, where an answer is sure.
fn rfc2136(o: &Options) -> dns_update::Result<DnsUpdater> {
    let server = o.need("server")?;
    let address = server
        .parse::<IpAddr>()
        .map(|ip| SocketAddr::new(ip, 53))
        .or_else(|_| server.parse::<SocketAddr>())
        .map_err(|_| {
            Error::Parse(format!(
                "`acme.dns.server` is {server:?}; write an IP address, with `:port` unless it is 53"
            ))
        })?;
    let key = BASE64_STANDARD
        .decode(o.need("key_file")?)
        .map_err(|error| Error::Parse(format!("the file of `acme.dns.key_file` holds no base64: {error}")))?;
    let algorithm = match o.may("algorithm").as_deref() {
        None | Some("hmac-sha256") => TsigAlgorithm::HmacSha256,
        Some("hmac-sha384") => TsigAlgorithm::HmacSha384,
        Some("hmac-sha512") => TsigAlgorithm::HmacSha512,
        Some(other) => {
            return Err(Error::Parse(format!(
                "`acme.dns.algorithm` is {other:?}; use hmac-sha256, hmac-sha384 or hmac-sha512"
            )));
        }
    };
    DnsUpdater::new_rfc2136_tsig(DnsAddress::Tcp(address), o.need("key_name")?, key, algorithm)
}

fn route53(o: &Options) -> dns_update::Result<DnsUpdater> {
    DnsUpdater::new_route53(Route53Config {
        access_key_id: o.need("key_id")?,
        secret_access_key: o.need("secret_file")?,
        session_token: None,
        region: o.may("region"),
        hosted_zone_id: o.may("zone"),
        private_zone_only: None,
        endpoint: None,
    })
}

fn volcengine(o: &Options) -> dns_update::Result<DnsUpdater> {
    DnsUpdater::new_volcengine(VolcengineConfig {
        access_key: o.need("key_id")?,
        secret_key: o.need("secret_file")?,
        region: o.may("region"),
        host: None,
        scheme: None,
        request_timeout: REQUEST,
    })
}

#[cfg(test)]
mod tests;
