//! A real PostgreSQL behind a switch: sessions go on where they are, and who connects anew misses nothing.

use std::process::Stdio;

use switcher_config::Slot;
use switcher_tests::port::Port;
use switcher_tests::{PATIENCE, Postgres, Setup, skip_or_fail, within};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

/// `psql` that waits for statements.
struct Session {
    _child: Child,
    statements: ChildStdin,
    rows: Lines<BufReader<ChildStdout>>,
}

impl Session {
    fn open(postgres: &Postgres, url: &str) -> Self {
        let mut psql = Command::new(postgres.programs().join("psql"));
        psql.args(["-qAtX", "-v", "ON_ERROR_STOP=1", url]).kill_on_drop(true);
        let mut child = psql.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("psql runs");
        let statements = child.stdin.take().expect("its input");
        let rows = BufReader::new(child.stdout.take().expect("its output")).lines();
        Self { _child: child, statements, rows }
    }

    /// The one value that a statement gives; `None` when the session has ended.
    async fn ask(&mut self, sql: &str) -> Option<String> {
        self.statements.write_all(format!("{sql};\n").as_bytes()).await.ok()?;
        within(PATIENCE, "a row", self.rows.next_line()).await.expect("text")
    }
}

/// One statement over a connection of its own.
async fn once(postgres: &Postgres, url: &str, sql: &str) -> Option<String> {
    let mut psql = Command::new(postgres.programs().join("psql"));
    psql.args(["-qAtX", "-v", "ON_ERROR_STOP=1", "-c", sql, url]).stdin(Stdio::null());
    let output = within(PATIENCE, "psql to end", psql.output()).await.expect("psql runs");
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

#[tokio::test]
async fn queries_go_on_through_a_switch() {
    if let Some(why) = Postgres::lacks() {
        return skip_or_fail(&why);
    }
    let (blue, green, port) = (Postgres::start().await, Postgres::start().await, Port::reserve());
    let place =
        |url: &str| url.rsplit_once('@').expect("a host").1.split('/').next().expect("a host").to_owned();
    for (postgres, name) in [(&blue, "blue"), (&green, "green")] {
        let password = blue.password();
        let _ = postgres.query(&format!("ALTER ROLE app PASSWORD '{password}'"));
        let _ = postgres.query(&format!("CREATE TABLE me AS SELECT '{name}' AS name"));
        let _ = postgres.query("ALTER TABLE me OWNER TO app");
    }
    let listen = format!("{{listen: \"{}\"}}", port.address());
    let proxy = Setup::raw(&[place(&blue.url())], &[place(&green.url())], &listen)
        .shop("drain", "{connections: 2s, spread: 0s}")
        .start_healthy()
        .await;
    let url = blue.url().replace(&place(&blue.url()), &port.address().to_string());
    let name = "SELECT name FROM me";

    let mut session = Session::open(&blue, &url);
    assert_eq!(session.ask("BEGIN; SELECT name FROM me").await.as_deref(), Some("blue"));
    let (mut met, mut left) = (Vec::new(), None);
    for turn in 0..30 {
        if turn == 10 {
            left = Some(proxy.admin().promote(Slot::Green).await.expect("promoted").drained_generation);
            // The transaction that is under way is finished where it began.
            assert_eq!(session.ask("COMMIT; SELECT name FROM me").await.as_deref(), Some("blue"));
        }
        met.push(once(&blue, &url, name).await.expect("a query that is answered"));
    }
    assert!(
        met[..10].iter().all(|name| name == "blue") && met[10..].iter().all(|name| name == "green"),
        "{met:?}"
    );

    // The pool's connection that stays is cut at the deadline, and whoever comes back is served.
    let receipt = proxy.admin().drain(left.expect("a switch"), "20s").await.expect("a receipt");
    assert_eq!((receipt.drained, receipt.cut.connections.len()), (true, 1), "{receipt:?}");
    assert_eq!(session.ask(name).await, None, "it is cut");
    assert_eq!(Session::open(&blue, &url).ask(name).await.as_deref(), Some("green"));
}
