//! The fences between the crates, kept by tests: who may depend on what, and how files are laid out.
//!
//! The rules are a pure function over a [`Workspace`]; the tests run it over the real one, and over broken ones
//! that it must complain about. What clippy can see (long functions, `unwrap`) is left to clippy.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What the rules look at.
struct Workspace {
    packages: Vec<Package>,
    sources: Vec<Source>,
}

/// A package of ours and what it names under any kind of dependencies.
struct Package {
    name: String,
    dependencies: Vec<String>,
}

/// A Rust file, by its path from the workspace's folder.
struct Source {
    path: PathBuf,
    text: String,
}

impl Workspace {
    /// The one this test was built from.
    fn real() -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ lies in the workspace");
        let mut sources = Vec::new();
        for folder in ["config", "certs", "proxy", "switcher", "tests", "benches"] {
            collect(root, &root.join(folder), &mut sources);
        }
        Self { packages: packages(root), sources }
    }

    fn complaints(&self) -> Vec<String> {
        let mut found: Vec<String> = self.packages.iter().flat_map(dependency_complaints).collect();
        found.extend(self.sources.iter().flat_map(layout_complaints));
        found.extend(self.confined(concat!("serde", "_yaml"), "one file of config/src", |path| {
            path.starts_with("config/src").then(|| path.to_owned())
        }));
        found.extend(self.confined(concat!("bol", "lard"), "one folder of switcher/src", |path| {
            let inside = path.strip_prefix("switcher/src").ok()?;
            if inside.components().nth(1).is_some() {
                return Some(inside.components().take(1).collect());
            }
            // The root of a module lies beside its folder.
            let folder = inside.with_extension("");
            let beside = Path::new("switcher/src").join(&folder);
            let has_folder =
                |source: &&Source| source.path.starts_with(&beside) && source.names(concat!("bol", "lard"));
            self.sources.iter().find(has_folder).map(|_| folder)
        }));
        found.extend(self.confined(concat!("Per", "Slot"), "crates other than certs", |path| {
            (!path.starts_with("certs")).then(PathBuf::new)
        }));
        found
    }

    /// Complains about a word that stands in a file outside its `home`, or in more than one home.
    fn confined(&self, word: &str, home: &str, home_of: impl Fn(&Path) -> Option<PathBuf>) -> Vec<String> {
        let mut homes = Vec::new();
        let mut found = Vec::new();
        for source in self.sources.iter().filter(|source| source.names(word)) {
            match home_of(&source.path) {
                None => {
                    found.push(format!("{} names {word}, which belongs in {home}", source.path.display()))
                }
                Some(home) if !homes.contains(&home) => homes.push(home),
                Some(_) => {}
            }
        }
        if homes.len() > 1 {
            found.push(format!("{word} is named in {homes:?}, and belongs in {home}"));
        }
        found
    }
}

impl Source {
    /// Whether the code, not a comment, names a word.
    fn names(&self, word: &str) -> bool {
        self.text.lines().any(|line| line.split("//").next().is_some_and(|code| code.contains(word)))
    }
}

fn dependency_complaints(package: &Package) -> Vec<String> {
    let name = package.name.as_str();
    package
        .dependencies
        .iter()
        .filter_map(|dependency| {
            let why = forbidden(name, dependency)?;
            Some(format!("{name} depends on {dependency}: {why}"))
        })
        .collect()
}

/// Why a package may not depend on another one.
fn forbidden(package: &str, dependency: &str) -> Option<&'static str> {
    let product = matches!(package, "switcher-config" | "switcher-certs" | "switcher-proxy" | "switcher");
    let ours = dependency == "switcher" || dependency.starts_with("switcher-");
    if dependency.starts_with("pingora") && package != "switcher-proxy" {
        Some("only the proxy sees pingora")
    } else if matches!((package, dependency), ("switcher-proxy", "switcher") | ("switcher", "switcher-proxy"))
    {
        Some("the two programs meet over the admin socket, through config::wire")
    } else if product && matches!(dependency, "switcher-tests" | "switcher-benches") {
        Some("the harness stands above the product")
    } else if package == "switcher-config" && (ours || dependency.starts_with("tokio")) {
        Some("the vocabulary stands alone and knows no runtime")
    } else if package == "switcher-certs" && ours && dependency != "switcher-config" {
        Some("certificates know nothing of slots or of the proxy")
    } else if dependency.starts_with("openssl") || dependency == "native-tls" {
        Some("TLS is rustls with aws-lc-rs everywhere")
    } else {
        None
    }
}

fn layout_complaints(source: &Source) -> Vec<String> {
    let path = source.path.display();
    let mut found = Vec::new();
    let stem = source.path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    if stem == "mod" {
        found.push(format!("{path}: a module's file carries its name, not mod.rs"));
    }
    if matches!(stem, "util" | "utils" | "helper" | "helpers" | "common" | "misc") {
        found.push(format!("{path}: a file is a noun; say what it holds"));
    }
    if !source.text.starts_with("//!") {
        found.push(format!("{path}: opens without `//!`: what is it, what is its invariant, who calls it?"));
    }
    found
}

/// Every Rust file below a folder, without build output.
fn collect(root: &Path, folder: &Path, into: &mut Vec<Source>) {
    for entry in fs::read_dir(folder).expect("a folder of the workspace") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            if path.file_name().is_some_and(|name| name != "target") {
                collect(root, &path, into);
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).expect("source is UTF-8");
            let path = path.strip_prefix(root).expect("below the workspace").to_owned();
            into.push(Source { path, text });
        }
    }
}

/// What cargo itself says of our packages.
fn packages(root: &Path) -> Vec<Package> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--format-version", "1", "--locked", "--offline"])
        .current_dir(root)
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let text = |value: &serde_json::Value| value["name"].as_str().expect("a name").to_owned();
    let list = |value: &serde_json::Value| value.as_array().expect("a list").clone();
    list(&metadata["packages"])
        .iter()
        .map(|package| Package {
            name: text(package),
            dependencies: list(&package["dependencies"]).iter().map(text).collect(),
        })
        .collect()
}

#[test]
fn the_workspace_keeps_its_fences() {
    let workspace = Workspace::real();
    let names: Vec<&str> = workspace.packages.iter().map(|package| package.name.as_str()).collect();
    for name in [
        "switcher",
        "switcher-benches",
        "switcher-certs",
        "switcher-config",
        "switcher-proxy",
        "switcher-tests",
    ] {
        assert!(names.contains(&name), "{name} is gone, or the fences do not see it: {names:?}");
    }
    assert!(workspace.sources.len() > 10, "the fences see {} files only", workspace.sources.len());
    let complaints = workspace.complaints();
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

/// A workspace in which one package depends on one thing.
fn depends(package: &str, dependency: &str) -> Workspace {
    let package = Package { name: package.to_owned(), dependencies: vec![dependency.to_owned()] };
    Workspace { packages: vec![package], sources: Vec::new() }
}

/// A workspace of these files.
fn holds(files: &[(&str, &str)]) -> Workspace {
    let sources =
        files.iter().map(|(path, text)| Source { path: path.into(), text: (*text).to_owned() }).collect();
    Workspace { packages: Vec::new(), sources }
}

#[test]
fn a_forbidden_dependency_is_seen() {
    for (package, dependency) in [
        ("switcher", "pingora-core"),
        ("switcher-tests", "pingora"),
        ("switcher", "switcher-proxy"),
        ("switcher-proxy", "switcher"),
        ("switcher-proxy", "switcher-tests"),
        ("switcher-config", "tokio"),
        ("switcher-config", "switcher-certs"),
        ("switcher-certs", "switcher-proxy"),
        ("switcher", "native-tls"),
    ] {
        assert_eq!(depends(package, dependency).complaints().len(), 1, "{package} -> {dependency}");
    }
    for (package, dependency) in
        [("switcher-proxy", "pingora"), ("switcher-certs", "switcher-config"), ("switcher-tests", "switcher")]
    {
        assert!(depends(package, dependency).complaints().is_empty(), "{package} -> {dependency}");
    }
}

#[test]
fn a_word_outside_its_home_is_seen() {
    let yaml = concat!("//! x\nuse serde", "_yaml::from_str;");
    let docker = concat!("//! x\nuse bol", "lard::Docker;");
    let slots = concat!("//! x\nuse switcher_config::Per", "Slot;");
    assert!(
        holds(&[("config/src/yaml.rs", yaml), ("switcher/src/docker/pull.rs", docker)])
            .complaints()
            .is_empty()
    );
    assert!(
        holds(&[("switcher/src/docker.rs", docker), ("switcher/src/docker/run.rs", docker)])
            .complaints()
            .is_empty()
    );
    for files in [
        &[("config/src/yaml.rs", yaml), ("config/src/layers.rs", yaml)][..],
        &[("proxy/src/state.rs", yaml)],
        &[("switcher/src/docker/pull.rs", docker), ("switcher/src/images/list.rs", docker)],
        &[("switcher/src/deploy.rs", docker)],
        &[("certs/src/store.rs", slots)],
    ] {
        assert_eq!(holds(files).complaints().len(), 1, "{files:?}");
    }
    let comment = concat!("//! x\n// serde", "_yaml is elsewhere");
    assert!(holds(&[("proxy/src/state.rs", comment)]).complaints().is_empty(), "a comment may name it");
}

#[test]
fn a_file_out_of_shape_is_seen() {
    for (path, text) in [
        ("proxy/src/http/mod.rs", "//! x"),
        ("proxy/src/utils.rs", "//! x"),
        ("proxy/src/route.rs", "use std::io;"),
    ] {
        assert_eq!(holds(&[(path, text)]).complaints().len(), 1, "{path}");
    }
}
