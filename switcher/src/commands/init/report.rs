//! What `init` tells in the end: what became of each file, what is not carried over, and what comes next.

use std::path::Path;

use super::HERE;
use super::host::Ran;
use crate::cli::InitArgs;
use crate::context::quoted;
use crate::init::place::{Content, Outcome, Placed, Wanted};
use crate::init::settle::{Settled, sentence};
use crate::init::units;

/// What is told.
pub(super) struct Report<'a> {
    pub(super) args: &'a InitArgs,
    pub(super) origin: Option<&'a str>,
    pub(super) config: &'a Path,
    pub(super) settled: &'a Settled,
    pub(super) ran: &'a Ran,
}

impl Report<'_> {
    pub(super) fn text(&self, wanted: &[Wanted], placed: &[Placed], next: &[String]) -> String {
        let mut text = match self.origin {
            Some(origin) => format!("Looked at {origin}.\n"),
            None => {
                "Found no Compose file and no container, so this is a beginning to be filled in.\n".to_owned()
            }
        };
        for (wanted, placed) in wanted.iter().zip(placed) {
            text.push_str(&self.line(wanted, placed));
        }
        self.ran.done.iter().for_each(|line| text.push_str(&format!("  ran            {line}\n")));
        let leftovers = &self.settled.leftovers;
        if !leftovers.is_empty() {
            text.push_str("\nNot carried over (the new file lists it too):\n");
            leftovers.iter().for_each(|left| text.push_str(&format!("  {}\n", sentence(left))));
        }
        text.push_str("\nNext:\n");
        next.iter().for_each(|command| text.push_str(&format!("  {command}\n")));
        text
    }

    fn line(&self, wanted: &Wanted, placed: &Placed) -> String {
        let path = placed.path.display();
        match &placed.outcome {
            Outcome::Made => format!("  made           {path}\n"),
            Outcome::AsItIs => format!("  as it is       {path}\n"),
            Outcome::ToDo => match &wanted.content {
                Content::Text(text) => format!("  would be made  {path}:\n\n{text}\n"),
                Content::Folder | Content::Copy(_) => format!("  would be made  {path}\n"),
            },
            Outcome::Another => format!("  kept           {path}; it is another version\n"),
            Outcome::Kept { diff: Some(diff) } => format!("  kept           {path}; it differs:\n\n{diff}\n"),
            Outcome::Kept { diff: None } => {
                format!("  kept           {path}; it differs: run with --diff to see\n")
            }
        }
    }

    /// The commands that lead on. `config` is as the machine sees it that runs them.
    pub(super) fn next(&self) -> Vec<String> {
        let known = self.config == Path::new(HERE) || self.config == Path::new(units::CONFIG);
        let config =
            if known { String::new() } else { format!(" --config {}", quoted(self.config.as_os_str())) };
        let mut next = vec![format!("switcher{config} config check")];
        if self.args.prefix.is_some() && self.args.systemd {
            // What is done where the image is built comes first, the rest where it runs.
            next = self.ran.next.clone();
            next.push(format!(
                "switcher{config} config check   # on the machine that starts from it, as what follows"
            ));
        } else {
            next.extend(self.ran.next.iter().cloned());
        }
        if !self.args.systemd {
            next.push(format!("switcher-proxy{config} &"));
        }
        let several = self.settled.apps.len() > 1;
        for (name, tag) in &self.settled.apps {
            let app = if several { format!(" --app {name}") } else { String::new() };
            let tag = tag.as_deref().filter(|tag| !tag.contains('$')).unwrap_or("TAG");
            next.push(format!("switcher{config}{app} deploy {tag}"));
        }
        next.push(format!("switcher{config} doctor"));
        next
    }
}
