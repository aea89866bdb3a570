//! The tools that migrate schemas: how each one's table is recognised, read and mended.
//!
//! The layouts are those that the tools create themselves; a table of the same name with other columns is somebody's
//! own and left alone. Pure: `schema` asks the questions.

use std::fmt;

use serde::{Serialize, Serializer};

use super::schema::{Dirty, SchemaState};
use super::session::{literal, name};

/// A tool that migrates schemas and remembers it in the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Tool {
    /// golang-migrate: `schema_migrations (version bigint, dirty boolean)`, one row.
    GolangMigrate,
    /// dbmate: `schema_migrations (version varchar)`.
    Dbmate,
    /// Ruby on Rails: as dbmate, beside `ar_internal_metadata`.
    Rails,
    /// sqlx: `_sqlx_migrations`.
    Sqlx,
    /// refinery: `refinery_schema_history`.
    Refinery,
    /// Django: `django_migrations`.
    Django,
    /// Alembic: `alembic_version`, a row for each head.
    Alembic,
    /// Flyway: `flyway_schema_history`.
    Flyway,
    /// Prisma: `_prisma_migrations`.
    Prisma,
    /// diesel: `__diesel_schema_migrations`.
    Diesel,
}

/// A table as the catalog describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Table {
    /// Its schema.
    pub(super) schema: String,
    /// Its name.
    pub(super) name: String,
    /// Its columns: name and type.
    pub(super) columns: Vec<(String, String)>,
}

impl Table {
    fn has(&self, columns: &[&str]) -> bool {
        columns.iter().all(|wanted| self.columns.iter().any(|(name, _)| name == wanted))
    }
}

/// What stands beside a table of Rails.
const RAILS: &str = "ar_internal_metadata";

/// The tables that are looked for.
const TABLES: [&str; 9] = [
    "schema_migrations",
    RAILS,
    "_sqlx_migrations",
    "refinery_schema_history",
    "django_migrations",
    "alembic_version",
    "flyway_schema_history",
    "_prisma_migrations",
    "__diesel_schema_migrations",
];

/// Asks the catalog for tables of these names and their columns: those of the search path first, in its order, then
/// those elsewhere that the role may read.
pub(super) fn catalog() -> String {
    let names = TABLES.map(literal).join(", ");
    format!(
        "SELECT n.nspname, c.relname, a.attname, pg_catalog.format_type(a.atttypid, NULL) \
         FROM pg_catalog.pg_class c \
         JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
         JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped \
         CROSS JOIN LATERAL (SELECT pg_catalog.array_position(pg_catalog.current_schemas(false), n.nspname)) p(at) \
         WHERE c.relkind IN ('r', 'p', 'v', 'f') AND c.relname IN ({names}) \
         AND n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema' \
         AND (p.at IS NOT NULL OR (pg_catalog.has_schema_privilege(n.oid, 'USAGE') \
              AND pg_catalog.has_table_privilege(c.oid, 'SELECT'))) \
         ORDER BY p.at NULLS LAST, n.nspname, c.relname, a.attnum"
    )
}

impl Tool {
    /// Its name, as it writes itself.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::GolangMigrate => "golang-migrate",
            Self::Dbmate => "dbmate",
            Self::Rails => "Rails",
            Self::Sqlx => "sqlx",
            Self::Refinery => "refinery",
            Self::Django => "Django",
            Self::Alembic => "Alembic",
            Self::Flyway => "Flyway",
            Self::Prisma => "Prisma",
            Self::Diesel => "diesel",
        }
    }

    /// Whose table this is; `all` are the tables that were found.
    pub(super) fn of(table: &Table, all: &[Table]) -> Option<Self> {
        let columns: Vec<(&str, &str)> =
            table.columns.iter().map(|(name, kind)| (name.as_str(), kind.as_str())).collect();
        let rails = || all.iter().any(|other| other.schema == table.schema && other.name == RAILS);
        let known = |tool, columns: &[&str]| table.has(columns).then_some(tool);
        match table.name.as_str() {
            "schema_migrations" => match columns.as_slice() {
                [("version", "bigint"), ("dirty", "boolean")] => Some(Self::GolangMigrate),
                [("version", "character varying" | "text")] if rails() => Some(Self::Rails),
                [("version", "character varying" | "text")] => Some(Self::Dbmate),
                _ => None,
            },
            "_sqlx_migrations" => known(Self::Sqlx, &["version", "description", "success", "checksum"]),
            "refinery_schema_history" => {
                known(Self::Refinery, &["version", "name", "applied_on", "checksum"])
            }
            "django_migrations" => known(Self::Django, &["id", "app", "name", "applied"]),
            "alembic_version" => known(Self::Alembic, &["version_num"]),
            "flyway_schema_history" => {
                known(Self::Flyway, &["installed_rank", "version", "type", "script", "success"])
            }
            "_prisma_migrations" => known(
                Self::Prisma,
                &["migration_name", "started_at", "finished_at", "rolled_back_at", "applied_steps_count"],
            ),
            "__diesel_schema_migrations" => known(Self::Diesel, &["version", "run_on"]),
            _ => None,
        }
    }

    /// A question with one row of three columns: the newest version, how many are applied, and what got stuck.
    pub(super) fn question(self, table: &Table) -> String {
        let from = format!("{}.{}", name(&table.schema), name(&table.name));
        let columns = match self {
            // -1 stands for a failed step back to nothing.
            Self::GolangMigrate => {
                "NULLIF(version, -1)::text, NULL, CASE WHEN dirty THEN version::text END FROM {} LIMIT 1"
            }
            Self::Dbmate | Self::Rails | Self::Diesel => {
                "max(version::text COLLATE \"C\"), count(*)::text, NULL FROM {}"
            }
            Self::Refinery => "max(version)::text, count(*)::text, NULL FROM {}",
            Self::Sqlx => {
                "(max(version) FILTER (WHERE success))::text, (count(*) FILTER (WHERE success))::text, \
                 string_agg(version::text, ', ' ORDER BY version) FILTER (WHERE NOT success) FROM {}"
            }
            Self::Django => {
                "(SELECT app || '.' || name FROM {} ORDER BY id DESC LIMIT 1), count(*)::text, NULL FROM {}"
            }
            Self::Alembic => "string_agg(version_num::text, ', ' ORDER BY version_num), NULL, NULL FROM {}",
            Self::Flyway => FLYWAY,
            Self::Prisma => {
                "(SELECT migration_name FROM {} WHERE finished_at IS NOT NULL AND rolled_back_at IS NULL \
                  ORDER BY migration_name COLLATE \"C\" DESC LIMIT 1), \
                 (count(*) FILTER (WHERE finished_at IS NOT NULL AND rolled_back_at IS NULL))::text, \
                 string_agg(migration_name, ', ' ORDER BY started_at) \
                  FILTER (WHERE finished_at IS NULL AND rolled_back_at IS NULL) FROM {}"
            }
        };
        format!("SELECT {}", columns.replace("{}", &from))
    }

    /// The answer to the question.
    pub(super) fn state(
        self,
        table: &Table,
        version: Option<String>,
        applied: Option<String>,
        stuck: Option<String>,
    ) -> SchemaState {
        let table = format!("{}.{}", table.schema, table.name);
        let dirty = stuck.map(|stuck| Dirty {
            what: format!("migration {stuck} did not end ({table})"),
            way_out: self.way_out(&table, &stuck),
        });
        SchemaState { tool: self, table, version, applied: applied.and_then(|n| n.parse().ok()), dirty }
    }

    /// How people get out of a migration that ended halfway. Only some tools can be in that state.
    fn way_out(self, table: &str, stuck: &str) -> String {
        match self {
            Self::GolangMigrate if stuck == "-1" => "finish by hand what the first migration's step back left \
                 undone, then say so with `migrate -path MIGRATIONS -database \"$DATABASE_URL\" drop`, or `force 1` when \
                 that migration is still there"
                .to_owned(),
            Self::GolangMigrate => format!(
                "finish or undo by hand what migration {stuck} left, then tell golang-migrate where the schema is: \
                 `migrate -path MIGRATIONS -database \"$DATABASE_URL\" force {stuck}` when it is finished, or with the \
                 version before when it is undone"
            ),
            Self::Sqlx => format!(
                "undo by hand what migration {stuck} left, then forget it: `psql \"$DATABASE_URL\" -c 'DELETE FROM \
                 {table} WHERE NOT success'`; `sqlx migrate run` then tries it again"
            ),
            Self::Flyway => format!(
                "undo by hand what migration {stuck} left, then let Flyway forget it: `flyway repair`; `flyway migrate` \
                 then tries it again"
            ),
            Self::Prisma => {
                let first = stuck.split(", ").next().unwrap_or(stuck);
                format!(
                    "undo by hand what the migration left, then `npx prisma migrate resolve --rolled-back {first}`; or \
                     finish it by hand, then `npx prisma migrate resolve --applied {first}`"
                )
            }
            Self::Dbmate | Self::Rails | Self::Refinery | Self::Django | Self::Alembic | Self::Diesel => {
                format!("undo by hand what migration {stuck} left, and take it out of {table}")
            }
        }
    }
}

/// Flyway keeps every attempt: an undone version has a later row of type `UNDO…`, a repeatable one no version.
const FLYWAY: &str = "\
    (SELECT h.version FROM {} h WHERE h.success AND h.version IS NOT NULL AND h.type NOT LIKE 'UNDO%' \
      AND NOT EXISTS (SELECT FROM {} u WHERE u.type LIKE 'UNDO%' AND u.success AND u.version = h.version \
                      AND u.installed_rank > h.installed_rank) \
      ORDER BY h.installed_rank DESC LIMIT 1), \
    (count(*) FILTER (WHERE success AND type NOT IN ('SCHEMA', 'BASELINE', 'DELETE') AND type NOT LIKE 'UNDO%' \
      AND NOT EXISTS (SELECT FROM {} u WHERE u.type LIKE 'UNDO%' AND u.success AND u.version = h.version \
                      AND u.installed_rank > h.installed_rank)))::text, \
    string_agg(COALESCE(version, script), ', ' ORDER BY installed_rank) FILTER (WHERE NOT success) FROM {} h";

impl fmt::Display for Tool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl Serialize for Tool {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(name: &str, columns: &[(&str, &str)]) -> Table {
        let columns = columns.iter().map(|(name, kind)| ((*name).to_owned(), (*kind).to_owned())).collect();
        Table { schema: "public".to_owned(), name: name.to_owned(), columns }
    }

    #[test]
    fn one_name_of_several_tools_is_told_apart_by_its_columns() {
        let varchar = [("version", "character varying")];
        let own = [("version", "text"), ("app", "text"), ("at", "timestamp with time zone")];
        let ecto = [("version", "bigint"), ("inserted_at", "timestamp without time zone")];
        let beside = [table(RAILS, &[("key", "character varying")])];
        for (columns, all, tool) in [
            (&[("version", "bigint"), ("dirty", "boolean")][..], &[][..], Some(Tool::GolangMigrate)),
            (&varchar, &[], Some(Tool::Dbmate)),
            (&varchar, &beside, Some(Tool::Rails)),
            (&own, &beside, None),
            (&ecto, &[], None),
        ] {
            assert_eq!(Tool::of(&table("schema_migrations", columns), all), tool, "{columns:?}");
        }
        let elsewhere = Table { schema: "other".to_owned(), ..table("schema_migrations", &varchar) };
        assert_eq!(Tool::of(&elsewhere, &beside), Some(Tool::Dbmate), "Rails' table is in another schema");
    }

    #[test]
    fn a_table_of_a_tools_name_with_other_columns_is_left_alone() {
        for name in TABLES {
            assert_eq!(Tool::of(&table(name, &[("id", "bigint")]), &[]), None, "{name}");
        }
    }
}
