//! PostgreSQL's wire protocol, version 3, by hand: start, a password in clear text, simple queries.
//!
//! `DATABASE_URL` is `postgres://user:password@host:port/database`, from the environment or from
//! `/run/secrets/database_url`.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use crate::{secrets, variable};

/// What went wrong, as a sentence.
pub(crate) type Trouble = String;

/// Said where no database is named.
pub(crate) const NONE: &str = "DATABASE_URL is missing";

/// A connection.
pub(crate) struct Database {
    stream: TcpStream,
    password: String,
}

/// How often a schema was migrated, and to which version: `version dirty runs`.
pub(crate) fn schema() -> Result<String, Trouble> {
    let mut database = Database::connect()?;
    let rows = database.query(
        "SELECT (SELECT version || ' ' || dirty FROM schema_migrations), (SELECT count(*) FROM migrate_runs)",
    )?;
    Ok(rows.iter().map(|row| row.join(" ") + "\n").collect())
}

impl Database {
    /// Connects as the environment says.
    pub(crate) fn connect() -> Result<Self, Trouble> {
        let secret = || secrets().into_iter().find(|(name, _)| name == "database_url").map(|(_, url)| url);
        let url = variable("DATABASE_URL").or_else(secret).ok_or(NONE)?;
        let rest = url.trim().split_once("://").ok_or("DATABASE_URL is no URL")?.1;
        let rest = rest.split('?').next().unwrap_or(rest);
        let (who, place) = rest.rsplit_once('@').unwrap_or(("postgres", rest));
        let (user, password) = who.split_once(':').unwrap_or((who, ""));
        let (host, name) = place.split_once('/').unwrap_or((place, user));
        let stream =
            TcpStream::connect(host).map_err(|error| format!("cannot connect to {host}: {error}"))?;
        stream.set_read_timeout(Some(Duration::from_secs(60))).map_err(|error| error.to_string())?;
        let mut database = Self { stream, password: password.to_owned() };
        let mut hello = vec![0, 3, 0, 0];
        for word in ["user", user, "database", name, ""] {
            hello.extend(word.as_bytes());
            hello.push(0);
        }
        database.send(None, &hello)?;
        database.answers().map(|_| database)
    }

    /// Runs statements; the rows of all of them, absent values as empty texts.
    pub(crate) fn query(&mut self, sql: &str) -> Result<Vec<Vec<String>>, Trouble> {
        self.send(Some(b'Q'), &[sql.as_bytes(), &[0]].concat())?;
        self.answers()
    }

    fn send(&mut self, kind: Option<u8>, body: &[u8]) -> Result<(), Trouble> {
        let length = u32::try_from(body.len() + 4).map_err(|error| error.to_string())?;
        let mut message: Vec<u8> = kind.into_iter().collect();
        message.extend(length.to_be_bytes());
        message.extend(body);
        self.stream.write_all(&message).map_err(|error| error.to_string())
    }

    /// Reads to the server's "ready for query"; the first error in between is the outcome.
    fn answers(&mut self) -> Result<Vec<Vec<String>>, Trouble> {
        let (mut rows, mut trouble) = (Vec::new(), None);
        loop {
            let (kind, body) = self.message().map_err(|error| trouble.clone().unwrap_or(error))?;
            match kind {
                b'R' if body.starts_with(&[0, 0, 0, 3]) => {
                    let password = [self.password.as_bytes(), &[0]].concat();
                    self.send(Some(b'p'), &password)?;
                }
                b'R' if body != [0, 0, 0, 0] => return Err("the server wants SCRAM; use `password`".into()),
                b'E' => trouble = trouble.or_else(|| Some(said(&body))),
                b'D' => rows.push(columns(&body)),
                b'Z' => return trouble.map_or(Ok(rows), Err),
                _ => {}
            }
        }
    }

    fn message(&mut self) -> Result<(u8, Vec<u8>), Trouble> {
        let mut head = [0; 5];
        self.stream.read_exact(&mut head).map_err(|error| format!("the server left: {error}"))?;
        let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]);
        let mut body = vec![0; usize::try_from(length).unwrap_or(4).saturating_sub(4)];
        self.stream.read_exact(&mut body).map_err(|error| format!("the server left: {error}"))?;
        Ok((head[0], body))
    }
}

/// The message of an error: the field `M`.
fn said(body: &[u8]) -> String {
    let fields = body.split(|byte| *byte == 0).filter_map(|field| field.split_first());
    let message = fields.into_iter().find(|(kind, _)| **kind == b'M').map(|(_, text)| text);
    String::from_utf8_lossy(message.unwrap_or_default()).into_owned()
}

fn columns(body: &[u8]) -> Vec<String> {
    let mut left = body.get(2..).unwrap_or_default();
    let mut columns = Vec::new();
    while let Some((length, rest)) = left.split_first_chunk::<4>() {
        let length = usize::try_from(i32::from_be_bytes(*length)).unwrap_or(0).min(rest.len());
        columns.push(String::from_utf8_lossy(&rest[..length]).into_owned());
        left = &rest[length..];
    }
    columns
}
