//! The files of one secret each that notifications and the webhook need: read as they will be read, and not shown.

use std::path::Path;

use switcher_config::Loaded;
use switcher_config::secret_file::{self, Owner};
use switcher_config::settings::NotifyTarget;

use crate::context::quoted;
use crate::doctor::{Finding, Verdict};

/// Looks at each of them; nothing to tell when there is none.
pub(super) fn look(loaded: &Loaded) -> Vec<Finding> {
    let switcher = &loaded.settings.switcher;
    // Without those of notifications a deployment goes on; without its own `switcher watch` does not start.
    let mut files = Vec::new();
    for (index, notify) in switcher.notify.iter().enumerate() {
        if let NotifyTarget::File(file) = &notify.to {
            files.push((format!("switcher.notify[{index}].url_file"), file, Verdict::Warning));
        }
        if let Some(file) = &notify.secret_file {
            files.push((format!("switcher.notify[{index}].secret_file"), file, Verdict::Warning));
        }
    }
    if let Some(webhook) = &switcher.webhook {
        files.push(("switcher.webhook.secret_file".to_owned(), &webhook.secret_file, Verdict::Failed));
    }
    files.into_iter().map(|(key, file, verdict)| judged(&key, &loaded.folder().join(file), verdict)).collect()
}

fn judged(key: &str, file: &Path, verdict: Verdict) -> Finding {
    let Err(why) = secret_file::read(file, Owner::UsOrRoot) else {
        return Finding::ok("secrets", format!("{key}: {} can be used", file.display()));
    };
    let says = format!("{key} cannot be used: {why}");
    let name = quoted(file.as_os_str());
    let remedy = format!("write it into {name}, as the user who runs `switcher`, and `chmod 600 {name}`");
    match verdict {
        Verdict::Failed => Finding::failed("secrets", says, remedy),
        Verdict::Ok | Verdict::Warning => Finding::warning("secrets", says, remedy),
    }
}
