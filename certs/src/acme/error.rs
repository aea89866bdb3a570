//! Why no certificate was obtained, each as a sentence that names the authority and what to do.

use std::path::PathBuf;

use jiff::Timestamp;

use crate::dns::DnsError;
use crate::folder::FolderError;
use crate::record::ChallengeKind;

/// An attempt that failed.
#[derive(Debug, thiserror::Error)]
pub enum AcmeError {
    /// The authority cannot be reached.
    #[error("{ca} cannot be reached: {why}; check this machine's network, and the URL in `acme.directory`")]
    Unreachable {
        /// The directory's URL.
        ca: String,
        /// What the network said.
        why: String,
    },
    /// The authority answered something that is no ACME.
    #[error("{ca} answered nonsense: {why}")]
    Nonsense {
        /// The directory's URL.
        ca: String,
        /// What was wrong with the answer.
        why: String,
    },
    /// The authority refused.
    #[error("{ca} refused: {why}")]
    Refused {
        /// The directory's URL.
        ca: String,
        /// Its words.
        why: String,
        /// The type of its problem document (RFC 8555 section 6.7), without the namespace.
        kind: Option<String>,
    },
    /// The authority looked and was not convinced.
    #[error(
        "{ca} could not verify {name} by {kind}: {why}; `switcher certs check {name}` says what stands in the way"
    )]
    Validation {
        /// The directory's URL.
        ca: String,
        /// The name.
        name: String,
        /// How it looked.
        kind: ChallengeKind,
        /// Its words.
        why: String,
    },
    /// There is no way to prove control over a name.
    #[error("{ca} offers no challenge for {name} that can be answered here; {hint}")]
    NoChallenge {
        /// The directory's URL.
        ca: String,
        /// The name.
        name: String,
        /// What to configure.
        hint: &'static str,
    },
    /// The authority asks for an external account.
    #[error(
        "{ca} asks for an external account; put the key id and the HMAC key that it gave you into `acme.eab`"
    )]
    NeedsExternalAccount {
        /// The directory's URL.
        ca: String,
    },
    /// The external account's key cannot be used.
    #[error("the HMAC key in {} cannot be used: {why}; it must be the base64url text that the authority gave", path.display())]
    ExternalAccountKey {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The authority does not have the profile.
    #[error("{ca} has no profile {profile:?}; it offers {offered}. Correct `acme.profile`")]
    NoProfile {
        /// The directory's URL.
        ca: String,
        /// The profile that was asked for.
        profile: String,
        /// Those it has.
        offered: String,
    },
    /// The roots for the authority's endpoint cannot be used.
    #[error("`acme.ca_file` {} cannot be used: {why}; put the authority's root there in PEM, or correct the path", path.display())]
    Roots {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The authority does not come to an end.
    #[error("{ca} did not finish in time while {doing}; the order is kept and resumed")]
    TooSlow {
        /// The directory's URL.
        ca: String,
        /// What it was to do.
        doing: &'static str,
    },
    /// A limit of the authority's is reached.
    #[error("{limit}, so {ca} is not asked before {until}")]
    NoRoom {
        /// The directory's URL.
        ca: String,
        /// Which limit, as a sentence.
        limit: String,
        /// When there is room again.
        until: Timestamp,
    },
    /// The record for dns-01 could not be set or seen.
    #[error("{0}")]
    Dns(#[from] DnsError),
    /// Something could not be kept.
    #[error("{0}")]
    Folder(#[from] FolderError),
    /// A key or a request could not be made.
    #[error("cannot make {what}: {why}")]
    Make {
        /// What.
        what: &'static str,
        /// What the library said.
        why: String,
    },
    /// The name is not allowed (any more).
    #[error("{0}")]
    NotAllowed(String),
}

impl AcmeError {
    /// Whether the fault is on this machine, so that asking another authority would not help.
    #[must_use]
    pub const fn is_ours(&self) -> bool {
        match self {
            Self::Folder(_) | Self::Make { .. } | Self::NotAllowed(_) => true,
            Self::Unreachable { .. }
            | Self::Nonsense { .. }
            | Self::Refused { .. }
            | Self::Validation { .. }
            | Self::NoChallenge { .. }
            | Self::NeedsExternalAccount { .. }
            | Self::ExternalAccountKey { .. }
            | Self::NoProfile { .. }
            | Self::Roots { .. }
            | Self::TooSlow { .. }
            | Self::NoRoom { .. }
            | Self::Dns(_) => false,
        }
    }

    /// What the library says of an authority, in our words.
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "the library's errors may grow; what is new is told in its words"
    )]
    pub(crate) fn of(ca: &str, doing: &'static str, error: instant_acme::Error) -> Self {
        use instant_acme::Error;
        let ca = ca.to_owned();
        let kind = super::problem_type(&error).map(str::to_owned);
        match error {
            Error::Api(problem) => Self::Refused { ca, why: words(&problem), kind },
            Error::Timeout(_) => Self::TooSlow { ca, doing },
            Error::Json(why) => {
                Self::Nonsense { ca, why: format!("no JSON of ACME's while {doing} ({why})") }
            }
            Error::Str(why) => Self::Nonsense { ca, why: format!("{why} while {doing}") },
            Error::Unsupported(what) => Self::Nonsense { ca, why: format!("it does not support {what}") },
            Error::Other(why) => Self::Unreachable { ca, why: why.to_string() },
            other => Self::Nonsense { ca, why: format!("{other} while {doing}") },
        }
    }
}

/// A problem document as a sentence: its detail with those of its parts (RFC 8555 section 6.7.1).
pub(crate) fn words(problem: &instant_acme::Problem) -> String {
    let kind =
        problem.r#type.as_deref().unwrap_or("no type").trim_start_matches("urn:ietf:params:acme:error:");
    let mut words = match &problem.detail {
        Some(detail) => format!("{} ({kind})", detail.trim_end_matches('.')),
        None => kind.to_owned(),
    };
    for part in &problem.subproblems {
        words.push_str("; ");
        if let Some(identifier) = &part.identifier {
            words.push_str(&format!("{}: ", identifier.authorized(false)));
        }
        words.push_str(
            part.detail.as_deref().or(part.r#type.as_deref()).unwrap_or("no detail").trim_end_matches('.'),
        );
    }
    words
}
