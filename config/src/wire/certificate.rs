//! What the admin API says of certificates, and what can be asked of them.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// One served certificate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct CertificateStatus {
    /// The names it covers.
    pub names: Vec<String>,
    /// Where it comes from.
    pub source: CertificateSource,
    /// The authority's directory, of one that came by ACME.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<String>,
    /// When it expires.
    #[schema(value_type = String)]
    pub not_after: Timestamp,
    /// When it is to be renewed, of one that the proxy renews.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub renew_at: Option<Timestamp>,
    /// Attempts that failed since the last success.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub failures: u32,
    /// When the next attempt follows, after failures.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub retry_at: Option<Timestamp>,
    /// What is wrong, where something is: with its files, its dates, or the last attempt to renew it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks with a reference")]
const fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// Where a certificate comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum CertificateSource {
    /// By ACME.
    Acme,
    /// From the proxy's own authority.
    Internal,
    /// From files of the operator's.
    File,
    /// Self-signed, until there is a real one.
    Placeholder,
}

impl std::fmt::Display for CertificateSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Acme => "acme",
            Self::Internal => "internal",
            Self::File => "file",
            Self::Placeholder => "placeholder",
        })
    }
}

/// Something that happened to a certificate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct CertificateEvent {
    /// What.
    pub what: CertificateHappening,
    /// The names it is for.
    pub names: Vec<String>,
    /// The authority's directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<String>,
    /// When the certificate expires.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub not_after: Option<Timestamp>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// When the next attempt follows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub retry_at: Option<Timestamp>,
}

/// What can happen to a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum CertificateHappening {
    /// The first one was issued.
    Issued,
    /// A newer one took its place.
    Renewed,
    /// An attempt failed; what was served is served on.
    Failed,
    /// One was taken over from another program.
    Imported,
    /// It was revoked.
    Revoked,
    /// Its file cannot be used and was set aside.
    Damaged,
}

/// `POST /v1/certificates/renew`
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RenewRequest {
    /// Certificates that cover one of these names; none means all.
    #[serde(default)]
    pub names: Vec<String>,
    /// Also those that are not due, and without waiting after failures. The authority's limits are kept all the same.
    #[serde(default)]
    pub force: bool,
}

/// What became of a request to renew, one for each certificate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Renewed {
    /// Each certificate that was meant.
    pub certificates: Vec<Renewal>,
}

/// What became of one certificate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Renewal {
    /// Its names.
    pub names: Vec<String>,
    /// What became of it.
    pub outcome: RenewalOutcome,
    /// When what is served now expires.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub not_after: Option<Timestamp>,
    /// When it is due, or the next attempt follows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub next: Option<Timestamp>,
    /// Why it failed, or why nothing was done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// What can become of a certificate that is to be renewed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RenewalOutcome {
    /// A new one is served.
    Renewed,
    /// It is not due yet.
    NotDue,
    /// The attempt failed; what was served is served on.
    Failed,
    /// It comes from files, so whoever wrote them has to renew it.
    NotOurs,
}

/// `POST /v1/certificates/revoke`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RevokeRequest {
    /// The certificate that is shown to clients of this name.
    pub name: String,
    /// Why (RFC 5280 section 5.3.1).
    #[serde(default)]
    pub reason: RevocationReason,
}

/// Why a certificate is revoked (RFC 5280 section 5.3.1).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RevocationReason {
    /// No reason given.
    #[default]
    Unspecified,
    /// Somebody else has the key.
    KeyCompromise,
    /// It was replaced by another.
    Superseded,
    /// The name is not served any more.
    CessationOfOperation,
}

/// A revoked certificate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Revoked {
    /// Its names.
    pub names: Vec<String>,
    /// The authority that revoked it.
    pub ca: String,
    /// What became of its replacement, which has a new key.
    pub replacement: Renewal,
}

/// `POST /v1/certificates/check`
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CheckRequest {
    /// The names to look at; none means every name that a certificate is wanted for.
    #[serde(default)]
    pub names: Vec<String>,
}

/// What stands between the names and their certificates, found without asking the authority for any.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Checked {
    /// Everything that was looked at.
    pub findings: Vec<Finding>,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Finding {
    /// The name it is about; none when it is about all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What was looked at.
    pub check: CheckKind,
    /// How it looks.
    pub verdict: Verdict,
    /// What was found, as a sentence.
    pub message: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
}

/// What is looked at before an authority is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum CheckKind {
    /// Whether the name resolves.
    Dns,
    /// Whether port 80 of what it resolves to is this proxy.
    Http,
    /// Whether port 443 of what it resolves to is this proxy.
    Tls,
    /// Whether the domain's CAA records allow the authority (RFC 8659).
    Caa,
    /// Whether this machine's clock agrees with the authority's.
    Clock,
    /// Whether the authority's directory can be read.
    Directory,
    /// What is left of the authority's limits.
    Limits,
    /// Whether the configuration can prove control over the name at all.
    Challenge,
}

/// How it looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Good.
    Ok,
    /// It may still work.
    Warning,
    /// It will not work.
    Problem,
}

/// What was taken over from the inbox of imports.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Imported {
    /// One for each file.
    pub certificates: Vec<ImportedCertificate>,
}

/// One file of the inbox.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ImportedCertificate {
    /// The file.
    pub file: String,
    /// The names of the certificate; empty when it cannot be read.
    pub names: Vec<String>,
    /// Whether it is served now.
    pub taken: bool,
    /// When it expires.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub not_after: Option<Timestamp>,
    /// Why it was not taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}
