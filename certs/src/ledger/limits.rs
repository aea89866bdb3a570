//! The limits that authorities publish, as far as they can be kept from here. Read by [`super::Ledger`].
//!
//! Let's Encrypt (<https://letsencrypt.org/docs/rate-limits/>, staging:
//! <https://letsencrypt.org/docs/staging-environment/>) refills a bucket; here the same number within a sliding
//! window counts. That is never more than the bucket allows: within `t` it admits at most `allowed × ⌈t/window⌉`,
//! the bucket `allowed × (1 + t/window)`.
//!
//! Not kept: certificates per registered domain (50 in 7 days, shared with everybody else who orders for it) and
//! 3,600 failures in a row, which the waits between attempts stay far under. The authority says so itself, with
//! a `Retry-After`.

use std::fmt;

use jiff::SignedDuration;
use switcher_config::settings::Directory;

use super::What;

/// What an authority allows. An authority that none are known of has none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// As people call the authority.
    pub(super) authority: &'static str,
    pub(super) limits: &'static [Limit],
}

/// So many of a kind within any window of that length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Limit {
    pub(super) kind: Kind,
    pub(super) allowed: u32,
    pub(super) window: SignedDuration,
}

/// What a limit counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Orders of the account that replace nothing.
    Orders,
    /// Certificates for exactly the same names. Holds back only orders that replace nothing, and counts all: the
    /// authority does not promise that an exempt one leaves the limit alone.
    SameNames,
    /// Certificates for exactly the same names that replaced another. The authority exempts these; this limit is
    /// ours, against an authority or a clock that makes every new certificate due at once.
    Replacements,
    /// Failed validations of one name. Holds back every order: a name that fails is not to be asked for.
    Failures,
}

impl Kind {
    /// Whether the limit holds back such an order. `renewal`: it says which certificate it replaces (RFC 9773
    /// section 5), which Let's Encrypt exempts from its limits.
    pub(super) const fn holds_back(self, renewal: bool) -> bool {
        match self {
            Self::Orders | Self::SameNames => !renewal,
            Self::Replacements => renewal,
            Self::Failures => true,
        }
    }

    /// Whether such an entry counts towards it.
    pub(super) const fn counts(self, what: What) -> bool {
        match self {
            Self::Orders => matches!(what, What::Ordered { replaces: false }),
            Self::SameNames => matches!(what, What::Issued { .. }),
            Self::Replacements => matches!(what, What::Issued { replaces: true }),
            Self::Failures => matches!(what, What::Failed),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Orders => "new orders",
            Self::SameNames => "certificates for exactly these names",
            Self::Replacements => "renewals of exactly these names",
            Self::Failures => "failed validations of a name",
        })
    }
}

const HOUR: SignedDuration = SignedDuration::from_hours(1);
const DAY: SignedDuration = SignedDuration::from_hours(24);

const LETS_ENCRYPT: &[Limit] = &[
    Limit { kind: Kind::Orders, allowed: 300, window: SignedDuration::from_hours(3) },
    Limit { kind: Kind::SameNames, allowed: 5, window: SignedDuration::from_hours(7 * 24) },
    Limit { kind: Kind::Replacements, allowed: 10, window: DAY },
    Limit { kind: Kind::Failures, allowed: 5, window: HOUR },
];

const STAGING: &[Limit] = &[
    Limit { kind: Kind::Orders, allowed: 1_500, window: SignedDuration::from_hours(3) },
    Limit { kind: Kind::SameNames, allowed: 30_000, window: SignedDuration::from_hours(7 * 24) },
    Limit { kind: Kind::Replacements, allowed: 100, window: DAY },
    Limit { kind: Kind::Failures, allowed: 200, window: HOUR },
];

/// These publish none; a name that fails and fails is not asked for all the same.
const COURTESY: &[Limit] = &[
    Limit { kind: Kind::Replacements, allowed: 10, window: DAY },
    Limit { kind: Kind::Failures, allowed: 5, window: HOUR },
];

impl Limits {
    /// The limits of an authority. One that is written as a URL has those of the known one with that URL.
    #[must_use]
    pub fn of(directory: &Directory) -> Self {
        Self::at(directory.url())
    }

    /// The limits of the authority whose directory is there.
    pub(super) fn at(url: &str) -> Self {
        let known = [
            (Directory::LetsEncrypt, "Let's Encrypt", LETS_ENCRYPT),
            (Directory::LetsEncryptStaging, "Let's Encrypt's staging environment", STAGING),
            (Directory::ZeroSsl, "ZeroSSL", COURTESY),
            (Directory::Google, "Google Trust Services", COURTESY),
        ];
        let found = known.into_iter().find(|(directory, ..)| directory.url() == url);
        let (authority, limits) =
            found.map_or(("This authority", &[][..]), |(_, name, limits)| (name, limits));
        Self { authority, limits }
    }
}
