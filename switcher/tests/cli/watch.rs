//! `switcher watch` of two applications without a registry: what is in one's way keeps the other from nothing.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use switcher::state::Store;
use switcher::watch::memory::{self, Hold};
use tempfile::TempDir;

use crate::run::{Run, command, finish};

/// How long a test waits for what must come.
const DEADLINE: Duration = Duration::from_secs(60);
const NOWHERE: &str = "/nonexistent";

/// A configuration that watches `blog` and `shop`, whose registry nobody is.
struct Home {
    folder: TempDir,
}

impl Home {
    fn new() -> Self {
        let home = Self { folder: tempfile::tempdir().expect("a folder") };
        home.configure("production");
        home
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn configure(&self, tag: &str) {
        let app = |name: &str| {
            let watch = format!("{{tag: {tag}, interval: 1h}}");
            format!(
                "  {name}: {{hosts: {name}.test, deploy: {{image: \"127.0.0.1:1/{name}\", watch: {watch}}}}}\n"
            )
        };
        let state = self.path("deployments");
        let text =
            format!("switcher: {{state_dir: {}}}\napps:\n{}{}", state.display(), app("blog"), app("shop"));
        put(&self.path("switcher.yaml"), &text);
    }

    fn store(&self, app: &str) -> Store {
        let app = app.parse().expect("a name");
        let store = Store::open(&self.path("deployments"), "production", &app, false);
        store.expect("a store").allow_temporary(true)
    }

    /// Damages what is remembered of an application. The file.
    fn damage(&self, app: &str) -> PathBuf {
        let file = memory::file(&self.store(app));
        fs::create_dir_all(file.parent().expect("a folder")).expect("the folder");
        put(&file, "{");
        file
    }

    fn command(&self, args: &str) -> Command {
        let mut command = command(&format!("--config {} {args}", self.path("switcher.yaml").display()));
        command.env("SWITCHER_ADMIN", NOWHERE).env("SWITCHER_ALLOW_TEMPORARY_STATE", "1").env("USER", "bob");
        command
    }

    fn run(&self, args: &str) -> Run {
        finish(self.command(args).output().expect("a run"), Path::new(NOWHERE))
    }
}

fn put(path: &Path, text: &str) {
    File::create(path).and_then(|mut file| file.write_all(text.as_bytes())).expect("a file");
}

/// The service, with what it says; killed when the value is dropped.
struct Service {
    child: Child,
    lines: Receiver<String>,
    said: String,
}

impl Service {
    fn start(home: &Home) -> Self {
        let mut command = home.command("watch");
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("a start");
        let (tell, lines) = mpsc::channel();
        let stderr = BufReader::new(child.stderr.take().expect("a pipe"));
        std::thread::spawn(move || stderr.lines().map_while(Result::ok).try_for_each(|line| tell.send(line)));
        Self { child, lines, said: String::new() }
    }

    fn says(&mut self, words: &str) {
        while !self.said.contains(words) {
            let line = self.lines.recv_timeout(DEADLINE);
            let line = line.unwrap_or_else(|error| panic!("no \"{words}\" ({error}) in: {}", self.said));
            self.said.push_str(&format!("{line}\n"));
        }
    }

    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).expect("a process id");
        kill_process(pid, signal).expect("a signal");
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn an_application_that_cannot_be_watched_keeps_no_other_from_it() {
    let home = Home::new();
    let file = home.damage("shop");
    let run = home.run("watch --once --json");
    let apps = &run.json()["apps"];
    assert_eq!((&apps["shop"]["did"], &apps["blog"]["did"]), (&"refused".into(), &"trouble".into()));
    assert_eq!(run.code, 7, "{}", run.all());
    let way_out = format!("mv {0} {0}.damaged", file.display());
    assert!(run.err.contains(&way_out), "{}", run.all());
    let alone = home.run("watch --app shop");
    assert_eq!(alone.code, 7, "{}", alone.all());
    assert!(alone.err.contains(&way_out), "{}", alone.all());
    fs::rename(&file, file.with_extension("damaged")).expect("the way out");
    assert_eq!(home.run("watch --once").code, 6, "nothing but the registry is in the way");

    // Somebody else watches one of them.
    let hold = Hold::take(&home.store("blog")).expect("a folder").expect("nobody watches");
    let run = home.run("watch --once --json");
    let apps = &run.json()["apps"];
    assert_eq!((&apps["blog"]["code"], &apps["shop"]["did"]), (&"E-WATCH-02".into(), &"trouble".into()));
    drop(hold);
}

#[test]
fn sighup_reads_the_configuration_again_and_a_bad_one_changes_nothing() {
    let home = Home::new();
    let file = home.damage("shop");
    let mut service = Service::start(&home);
    service.says("watch shop: it is not watched: E-STATE-04");
    service.says("watch blog: watching 127.0.0.1:1/blog:production");

    put(&home.path("switcher.yaml"), "apps: {blog: {deploy: {image: 7, wach: {}}}}\n");
    service.signal(Signal::HUP);
    service.says("cannot be taken up, and nothing changes");
    assert!(!service.said.contains("was read again"), "{}", service.said);

    fs::remove_file(&file).expect("the way out");
    home.configure("staging");
    service.signal(Signal::HUP);
    service.says("watch blog: watching 127.0.0.1:1/blog:staging");
    service.says("watch shop: watching 127.0.0.1:1/shop:staging");
    let said = service.said.clone();
    assert_eq!(said.matches("it is not watched").count(), 1, "{said}");

    service.signal(Signal::TERM);
    assert_eq!(service.child.wait().expect("its end").code(), Some(0), "{said}");
}
