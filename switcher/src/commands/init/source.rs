//! Where the applications are found: a Compose file, else the engine's containers, else nowhere.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use tokio::time::timeout;

use crate::cli::InitArgs;
use crate::code::Code;
use crate::context::Context;
use crate::failure::{Failure, Live};
use crate::import::shelf::contents;
use crate::init::Stack;
use crate::init::compose::{self, Unreadable};

/// Compose's own names for its file, in its own order.
const NAMES: [&str; 4] = ["compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml"];

/// How long the engine may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// What runs together, as far as it can be found.
pub(super) async fn stack(ctx: &Context, args: &InitArgs, here: &Path) -> Result<Option<Stack>, Failure> {
    let named = args.compose.clone();
    let found = named.or_else(|| NAMES.iter().map(PathBuf::from).find(|name| here.join(name).is_file()));
    if let Some(file) = found {
        return read(&file, here).map(Some);
    }
    ctx.reporter.waiting("looking for a Docker Engine");
    Ok(running(ctx).await.filter(|stack| !stack.services.is_empty()))
}

fn read(file: &Path, here: &Path) -> Result<Stack, Failure> {
    let shown = file.display().to_string();
    let bad = |why: &str, next: &str| {
        Failure::new(Code::InitSource, format!("{shown} {why}"), Live::Unchanged, next)
    };
    let other = "switcher init --compose FILE";
    let bytes = contents(&here.join(file)).map_err(|why| bad(&why, other))?;
    let text = String::from_utf8(bytes).map_err(|_| bad("is not UTF-8", other))?;
    let path = here.join(file);
    let folder =
        path.parent().and_then(|folder| folder.canonicalize().ok()).unwrap_or_else(|| here.to_owned());
    compose::read(&shown, &folder, &text).map_err(|error| match error {
        Unreadable::Other(why, next) => bad(&format!("{why}; {next}"), other),
        Unreadable::Bad(report) => {
            let json = serde_json::to_value(&report).unwrap_or(Value::Null);
            let failure = bad("cannot be read as YAML", "docker compose config");
            Failure { report: Some(Box::new((report.to_string(), json))), ..failure }
        }
    })
}

/// The containers that run; none without an engine, which is no error on a bare server.
async fn running(ctx: &Context) -> Option<Stack> {
    let look = async {
        ctx.reach().await.ok()?;
        let engine = ctx.engine().await.ok()?;
        engine.services().await.ok()
    };
    let services = timeout(PATIENCE, look).await.ok()??;
    Some(Stack {
        origin: "the running containers".to_owned(),
        project: "app".to_owned(),
        services,
        leftovers: Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use switcher_config::durable::{Durability, replace};

    use super::*;
    use crate::import::shelf::MAX_FILE;

    #[test]
    fn only_regular_files_of_a_bounded_size_are_read() {
        let folder = tempfile::tempdir().expect("a folder");
        let put = |name: &str, size: usize| {
            let path = folder.path().join(name);
            replace(&path, &vec![b'#'; size], 0o600, Durability::Unsynced).expect("a file");
            path
        };
        assert_eq!(contents(&put("whole", MAX_FILE)).map(|bytes| bytes.len()), Ok(MAX_FILE));
        let pipe = folder.path().join("pipe");
        assert!(Command::new("mkfifo").arg(&pipe).status().expect("mkfifo").success());
        for (path, why) in [
            (put("large", MAX_FILE + 1), "larger than"),
            (pipe, "no regular file"),
            (PathBuf::from("/dev/zero"), "no regular file"),
            (folder.path().to_owned(), "no regular file"),
            (folder.path().join("none"), "cannot be read"),
        ] {
            let said = contents(&path).expect_err("refused");
            assert!(said.contains(why), "{}: {said}", path.display());
        }
    }
}
