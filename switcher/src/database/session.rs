//! One connection to a database: opened, asked and closed within deadlines.
//!
//! Only simple queries, so that a pooler between us and the server (which may give every transaction another
//! connection) is no trouble. Called by `schema` and `snapshot`.

use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_postgres::config::{ChannelBinding, SslMode as Wire};
use tokio_postgres::{Client, Config, NoTls, SimpleQueryMessage, SimpleQueryRow};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::error::DatabaseError;
use super::tls;
use super::url::{DatabaseUrl, Host, SslMode};

/// How long a connection may take to be made.
const CONNECT: Duration = Duration::from_secs(10);
/// How long the server may work on one of our questions; ours are about catalogs and small tables.
const STATEMENT: Duration = Duration::from_secs(10);
/// How long we wait for an answer: longer than the server may work, so that its own words arrive.
const ANSWER: Duration = Duration::from_secs(15);

/// How long the end of a connection is waited for.
const GOODBYE: Duration = Duration::from_secs(1);

/// How long an answer is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Patience {
    /// As long as a look at the catalog takes.
    Look,
    /// This long: the command does work.
    Work(Duration),
}

/// An open connection. Dropped, it is closed as soon as the runtime comes to it; [`Session::close`] waits for that.
#[derive(Debug)]
pub(crate) struct Session {
    client: Client,
    carrier: Carrier,
    label: String,
    /// Whether a transaction is open for as long as the connection is.
    reads: bool,
}

/// The task that carries a connection; it ends when the connection does.
type Carrier = JoinHandle<Result<(), tokio_postgres::Error>>;

impl Session {
    /// Connects.
    pub(crate) async fn open(url: &DatabaseUrl) -> Result<Self, DatabaseError> {
        let label = url.label();
        match timeout(CONNECT, connect(url)).await {
            Ok(Ok((client, carrier))) => Ok(Self { client, carrier, label, reads: false }),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(DatabaseError::silent(label, CONNECT.as_secs())),
        }
    }

    /// Connects and begins a transaction that can change nothing and asks in the URL's schemas. It ends with the
    /// connection.
    pub(crate) async fn read(url: &DatabaseUrl) -> Result<Self, DatabaseError> {
        let mut session = Self::open(url).await?;
        let path = url.search_path.iter().map(|schema| name(schema)).collect::<Vec<_>>().join(", ");
        let path = if path.is_empty() { path } else { format!("SET LOCAL search_path TO {path};") };
        let begin = format!(
            "BEGIN READ ONLY; SET LOCAL statement_timeout = {0}; SET LOCAL lock_timeout = {0}; {path}",
            STATEMENT.as_millis()
        );
        session.run(&begin, Patience::Look).await?;
        session.reads = true;
        Ok(session)
    }

    /// Ends its transaction, so that its locks are gone, and says goodbye.
    pub(crate) async fn close(self) {
        if self.reads {
            // A server that does not answer notices by itself that we are gone.
            let _ = self.run("ROLLBACK", Patience::Look).await;
        }
        drop(self.client);
        let _ = timeout(GOODBYE, self.carrier).await;
    }

    /// Runs a command.
    pub(crate) async fn run(&self, sql: &str, patience: Patience) -> Result<(), DatabaseError> {
        self.messages(sql, patience).await.map(drop)
    }

    /// Asks; answers the rows.
    pub(crate) async fn rows(&self, sql: &str) -> Result<Vec<SimpleQueryRow>, DatabaseError> {
        let messages = self.messages(sql, Patience::Look).await?;
        let row = |message| if let SimpleQueryMessage::Row(row) = message { Some(row) } else { None };
        Ok(messages.into_iter().filter_map(row).collect())
    }

    /// The first column of the first row.
    pub(crate) async fn value(&self, sql: &str) -> Result<Option<String>, DatabaseError> {
        Ok(self.rows(sql).await?.first().and_then(|row| row.get(0)).map(str::to_owned))
    }

    async fn messages(
        &self,
        sql: &str,
        patience: Patience,
    ) -> Result<Vec<SimpleQueryMessage>, DatabaseError> {
        let patience = match patience {
            Patience::Look => ANSWER,
            Patience::Work(time) => time,
        };
        match timeout(patience, self.client.simple_query(sql)).await {
            Ok(Ok(messages)) => Ok(messages),
            Ok(Err(error)) => Err(DatabaseError::asking(self.label.clone(), &error)),
            Err(_) => Err(DatabaseError::silent(self.label.clone(), patience.as_secs())),
        }
    }
}

async fn connect(url: &DatabaseUrl) -> Result<(Client, Carrier), DatabaseError> {
    let config = config(url);
    let failed = |error| DatabaseError::connecting(url.label(), &error);
    let refused = |why| DatabaseError::Refused { database: url.label(), why };
    match url.ssl {
        SslMode::Disable => {
            let (client, connection) = config.connect(NoTls).await.map_err(failed)?;
            Ok((client, tokio::spawn(connection)))
        }
        SslMode::Allow | SslMode::Prefer | SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull => {
            let tls = tls::config(url.ssl, &url.files).map_err(refused)?;
            let (client, connection) = config.connect(MakeRustlsConnect::new(tls)).await.map_err(failed)?;
            Ok((client, tokio::spawn(connection)))
        }
    }
}

fn config(url: &DatabaseUrl) -> Config {
    let mut config = Config::new();
    match &url.host {
        Host::Tcp(host) => config.host(host),
        Host::Socket(folder) => config.host_path(folder),
    };
    config.port(url.port).dbname(&url.database).application_name("switcher").connect_timeout(CONNECT);
    config.ssl_mode(match url.ssl {
        SslMode::Disable => Wire::Disable,
        SslMode::Allow | SslMode::Prefer => Wire::Prefer,
        SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull => Wire::Require,
    });
    if let Some(user) = &url.user {
        config.user(user);
    }
    if let Some(password) = &url.password {
        config.password(password.reveal());
    }
    if let Some(options) = &url.options {
        config.options(options);
    }
    if url.bound {
        config.channel_binding(ChannelBinding::Require);
    }
    config
}

/// An SQL name, quoted.
pub(crate) fn name(text: &str) -> String {
    format!("\"{}\"", text.replace('"', "\"\""))
}

/// An SQL text, quoted; right whatever `standard_conforming_strings` says.
pub(crate) fn literal(text: &str) -> String {
    format!("E'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_texts_are_quoted() {
        assert_eq!(name(r#"a"b"#), r#""a""b""#);
        assert_eq!(literal(r"it's \ x"), r"E'it''s \\ x'");
    }
}
