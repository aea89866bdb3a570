//! The `acme` section turned into its settings, and back.

use crate::keys::{AcmeKeys, EabKeys, OnDemandKeys, RetryKeys};
use crate::settings::{AcmeSettings, ExternalAccount, OnDemand, Retry};
use crate::values::{Email, Limit, OneOrMore, Positive, Resolver, SecretFile, Text, WebAddress};

impl From<AcmeKeys> for AcmeSettings {
    fn from(keys: AcmeKeys) -> Self {
        Self {
            email: keys.email.map(|email| email.0),
            directories: keys.directory.0,
            challenge: keys.challenge,
            eab: keys
                .eab
                .map(|EabKeys { kid, hmac_file }| ExternalAccount { kid: kid.0, hmac_file: hmac_file.0 }),
            ca_file: keys.ca_file,
            dns: keys.dns,
            resolvers: keys.resolvers.into_iter().map(|resolver| resolver.0).collect(),
            profile: keys.profile.map(|profile| profile.0),
            key: keys.key,
            group: keys.group,
            retry: Retry { first: keys.retry.first.0, max: keys.retry.max.0 },
            on_demand: keys.on_demand.map(OnDemand::from),
        }
    }
}

impl From<AcmeSettings> for AcmeKeys {
    fn from(acme: AcmeSettings) -> Self {
        Self {
            email: acme.email.map(Email),
            directory: OneOrMore(acme.directories),
            challenge: acme.challenge,
            eab: acme.eab.map(|eab| EabKeys { kid: Text(eab.kid), hmac_file: SecretFile(eab.hmac_file) }),
            ca_file: acme.ca_file,
            dns: acme.dns,
            resolvers: acme.resolvers.into_iter().map(Resolver).collect(),
            profile: acme.profile.map(Text),
            key: acme.key,
            group: acme.group,
            retry: RetryKeys { first: Positive(acme.retry.first), max: Positive(acme.retry.max) },
            on_demand: acme.on_demand.map(OnDemandKeys::from),
        }
    }
}

impl From<OnDemandKeys> for OnDemand {
    fn from(keys: OnDemandKeys) -> Self {
        Self { ask: keys.ask.0, limit: keys.limit.0, window: keys.window.0, refusal: keys.refusal }
    }
}

impl From<OnDemand> for OnDemandKeys {
    fn from(OnDemand { ask, limit, window, refusal }: OnDemand) -> Self {
        Self { ask: WebAddress(ask), limit: Limit(limit), window: Positive(window), refusal }
    }
}
