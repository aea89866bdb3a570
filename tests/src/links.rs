//! The links of the READMEs, kept by tests: each leads to a file that is there, and to a heading that it has.
//!
//! The rule is a pure function of the pages; one test runs it over the real ones, another over broken ones.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

/// Pages by their path from the workspace's folder.
type Pages = BTreeMap<PathBuf, String>;

/// What leads nowhere: the page and the link.
fn broken(pages: &Pages, is_there: impl Fn(&Path) -> bool) -> Vec<String> {
    let mut found = Vec::new();
    for (page, text) in pages {
        for link in links(text) {
            let (file, heading) = link.split_once('#').unwrap_or((link, ""));
            let target = if file.is_empty() { page.clone() } else { beside(page, file) };
            let leads = match pages.get(&target) {
                Some(text) => heading.is_empty() || headings(text).any(|name| name == heading),
                None => heading.is_empty() && is_there(&target),
            };
            if !leads {
                found.push(format!("{}: {link}", page.display()));
            }
        }
    }
    found
}

/// The links of a page that lead to other pages of ours.
fn links(text: &str) -> impl Iterator<Item = &str> {
    let targets = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    targets.filter(|link| !link.contains("://"))
}

/// A path that is written in a page, from the workspace's folder.
fn beside(page: &Path, link: &str) -> PathBuf {
    let mut whole = page.parent().map(Path::to_owned).unwrap_or_default();
    for component in Path::new(link).components() {
        if component == Component::ParentDir {
            whole.pop();
        } else {
            whole.push(component);
        }
    }
    whole
}

/// The headings as links name them: in small letters, with hyphens for spaces and without punctuation.
fn headings(text: &str) -> impl Iterator<Item = String> {
    let titles =
        text.lines().filter(|line| line.starts_with('#')).map(|line| line.trim_start_matches('#').trim());
    titles.map(|title| {
        let kept = title.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
        kept.map(|c| if c == ' ' { '-' } else { c.to_ascii_lowercase() }).collect()
    })
}

#[test]
fn every_link_of_the_readmes_leads_somewhere() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ lies in the workspace");
    let read = |page: &str| (page.into(), std::fs::read_to_string(root.join(page)).expect("a page"));
    let names =
        ["README.md", "config/README.md", "switcher/README.md", "benches/README.md", "CONTRIBUTING.md"];
    let pages: Pages = names.into_iter().map(read).collect();
    assert!(pages.values().map(|text| links(text).count()).sum::<usize>() > 30);
    assert_eq!(broken(&pages, |path| root.join(path).exists()), Vec::<String>::new());
}

#[test]
fn a_link_that_leads_nowhere_is_found() {
    let first = "# A page\n[b](b/PAGE.md#some-thing-here) [none](b/PAGE.md#none) [gone](gone.md) [it](#a-page) [far](https://a.test)";
    let second = "## Some thing, here\n[back](../PAGE.md) [folder](..) [wrong](PAGE2.md)";
    let pages = Pages::from([("PAGE.md".into(), first.into()), ("b/PAGE.md".into(), second.into())]);
    let found = broken(&pages, |path| path == Path::new(""));
    assert_eq!(found, ["PAGE.md: b/PAGE.md#none", "PAGE.md: gone.md", "b/PAGE.md: PAGE2.md"]);
}
