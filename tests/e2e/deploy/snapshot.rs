//! Snapshots of a real PostgreSQL: taken, verified, restored, swapped in; and every way in which that fails.

mod container;
mod failing;
mod swap;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use switcher::snapshot::{
    Folder, LocalTools, Snapshot, SnapshotError, Snapshotter, Tools, restore, take, verify,
};
use switcher_tests::{Postgres, skip_or_fail};
use tempfile::TempDir;

/// A server with a filled database, and a folder for its snapshots.
struct Stage {
    postgres: Postgres,
    with: Snapshotter,
    home: TempDir,
}

/// Tables of every sort that a dump has to carry, owned by the application.
const TABLES: &str = "SET ROLE app;
    CREATE TABLE items (id bigserial PRIMARY KEY, name text NOT NULL UNIQUE, data bytea);
    INSERT INTO items (name, data) SELECT 'item ' || n, decode(md5(n::text), 'hex') FROM generate_series(1, 500) n;
    CREATE TABLE orders (id bigint, year int) PARTITION BY LIST (year);
    CREATE TABLE orders_2026 PARTITION OF orders FOR VALUES IN (2026);
    INSERT INTO orders SELECT n, 2026 FROM generate_series(1, 100) n;
    CREATE VIEW cheap AS SELECT * FROM items WHERE id < 10";

impl Stage {
    async fn set() -> Option<Self> {
        if let Some(why) = Postgres::lacks() {
            skip_or_fail(&why);
            return None;
        }
        let postgres = Postgres::start().await;
        postgres.query_in("app", TABLES);
        let home = tempfile::tempdir().expect("a folder");
        let with = Snapshotter {
            folder: Folder::new(home.path().join("snapshots")),
            url: postgres.url().parse().expect("a URL"),
            tools: Tools::Local(LocalTools::of(vec![postgres.programs().to_owned()])),
            timeout: Duration::from_secs(60),
        };
        Some(Self { postgres, with, home })
    }

    async fn take(&self) -> Result<Snapshot, SnapshotError> {
        take(&self.with, None, Timestamp::now(), &mut |_| {}).await
    }

    async fn taken(&self) -> Snapshot {
        self.take().await.expect("a snapshot")
    }

    async fn verify(&self, snapshot: &Snapshot) -> Result<Snapshot, SnapshotError> {
        verify(&self.with.folder, &self.with.tools, Duration::from_secs(60), &snapshot.id).await
    }

    /// Whatever lies in the folder of the snapshots.
    fn files(&self) -> Vec<PathBuf> {
        let Ok(entries) = fs::read_dir(self.with.folder.path()) else { return Vec::new() };
        entries.map(|entry| entry.expect("an entry").path()).collect()
    }

    fn databases(&self) -> Vec<String> {
        let sql = "SELECT datname FROM pg_database WHERE datname LIKE 'app%' ORDER BY 1";
        self.postgres.query_in("postgres", sql)
    }

    /// Asserts that a failure left nothing: no file, no database, and nothing listed.
    fn assert_nothing_stays(&self) {
        assert_eq!(self.files(), Vec::<PathBuf>::new());
        assert_eq!(self.with.folder.list().expect("a list"), []);
        assert_eq!(self.databases(), ["app"]);
    }
}

/// What a database holds, in one line.
fn content(postgres: &Postgres, database: &str) -> String {
    let sql = "SELECT (SELECT count(*) || md5(string_agg(name || encode(data, 'hex'), ',' ORDER BY id)) FROM items), \
               (SELECT count(*) || '' FROM orders), (SELECT count(*) || '' FROM cheap), \
               nextval('items_id_seq') > 500";
    postgres.query_in(database, sql).join(" ")
}

/// Whether a file anywhere below a folder holds a text.
fn holds(folder: &Path, text: &str) -> bool {
    fs::read_dir(folder).expect("a folder").any(|entry| {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            return holds(&path, text);
        }
        let bytes = fs::read(&path).expect("a file");
        bytes.windows(text.len()).any(|window| window == text.as_bytes())
    })
}

#[tokio::test]
async fn a_snapshot_is_described_and_restored_into_a_fresh_database() {
    let Some(stage) = Stage::set().await else { return };
    let mut seen = 0;
    let snapshot =
        take(&stage.with, None, Timestamp::now(), &mut |bytes| seen = bytes).await.expect("a snapshot");
    assert_eq!((snapshot.database.as_str(), snapshot.tables), ("app@127.0.0.1", 3));
    assert!(snapshot.tool.starts_with("pg_dump 1") && !snapshot.server.is_empty(), "{snapshot:?}");
    let dump = fs::read(stage.with.folder.dump(&snapshot.id)).expect("the dump");
    assert_eq!((dump.len() as u64, seen), (snapshot.size_bytes, snapshot.size_bytes));
    assert_eq!(stage.files().len(), 2);
    assert!(!holds(stage.home.path(), &stage.postgres.password()), "the password is in a file");
    assert_eq!(stage.verify(&snapshot).await.expect("it is whole"), snapshot);

    let before = content(&stage.postgres, "app");
    stage.postgres.query_in("app", "DELETE FROM items");
    let now = "2026-11-21T14:03:07Z".parse().expect("a moment");
    let restored = restore(&stage.with, &snapshot.id, None, now).await.expect("restored");
    assert_eq!((restored.database.as_str(), restored.tables), ("app_restored_20261121_140307", 3));
    assert_eq!(content(&stage.postgres, &restored.database), before);
    assert_eq!(stage.postgres.query("SELECT count(*) FROM items"), ["0"], "the live one is left alone");
    let statistics = "SELECT count(*) > 0 FROM pg_stats WHERE tablename = 'items'";
    assert_eq!(stage.postgres.query_in(&restored.database, statistics), ["t"]);
    let second =
        restore(&stage.with, &snapshot.id, None, now).await.expect("restored within the same second");
    assert_eq!(second.database, "app_restored_20261121_140308");
}

#[tokio::test]
async fn a_database_that_is_there_is_never_restored_into() {
    let Some(stage) = Stage::set().await else { return };
    let snapshot = stage.taken().await;
    let before = content(&stage.postgres, "app");
    let error =
        restore(&stage.with, &snapshot.id, Some("app"), Timestamp::now()).await.expect_err("it is live");
    assert!(error.to_string().contains("there is a database of that name already"), "{error}");
    assert_eq!(content(&stage.postgres, "app"), before);
    // Names that shells, SQL and connection strings would each take for something else.
    let odd = "app x='1' \"y\"\\";
    let restored = restore(&stage.with, &snapshot.id, Some(odd), Timestamp::now()).await.expect("restored");
    assert_eq!(restored.database, odd);
    assert_eq!(stage.databases(), ["app", odd]);
}

#[tokio::test]
async fn what_a_database_is_besides_its_content_is_restored_too() {
    let Some(stage) = Stage::set().await else { return };
    for sql in [
        "CREATE ROLE reader",
        "ALTER DATABASE app SET search_path = \"$user\", shop, public",
        "ALTER DATABASE app SET work_mem = '7MB'",
        "ALTER DATABASE app SET shop.motto = 'it''s \\ fine'",
        "REVOKE ALL ON DATABASE app FROM PUBLIC",
        "GRANT CONNECT ON DATABASE app TO reader",
        "ALTER DATABASE app CONNECTION LIMIT 55",
    ] {
        stage.postgres.query_in("app", sql);
    }
    let snapshot = stage.taken().await;
    let restored =
        restore(&stage.with, &snapshot.id, Some("app2"), Timestamp::now()).await.expect("restored");
    // Set by the administrator, and nothing that the application's role may set for a database.
    assert_eq!(restored.warnings.len(), 1, "{:?}", restored.warnings);
    assert!(restored.warnings[0].contains("it''s") && restored.warnings[0].contains("permission denied"));
    let same = |sql: &str| {
        let of = |name: &str| stage.postgres.query_in("postgres", &sql.replace("{}", name));
        assert_eq!(of("app"), of(&restored.database), "{sql}");
        assert!(!of("app").is_empty(), "{sql}");
    };
    same(
        "SELECT unnest FROM pg_db_role_setting s CROSS JOIN unnest(setconfig) JOIN pg_database d ON d.oid = s.setdatabase WHERE datname = '{}' \
         AND NOT unnest LIKE 'shop.motto=%'",
    );
    same(
        "SELECT pg_get_userbyid(datdba), datcollate, datctype, encoding, datconnlimit FROM pg_database WHERE datname = '{}'",
    );
    same(
        "SELECT a.grantee, a.privilege_type FROM pg_database, aclexplode(datacl) a WHERE datname = '{}' ORDER BY 1, 2",
    );
    same(
        "SELECT has_database_privilege('reader', '{}', 'CONNECT'), has_database_privilege('reader', '{}', 'CREATE')",
    );
}

#[tokio::test]
async fn damage_is_found_wherever_it_is() {
    let Some(stage) = Stage::set().await else { return };
    let snapshot = stage.taken().await;
    let path = stage.with.folder.dump(&snapshot.id);
    let whole = fs::read(&path).expect("the dump");
    let put = |bytes: &[u8]| {
        use switcher_config::durable::{Durability, replace};
        replace(&path, bytes, 0o600, Durability::Unsynced).expect("a file");
    };
    let middle = whole.len() / 2;
    let mut flipped = whole.clone();
    flipped[middle] ^= 1;
    for (bytes, why) in
        [(&whole[..middle], "bytes long"), (&flipped[..], "checksum"), (&[][..], "bytes long")]
    {
        put(bytes);
        let error = stage.verify(&snapshot).await.expect_err(why);
        assert!(matches!(error, SnapshotError::Damaged { .. }) && error.to_string().contains(why), "{error}");
        let error = restore(&stage.with, &snapshot.id, None, Timestamp::now()).await.expect_err(why);
        assert!(matches!(error, SnapshotError::Damaged { .. }), "{error}");
        assert_eq!(stage.databases(), ["app"]);
    }
    // A dump that was cut before its checksum was taken: the programs themselves see it.
    let description = path.with_extension("json");
    let mut told: Snapshot = serde_json::from_slice(&fs::read(&description).expect("it")).expect("it");
    put(&whole[..whole.len() - 40]);
    told.size_bytes -= 40;
    let output = std::process::Command::new("sha256sum").arg(&path).output().expect("sha256sum");
    String::from_utf8_lossy(&output.stdout)[..64].clone_into(&mut told.sha256);
    switcher_tests::certificate::put(&description, &serde_json::to_string(&told).expect("JSON"));
    let error = stage.verify(&snapshot).await.expect_err("it is cut short");
    assert!(error.to_string().contains("end of file"), "{error}");
    put(&whole);
    fs::remove_file(&path).expect("removed");
    assert!(stage.verify(&snapshot).await.expect_err("gone").to_string().contains("is not there"));
}
