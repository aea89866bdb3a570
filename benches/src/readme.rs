//! The READMEs' tables that benches write: each in a block between two marks that name it, in one of two pages.

use std::fmt;

use switcher::demo::trouble::Trouble;
use switcher_config::durable::{Durability, replace};

/// The pages that have such tables.
const PAGES: [&str; 2] = ["README.md", "benches/README.md"];

/// Puts a table into the block of that name, in the README that has it.
///
/// # Errors
/// When no README has such a block, or it cannot be written.
pub fn write(name: &str, table: &str) -> Result<(), Trouble> {
    for page in PAGES {
        let path = crate::root().join(page);
        let text = std::fs::read_to_string(&path).map_err(Trouble::system(format!("read {page}")))?;
        if let Ok(text) = with_block(&text, name, table) {
            return store(&path, &text);
        }
    }
    let missing = format!("no README has both marks of `{name}`");
    Err(Trouble::system("write the README")(std::io::Error::other(missing)))
}

/// Puts a bench's JSON beside what is built: `target/NAME.json`.
///
/// # Errors
/// When it cannot be written.
pub fn keep_json(name: &str, json: &serde_json::Value) -> Result<(), Trouble> {
    store(&crate::target().join(format!("{name}.json")), &format!("{json:#}\n"))
}

fn store(path: &std::path::Path, text: &str) -> Result<(), Trouble> {
    replace(path, text.as_bytes(), 0o644, Durability::Synced)
        .map_err(|error| Trouble::system(format!("write {}", path.display()))(error.source))
}

/// The mark that is missing.
#[derive(Debug, PartialEq, Eq)]
struct Missing(String);

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "there is no line `{}`", self.0)
    }
}

/// The text with another page in that block. Pure.
fn with_block(text: &str, name: &str, page: &str) -> Result<String, Missing> {
    let (begin, end) = (format!("<!-- {name} -->"), format!("<!-- end of {name} -->"));
    let Some((before, rest)) = text.split_once(&begin) else { return Err(Missing(begin)) };
    let Some((_, after)) = rest.split_once(&end) else { return Err(Missing(end)) };
    Ok(format!("{before}{begin}\n{}\n{end}{after}", page.trim_end()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# A\n\n<!-- x -->\nold\n<!-- end of x -->\n\nmore\n";

    #[test]
    fn only_the_block_of_that_name_changes_and_writing_it_again_changes_nothing() {
        let once = with_block(TEXT, "x", "| a |\n\n").expect("a block");
        assert_eq!(once, "# A\n\n<!-- x -->\n| a |\n<!-- end of x -->\n\nmore\n");
        assert_eq!(with_block(&once, "x", "| a |"), Ok(once));
    }

    #[test]
    fn a_missing_mark_is_named() {
        assert_eq!(with_block(TEXT, "y", ""), Err(Missing("<!-- y -->".to_owned())));
        assert_eq!(with_block("<!-- x -->", "x", ""), Err(Missing("<!-- end of x -->".to_owned())));
    }

    #[test]
    fn one_readme_has_each_block() {
        let texts = PAGES.map(|page| std::fs::read_to_string(crate::root().join(page)).expect("a README"));
        for name in [crate::compare::NAME, crate::compare_swap::NAME, crate::features::NAME] {
            let with = texts.iter().filter(|text| with_block(text, name, "").is_ok());
            assert_eq!(with.count(), 1, "{name}");
        }
    }
}
