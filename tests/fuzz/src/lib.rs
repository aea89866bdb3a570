//! Fuzz targets: every parser of ours, and what must hold of whatever it is given.
//!
//! A target takes any bytes and panics when a property breaks. The test below replays the committed corpus, so that
//! what was found once stays mended; `tests/fuzz/run` looks for more with libFuzzer, on stable Rust.

mod targets;

pub use targets::{PLANTED, TARGETS};

/// One parser under test.
pub struct Target {
    /// Its name, and that of its folder in `corpus`.
    pub name: &'static str,
    /// Tries some bytes.
    pub run: fn(&[u8]),
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::*;

    fn files(folder: &Path) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
        let mut files: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
        files.retain(|path| path.is_file());
        files.sort();
        files
    }

    #[test]
    fn the_corpus_breaks_no_property() {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
        for target in TARGETS {
            let files = files(&corpus.join(target.name));
            assert!(!files.is_empty(), "the target {} has no corpus", target.name);
            for file in files {
                (target.run)(&std::fs::read(&file).expect("a file of the corpus"));
            }
        }
    }

    #[test]
    fn every_example_is_a_configuration_or_a_report() {
        let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config/examples");
        let target = TARGETS.iter().find(|target| target.name == "configuration").expect("the target");
        for folder in ["good", "bad"] {
            for file in files(&examples.join(folder)) {
                (target.run)(&std::fs::read(&file).expect("an example"));
            }
        }
    }

    #[test]
    fn every_folder_of_the_corpus_has_a_target() {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
        for entry in std::fs::read_dir(corpus).expect("the corpus") {
            let name = entry.expect("an entry").file_name();
            assert!(TARGETS.iter().any(|target| target.name == name.as_os_str()), "{name:?} has no target");
        }
    }
}
