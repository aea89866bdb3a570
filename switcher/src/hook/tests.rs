//! Hooks as real children: their words, their output, their ends.

use std::time::Instant;

use switcher_config::{Slot, Span};
use tempfile::TempDir;

use super::*;

/// A folder in which hooks run, and what they said.
struct Scene {
    folder: TempDir,
    words: Words,
    log: DeploymentLog,
    redactor: Redactor,
    said: Vec<String>,
}

impl Scene {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let words = Words {
            app: "shop".parse().expect("a name"),
            environment: "production".to_owned(),
            slot: Slot::Green,
            version: "v1.5.0".to_owned(),
            git_commit: "abc1234".to_owned(),
            deployment: "dep_01JBQR2K3M4N5P6Q7R8S9T0VWX".parse().expect("an id"),
            image: "ghcr.io/acme/shop@sha256:00".to_owned(),
            replica: 0,
        };
        let redactor = Redactor::new(["hunter22"]);
        let log = DeploymentLog::open(folder.path(), &words.deployment, redactor.clone());
        Self { folder, words, log, redactor, said: Vec::new() }
    }

    async fn run_with(&mut self, hook: &settings::Hook, failure: Option<&str>) -> Result<(), HookError> {
        let call = Call {
            name: "pre_deploy",
            hook,
            words: &self.words,
            failure,
            folder: self.folder.path(),
            redactor: &self.redactor,
            log: &self.log,
        };
        run(call, &mut |line| self.said.push(line.to_owned())).await
    }

    async fn shell(&mut self, script: &str) -> Result<(), HookError> {
        self.run_with(&hook(&["/bin/sh", "-c", script], Span::seconds(60)), None).await
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }
}

fn hook(command: &[&str], timeout: Span) -> settings::Hook {
    settings::Hook { command: command.iter().map(|&word| word.to_owned()).collect(), timeout }
}

/// Whether a process is there and has not ended.
fn runs(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !holds() {
        assert!(Instant::now() < deadline, "never: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_hook_knows_what_it_is_run_for() {
    let mut scene = Scene::new();
    let script = "echo {slot} {version} {nothing} $SWITCHER_APP $SWITCHER_ENVIRONMENT $SWITCHER_SLOT \
                  $SWITCHER_VERSION $SWITCHER_DEPLOYMENT $SWITCHER_IMAGE $SWITCHER_GIT_COMMIT $SWITCHER_HOOK; \
                  echo \"$SWITCHER_FAILURE ${PATH:+path}\" >&2; pwd -P";
    let failed = hook(&["/bin/sh", "-c", script], Span::seconds(60));
    scene.run_with(&failed, Some("no hunter22")).await.expect("a hook");
    let folder = scene.folder.path().canonicalize().expect("a folder").display().to_string();
    scene.said.sort();
    let mut expected = [
        "green v1.5.0 {nothing} shop production green v1.5.0 dep_01JBQR2K3M4N5P6Q7R8S9T0VWX \
         ghcr.io/acme/shop@sha256:00 abc1234 pre_deploy",
        "no *** path",
        &folder,
    ];
    expected.sort_unstable();
    assert_eq!(scene.said, expected);
}

#[tokio::test]
async fn without_a_shell_words_are_arguments_and_programs_are_found_beside_the_configuration() {
    let mut scene = Scene::new();
    std::os::unix::fs::symlink("/bin/echo", scene.path("say")).expect("a link");
    scene.words.git_commit = "$(touch pwned) ; x".to_owned();
    let said = hook(&["./say", "a  b", "{git_commit}", "$HOME"], Span::seconds(60));
    scene.run_with(&said, None).await.expect("a hook");
    assert_eq!(scene.said, ["a  b $(touch pwned) ; x $HOME"]);
}

#[tokio::test]
async fn a_shell_is_never_given_a_word_that_it_would_act_upon() {
    let mut scene = Scene::new();
    scene.words.git_commit = "$(touch pwned)".to_owned();
    for command in
        [["/bin/sh", "-c", "echo \"{git_commit}\""].as_slice(), &["bash", "-euc", "echo {git_commit}"]]
    {
        let error = scene.run_with(&hook(command, Span::seconds(60)), None).await.expect_err("a refusal");
        assert_eq!(
            error.to_string(),
            "the hook pre_deploy would give the shell a {git_commit} with signs that a shell acts upon; \
             write \"$SWITCHER_GIT_COMMIT\" in it instead"
        );
    }
    scene.shell("echo \"$SWITCHER_GIT_COMMIT\"").await.expect("a hook");
    assert_eq!(scene.said, ["$(touch pwned)"]);
    assert!(!scene.path("pwned").exists());
}

#[tokio::test]
async fn a_failure_says_how_it_ended_and_what_was_said_last() {
    let mut scene = Scene::new();
    let error = scene.shell("for i in $(seq 30); do echo line $i hunter22; done; exit 7").await;
    let text = error.expect_err("a failure").to_string();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], "the hook pre_deploy ended with exit code 7; it printed last:");
    assert_eq!((lines.len(), lines[1], lines[20]), (21, "    line 11 ***", "    line 30 ***"));
    let text = scene.shell("kill -9 $$").await.expect_err("a failure").to_string();
    assert_eq!(text, "the hook pre_deploy was ended by signal 9; it printed nothing");
    let absent = hook(&["no-such-program-anywhere"], Span::seconds(60));
    let text = scene.run_with(&absent, None).await.expect_err("a failure").to_string();
    assert!(text.starts_with("the hook pre_deploy cannot be started: no-such-program-anywhere: "), "{text}");
    let text = scene.run_with(&hook(&[], Span::seconds(60)), None).await.expect_err("a failure").to_string();
    assert_eq!(text, "the hook pre_deploy names no program");
}

#[tokio::test]
async fn the_log_has_every_line_and_no_secret() {
    let mut scene = Scene::new();
    scene
        .shell("echo out hunter22; echo err hunter22 >&2; printf 'hun'; sleep 0.05; printf 'ter22 end'")
        .await
        .expect("a hook");
    let text = std::fs::read_to_string(scene.log.path()).expect("a log");
    assert!(!text.contains("hunter22"), "{text}");
    for (stream, message) in [("stdout", "out ***"), ("stderr", "err ***"), ("stdout", "*** end")] {
        let fields = format!("\"message\":\"{message}\",\"hook\":\"pre_deploy\",\"stream\":\"{stream}\"");
        assert!(text.contains(&fields), "{fields} in {text}");
    }
}

#[tokio::test]
async fn much_output_is_read_to_its_end() {
    let mut scene = Scene::new();
    scene.shell("seq 20000; seq 20000 >&2").await.expect("a hook");
    assert_eq!(scene.said.len(), 40_000);
}

#[tokio::test]
async fn a_hook_that_takes_too_long_is_ended_with_everything_that_it_started() {
    let mut scene = Scene::new();
    // The child ignores SIGTERM, so that it has to be killed.
    let script = "(trap '' TERM; echo $BASHPID > child; while :; do sleep 0.1; done) & echo begun; wait";
    let slow = hook(&["/bin/bash", "-c", script], Span::millis(700));
    let error = scene.run_with(&slow, None).await.expect_err("a failure");
    assert_eq!(
        error.to_string(),
        "the hook pre_deploy took longer than 700 ms and was ended; it printed last:\n    begun"
    );
    let child = std::fs::read_to_string(scene.path("child")).expect("a pid");
    until("the child has ended", || !runs(&child)).await;
}

#[tokio::test]
async fn a_hook_may_clean_up_when_it_is_ended() {
    let mut scene = Scene::new();
    let script = "trap 'echo cleaned; exit 0' TERM; echo begun; while :; do sleep 0.05; done";
    let slow = hook(&["/bin/sh", "-c", script], Span::millis(300));
    let error = scene.run_with(&slow, None).await.expect_err("a failure").to_string();
    assert!(error.contains("took longer than 300 ms") && error.contains("\n    cleaned"), "{error}");
}

#[tokio::test]
async fn a_child_in_the_background_that_holds_the_output_holds_nothing_up() {
    let mut scene = Scene::new();
    scene.shell("sleep 300 & echo $! > child; echo done").await.expect("a hook");
    assert_eq!(scene.said[0], "done");
    assert!(scene.said[1].contains("left something running that still holds its output"), "{:?}", scene.said);
    let child = std::fs::read_to_string(scene.path("child")).expect("a pid");
    assert!(runs(&child), "what a hook leaves running on purpose may stay");
    let pid = rustix::process::Pid::from_raw(child.trim().parse().expect("a pid")).expect("a pid");
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("the end of it");
}

#[tokio::test]
async fn a_hook_has_a_process_group_of_its_own_and_ends_when_nobody_waits_for_it() {
    let mut scene = Scene::new();
    let path = scene.path("pids");
    let script = "sleep 300 & echo $$ $(cut -d' ' -f5 /proc/$$/stat) $! > pids.new; mv pids.new pids; wait";
    {
        let hook = hook(&["/bin/sh", "-c", script], Span::seconds(60));
        let mut running = std::pin::pin!(scene.run_with(&hook, None));
        tokio::select! {
            ended = &mut running => panic!("it ended by itself: {ended:?}"),
            () = until("the hook has begun", || path.exists()) => {}
        }
    }
    let pids = std::fs::read_to_string(&path).expect("pids");
    let pids: Vec<&str> = pids.split_whitespace().collect();
    assert_eq!(pids[0], pids[1], "it leads its own group");
    until("both have ended", || !runs(pids[0]) && !runs(pids[2])).await;
}
