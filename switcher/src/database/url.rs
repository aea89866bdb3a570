//! A PostgreSQL URL, parsed: `postgres://user:password@host:5432/database?sslmode=require`.
//!
//! The password never leaves through `Display` or `Debug`, nor through an error. The rules are libpq's (PostgreSQL
//! manual, 34.1.1.2), with the parameters that other tools add to URLs left alone. Made once `${…}` is filled in.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// The port where a URL names none.
const PORT: u16 = 5432;
/// Where Debian's PostgreSQL has its sockets; used where a URL names no host.
const SOCKETS: &str = "/var/run/postgresql";

/// Where a database is and how it is reached.
#[derive(Clone, PartialEq, Eq)]
pub struct DatabaseUrl {
    /// The machine or the folder of a unix socket.
    pub host: Host,
    /// The port. Default 5432.
    pub port: u16,
    /// The role. Default: the user of this process.
    pub user: Option<String>,
    /// The role's password, if it needs one.
    pub password: Option<Password>,
    /// The database. Default: named as the role.
    pub database: String,
    /// Whether the connection is encrypted. Default `prefer`.
    pub ssl: SslMode,
    /// Files of TLS.
    pub files: SslFiles,
    /// The schemas that are searched, as `search_path`, `schema` (Prisma) or `currentSchema` (JDBC) name them.
    /// Empty: the role's own search path.
    pub search_path: Vec<String>,
    /// Settings of the session (`options=-c …`).
    pub options: Option<String>,
    /// Whether the password's exchange is bound to the TLS channel (`channel_binding=require`).
    pub bound: bool,
}

/// A machine, or the folder of a unix socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host {
    /// A name or an address.
    Tcp(String),
    /// The folder that holds `.s.PGSQL.<port>`.
    Socket(PathBuf),
}

/// A password. Shown nowhere.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(String);

impl Password {
    /// The password itself; never into a message or an argument.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Whether a connection is encrypted, and how much the other side has to prove (PostgreSQL manual, 34.19.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SslMode {
    /// Never.
    Disable,
    /// Where the server insists.
    Allow,
    /// Where the server offers it.
    Prefer,
    /// Always; the other side proves nothing.
    Require,
    /// Always, with a certificate of a trusted authority.
    VerifyCa,
    /// Always, with a certificate of a trusted authority for this very host.
    VerifyFull,
}

impl SslMode {
    /// As libpq writes it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Disable => "disable",
            Self::Allow => "allow",
            Self::Prefer => "prefer",
            Self::Require => "require",
            Self::VerifyCa => "verify-ca",
            Self::VerifyFull => "verify-full",
        }
    }
}

/// Files of TLS, as a URL names them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SslFiles {
    /// `sslrootcert`: the authorities to trust. Default: the system's.
    pub roots: Option<PathBuf>,
    /// `sslcert`: our own certificate.
    pub certificate: Option<PathBuf>,
    /// `sslkey`: its key.
    pub key: Option<PathBuf>,
}

impl DatabaseUrl {
    /// The same server and role, another database.
    #[must_use]
    pub fn with_database(&self, name: &str) -> Self {
        Self { database: name.to_owned(), ..self.clone() }
    }

    /// `shop@db.example.com`: what people call it.
    #[must_use]
    pub fn label(&self) -> String {
        match &self.host {
            Host::Tcp(host) => format!("{}@{host}", self.database),
            Host::Socket(folder) => format!("{}@{}", self.database, folder.display()),
        }
    }

    /// A text in which the password, should it appear, is hidden.
    #[must_use]
    pub fn redact(&self, text: &str) -> String {
        match &self.password {
            Some(Password(secret)) if !secret.is_empty() => text.replace(secret.as_str(), "***"),
            Some(_) | None => text.to_owned(),
        }
    }
}

/// Without the password and the parameters.
impl fmt::Display for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("postgres://")?;
        if let Some(user) = &self.user {
            write!(f, "{user}@")?;
        }
        match &self.host {
            Host::Tcp(host) if host.contains(':') => write!(f, "[{host}]:{}", self.port)?,
            Host::Tcp(host) => write!(f, "{host}:{}", self.port)?,
            Host::Socket(_) => {}
        }
        write!(f, "/{}", self.database)?;
        match &self.host {
            Host::Socket(folder) => write!(f, "?host={}", folder.display()),
            Host::Tcp(_) => Ok(()),
        }
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DatabaseUrl({self})")
    }
}

/// A text that is no URL of a PostgreSQL database. Says which part is wrong, never what it holds.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the database's URL is not understood: {0}; write postgres://user:password@host:5432/database")]
pub struct InvalidUrl(pub String);

impl FromStr for DatabaseUrl {
    type Err = InvalidUrl;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let rest = after_scheme(text.trim())?;
        // An @ after the first / belongs to the rest; before it, the last one ends the password.
        let until_path = rest.find('/').unwrap_or(rest.len());
        let (userinfo, rest) = match rest[..until_path].rfind('@') {
            Some(at) => (&rest[..at], &rest[at + 1..]),
            None => ("", rest),
        };
        let (place, parameters) = rest.split_once('?').unwrap_or((rest, ""));
        let (address, path) = place.split_once('/').unwrap_or((place, ""));
        let mut parts = Parts::default();
        let (user, password) = userinfo.split_once(':').unwrap_or((userinfo, ""));
        parts.set("user", decoded("the user", user)?)?;
        parts.set("password", decoded("the password", password)?)?;
        parts.set("dbname", decoded("the name of the database", path)?)?;
        parts.address(address)?;
        for parameter in parameters.split('&').filter(|parameter| !parameter.is_empty()) {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            let name = decoded("the name of a parameter", name)?;
            let value = decoded(&format!("the parameter {name:?}"), value)?;
            parts.set(&name, value)?;
        }
        parts.whole()
    }
}

/// What follows `postgres://`.
fn after_scheme(text: &str) -> Result<&str, InvalidUrl> {
    let text = text.strip_prefix("jdbc:").unwrap_or(text);
    match text.split_once("://") {
        // `postgresql+psycopg://` and the like are SQLAlchemy's.
        Some((scheme, rest)) if matches!(scheme.split('+').next(), Some("postgres" | "postgresql")) => {
            Ok(rest)
        }
        Some((scheme, _)) if scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c)) => Err(
            InvalidUrl(format!("it begins with {scheme}://, and only PostgreSQL's databases are understood")),
        ),
        Some(_) | None => Err(InvalidUrl("it does not begin with postgres://".to_owned())),
    }
}

/// The parts of a URL as they are met; an empty one counts as not given.
#[derive(Default)]
struct Parts {
    host: Option<Host>,
    port: Option<u16>,
    user: Option<String>,
    password: Option<String>,
    database: Option<String>,
    ssl: Option<SslMode>,
    files: SslFiles,
    search_path: Vec<String>,
    options: Option<String>,
    bound: bool,
}

impl Parts {
    /// Takes `host`, `host:port`, `[::1]:port` or nothing.
    fn address(&mut self, address: &str) -> Result<(), InvalidUrl> {
        if address.contains(',') {
            return Err(InvalidUrl("it names several hosts; name the one that takes writes".to_owned()));
        }
        let (host, port) = match address.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((host, after)) => (host, after.strip_prefix(':').unwrap_or(after)),
            None => address.rsplit_once(':').unwrap_or((address, "")),
        };
        self.set("host", decoded("the host", host)?)?;
        self.set("port", decoded("the port", port)?)
    }

    /// Takes one part by libpq's name for it; leaves alone what only other tools know.
    fn set(&mut self, name: &str, value: String) -> Result<(), InvalidUrl> {
        if value.is_empty() {
            return Ok(());
        }
        match name {
            "host" if value.starts_with('/') => self.host = Some(Host::Socket(value.into())),
            "host" => self.host = Some(Host::Tcp(value)),
            "port" => {
                let port = value.parse().ok().filter(|port| *port != 0);
                self.port = Some(port.ok_or_else(|| InvalidUrl("the port is no number".to_owned()))?);
            }
            "user" => self.user = Some(value),
            "password" => self.password = Some(value),
            "dbname" => self.database = Some(value),
            "sslmode" => self.ssl = Some(ssl_mode(&value)?),
            "ssl" if value == "true" => self.ssl = Some(SslMode::Require),
            "sslrootcert" if value != "system" => self.files.roots = Some(value.into()),
            "sslcert" => self.files.certificate = Some(value.into()),
            "sslkey" => self.files.key = Some(value.into()),
            "search_path" | "schema" | "currentSchema" => self.search_path = schemas(&value),
            "options" => self.options = Some(value),
            "channel_binding" => self.bound = value == "require",
            _ => {}
        }
        Ok(())
    }

    fn whole(self) -> Result<DatabaseUrl, InvalidUrl> {
        let database = self
            .database
            .or_else(|| self.user.clone())
            .ok_or_else(|| InvalidUrl("it names no database".to_owned()))?;
        Ok(DatabaseUrl {
            host: self.host.unwrap_or_else(|| Host::Socket(Path::new(SOCKETS).to_owned())),
            port: self.port.unwrap_or(PORT),
            user: self.user,
            password: self.password.map(Password),
            database,
            ssl: self.ssl.unwrap_or(SslMode::Prefer),
            files: self.files,
            search_path: self.search_path,
            options: self.options,
            bound: self.bound,
        })
    }
}

fn ssl_mode(text: &str) -> Result<SslMode, InvalidUrl> {
    match text {
        "disable" => Ok(SslMode::Disable),
        "allow" => Ok(SslMode::Allow),
        "prefer" => Ok(SslMode::Prefer),
        // node-postgres' word for what libpq calls `require`.
        "require" | "no-verify" => Ok(SslMode::Require),
        "verify-ca" => Ok(SslMode::VerifyCa),
        "verify-full" => Ok(SslMode::VerifyFull),
        _ => Err(InvalidUrl(
            "sslmode is none of disable, allow, prefer, require, verify-ca and verify-full".to_owned(),
        )),
    }
}

/// `"a b",public` as a list of names.
fn schemas(text: &str) -> Vec<String> {
    text.split(',')
        .map(|name| name.trim().trim_matches('"').to_owned())
        .filter(|name| !name.is_empty())
        .collect()
}

/// Percent-decoding (RFC 3986 section 2.1); `part` names what is wrong without showing it.
fn decoded(part: &str, text: &str) -> Result<String, InvalidUrl> {
    let wrong = |why: &str| InvalidUrl(format!("{part} {why}"));
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || rest.next().and_then(|b| char::from(b).to_digit(16));
        let (Some(high), Some(low)) = (digit(), digit()) else {
            return Err(wrong("has a % without two hexadecimal digits; a % itself is written %25"));
        };
        bytes.push(u8::try_from(high * 16 + low).unwrap_or_default());
    }
    let text = String::from_utf8(bytes).map_err(|_| wrong("is not UTF-8 once it is decoded"))?;
    if text.contains('\0') { Err(wrong("holds a zero byte")) } else { Ok(text) }
}

#[cfg(test)]
mod tests;
