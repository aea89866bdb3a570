//! The GitHub Actions workflow, filled in for one application. Pure.

use switcher_config::settings::Settings;

/// The template; what stands between `@` is filled in.
const TEMPLATE: &str = include_str!("templates/deploy.yml");

/// Where the workflow stands in a repository.
pub const PATH: &str = ".github/workflows/deploy.yml";

/// The workflow that builds and deploys an application; `config` is the configuration's place on the server.
#[must_use]
pub fn workflow(settings: &Settings, app: Option<&str>, config: &str) -> String {
    let mut apps = settings.apps.iter();
    let found = apps.find(|(name, _)| app.is_none_or(|app| name.as_str() == app));
    let name = found.map_or("app", |(name, _)| name.as_str());
    let image = found.and_then(|(_, app)| app.deploy.as_ref()?.image.clone());
    let registry = image.as_ref().map_or("ghcr.io", |image| image.registry());
    let github = registry == "ghcr.io";
    let (user, password, packages) = if github {
        ("${{ github.actor }}", "${{ secrets.GITHUB_TOKEN }}", "      packages: write\n")
    } else {
        ("${{ secrets.REGISTRY_USERNAME }}", "${{ secrets.REGISTRY_PASSWORD }}", "")
    };
    let image = image.as_ref().map_or("ghcr.io/${{ github.repository }}".to_owned(), |image| image.name());
    [
        ("@APP@", name),
        ("@IMAGE@", &image),
        ("@PACKAGES@", packages),
        ("@REGISTRY@", registry),
        ("@USERNAME@", user),
        ("@PASSWORD@", password),
        ("@CONFIG@", config),
    ]
    .into_iter()
    .fold(TEMPLATE.to_owned(), |text, (mark, value)| text.replace(mark, value))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use switcher_config::document::{Document, Item};
    use switcher_config::durable::{Durability, replace};
    use switcher_config::{Sources, load};

    use super::*;
    use crate::init::draft::{Wishes, draft};
    use crate::init::kind::sort;
    use crate::init::settle::settle;

    fn of(image: &str) -> String {
        let text = format!("services: {{web: {{image: '{image}', ports: ['80']}}}}");
        let stack = crate::init::compose::read("c", std::path::Path::new("/srv/c"), &text).expect("a stack");
        let settled = settle(draft(None, &sort(stack, None), &Wishes::default())).expect("it loads");
        workflow(&settled.loaded.settings, None, "/etc/switcher/switcher.yaml")
    }

    #[test]
    fn it_is_yaml_with_few_rights_and_pinned_actions() {
        for image in ["ghcr.io/acme/shop:v1", "registry.example.com/shop:v1"] {
            let text = of(image);
            let document = Document::read("deploy.yml", &text).expect("YAML").expect("a value");
            let root = document.root();
            assert!(root.get("permissions").is_some_and(|rights| rights.entries().count() == 0));
            assert!(root.get("concurrency").and_then(|group| group.get("group")).is_some());
            let jobs = root.get("jobs").expect("jobs");
            let steps =
                jobs.entries().flat_map(|(_, _, job)| job.get("steps").into_iter().flat_map(Item::items));
            let uses: Vec<&str> = steps.filter_map(|step| step.get("uses").and_then(Item::text)).collect();
            assert_eq!(uses.len(), 4);
            for action in uses {
                let (_, version) = action.split_once("@v").expect("a version");
                assert_eq!(version.split('.').count(), 3, "{action}");
            }
            for mark in ["@APP", "@IMAGE@\n", "@CONFIG", "@PACK", "@REG", "@USER", "@PASS"] {
                assert!(!text.contains(mark), "{mark} is not filled in");
            }
            assert_eq!(text.contains("packages: write"), image.starts_with("ghcr.io"));
        }
    }

    #[test]
    fn only_the_default_branch_deploys_and_only_from_the_environment() {
        let text = of("ghcr.io/acme/shop:v1");
        let document = Document::read("deploy.yml", &text).expect("YAML").expect("a value");
        let jobs = document.root().get("jobs").expect("jobs");
        assert_eq!(jobs.entries().count(), 2);
        for (name, _, job) in jobs.entries() {
            let said = |key| job.get(key).and_then(Item::text).unwrap_or_default();
            assert!(said("if").contains("github.event.repository.default_branch"), "{name}");
            assert_eq!(said("environment"), "production", "{name}");
        }
        assert!(!text.contains("env.IMAGE"), "a name that was not made lower case");
    }

    /// GitHub runs steps in bash.
    #[test]
    fn the_name_of_the_image_is_made_lower_case() {
        let text = of("ghcr.io/acme/shop:v1");
        let line =
            text.lines().find_map(|line| line.trim_start().strip_prefix("run: echo ")).expect("the step");
        let folder = tempfile::tempdir().expect("a folder");
        let out = folder.path().join("out");
        let mut bash = Command::new("bash");
        bash.args(["-c", &format!("echo {line}")])
            .env("NAME", "ghcr.io/Acme/Shop")
            .env("GITHUB_OUTPUT", &out);
        assert!(bash.status().expect("bash").success());
        assert_eq!(std::fs::read_to_string(out).expect("a file"), "image=ghcr.io/acme/shop\n");
    }

    /// The application at the top of the file that leads to `switcher watch` is one that loads.
    #[test]
    fn the_way_to_the_webhook_loads() {
        let text = of("ghcr.io/acme/shop:v1");
        let lines = text.lines().skip_while(|line| {
            *line != "#   switcher: {webhook: {listen: 127.0.0.1:9182, secret_file: webhook.secret}}"
        });
        let rows: Vec<&str> = lines.map_while(|line| line.strip_prefix("#   ")).collect();
        assert!(rows.len() >= 6, "{rows:?}");
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("switcher.yaml");
        let text = rows.join("\n");
        replace(&file, text.as_bytes(), 0o600, Durability::Unsynced).expect("a file");
        let loaded = load(&Sources::from_process(Some(file), None)).expect("it loads");
        assert!(loaded.settings.apps.keys().any(|name| name.as_str() == "hooks"));
    }

    /// What the workflow computes in a shell is what `switcher watch` verifies.
    #[test]
    fn the_shell_signs_as_webhooks_are_verified() {
        let text = of("ghcr.io/acme/shop:v1");
        let line = text.lines().find(|line| line.trim_start().starts_with("signature=")).expect("the line");
        let body = r#"{"image": "a", "digest": "b"}"#;
        let script = format!("body=$BODY\n{}\nprintf %s \"$signature\"", line.trim_start());
        let ran = Command::new("sh")
            .args(["-c", &script])
            .env("BODY", body)
            .env("SECRET", "It's a Secret")
            .output();
        let ran = ran.expect("a shell");
        let signature = format!("sha256={}", String::from_utf8_lossy(&ran.stdout));
        assert!(crate::signature::is_signed(b"It's a Secret", body.as_bytes(), &signature), "{signature}");
    }
}
