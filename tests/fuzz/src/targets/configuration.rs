//! The configuration file, and the words in it.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::{Debug, Display};
use std::fs;
use std::path::PathBuf;
use std::str::FromStr;

use switcher_config::{
    AppName, Bytes, HostPattern, ImageReference, ListenAddress, PathPrefix, Sources, Span, UpstreamAddress,
    load,
};
use tempfile::TempDir;

thread_local! {
    static FOLDER: RefCell<Option<TempDir>> = const { RefCell::new(None) };
}

/// A file in a folder of this thread's own.
pub(super) fn in_folder<T>(name: &str, content: &[u8], look: impl FnOnce(&std::path::Path) -> T) -> T {
    FOLDER.with_borrow_mut(|folder| {
        let folder = folder.get_or_insert_with(|| TempDir::with_prefix("switcher-fuzz-").expect("a folder"));
        let path = folder.path().join(name);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).expect("a folder");
        }
        // The same name again and again; nothing else reads it.
        let mut file = fs::File::create(&path).expect("a file");
        std::io::Write::write_all(&mut file, content).expect("room for it");
        look(folder.path())
    })
}

/// A file of any content gives settings or a report that names places within the file; what is shown of settings
/// gives the same settings, unless secrets are left out of it.
pub(super) fn file(data: &[u8]) {
    let Ok(shown) = settings_of(data) else { return };
    if shown.contains("***") {
        return;
    }
    let again = settings_of(shown.as_bytes())
        .unwrap_or_else(|report| panic!("what `config show` prints does not load:\n{shown}\n{report}"));
    assert_eq!(shown, again, "what `config show` prints is not what it loads to");
}

/// The settings of a file as `config show` prints them, or the report of what is wrong.
fn settings_of(content: &[u8]) -> Result<String, String> {
    in_folder("switcher.yaml", content, |folder| {
        let sources = Sources {
            file: Some(folder.join("switcher.yaml")),
            environment: None,
            variables: BTreeMap::from([("NAME".to_owned(), "value".to_owned())]),
            secrets_dir: PathBuf::from("/nonexistent"),
            working_dir: folder.to_owned(),
            system_file: PathBuf::from("/nonexistent"),
        };
        match load(&sources) {
            Ok(loaded) => Ok(loaded.show(false)),
            Err(report) => {
                let report = report.to_string();
                assert!(!report.is_empty(), "a refusal without a reason");
                Err(report)
            }
        }
    })
}

/// A word that is understood is shown as a word that means the same.
pub(super) fn words(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    stays::<UpstreamAddress>(text);
    stays::<ListenAddress>(text);
    stays::<HostPattern>(text);
    stays::<PathPrefix>(text);
    stays::<AppName>(text);
    stays::<ImageReference>(text);
    stays::<Span>(text);
    stays::<Bytes>(text);
}

fn stays<T: FromStr + Display + PartialEq + Debug>(text: &str) {
    let Ok(value) = text.parse::<T>() else { return };
    let shown = value.to_string();
    match shown.parse::<T>() {
        Ok(again) => assert_eq!(value, again, "{text:?} is shown as {shown:?}"),
        Err(_) => panic!("{text:?} is shown as {shown:?}, which is not understood"),
    }
}
