//! The README's tables that benches write: each in a block between two marks that name it.

use std::fmt;

use switcher::demo::trouble::Trouble;
use switcher_config::durable::{Durability, replace};

/// Puts a page into the README's block of that name.
///
/// # Errors
/// When the README has no such block, or cannot be written.
pub fn write(name: &str, page: &str) -> Result<(), Trouble> {
    let path = crate::root().join("README.md");
    let text = std::fs::read_to_string(&path).map_err(Trouble::system("read the README"))?;
    let text = with_block(&text, name, page)
        .map_err(|missing| Trouble::system("write the README")(std::io::Error::other(missing.to_string())))?;
    store(&path, &text)
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
    fn the_readme_has_every_block() {
        let text = std::fs::read_to_string(crate::root().join("README.md")).expect("a README");
        for name in [crate::compare::NAME, crate::compare_swap::NAME, crate::features::NAME] {
            with_block(&text, name, "").expect("both marks");
        }
    }
}
