//! The application's program: compiled once from `tests/app`, then kept beside the test programs.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The program's bytes: static, so that it runs in an image that holds nothing else.
///
/// # Panics
/// When it does not compile.
#[must_use]
pub fn program() -> &'static [u8] {
    static PROGRAM: OnceLock<Vec<u8>> = OnceLock::new();
    PROGRAM.get_or_init(|| fs::read(compiled()).expect("the application's program"))
}

/// The path of the program; compiled first where the sources have changed.
fn compiled() -> PathBuf {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("app");
    let test = std::env::current_exe().expect("the test's own path");
    let folder =
        test.parent().and_then(Path::parent).expect("the folder of programs").join("images-of-tests");
    fs::create_dir_all(&folder).expect("a folder for the application");
    // One test compiles, the others wait for it.
    let lock = File::create(folder.join("lock")).expect("a lock's file");
    lock.lock().expect("the lock");
    let program = folder.join(format!("app-{:016x}", fingerprint(&sources)));
    if !program.exists() {
        compile(&sources.join("main.rs"), &program);
    }
    program
}

fn compile(source: &Path, program: &Path) {
    let unfinished = program.with_extension("unfinished");
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc)
        .args(["--edition", "2024", "-C", "opt-level=1", "-C", "strip=symbols", "-C", "panic=abort"])
        .args(["-C", "target-feature=+crt-static", "-o"])
        .arg(&unfinished)
        .arg(source)
        .output()
        .expect("rustc runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    fs::rename(&unfinished, program).expect("the finished program");
}

/// Of every source, by name and content (FNV-1a, 64 bits).
fn fingerprint(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).expect("the application's sources");
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    let bytes = paths.iter().flat_map(|path| fs::read(path).expect("a source"));
    bytes.fold(0xcbf2_9ce4_8422_2325, |state, byte| {
        (state ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}
