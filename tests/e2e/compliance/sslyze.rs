//! sslyze, which holds a server against Mozilla's intermediate profile.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde_json::Value;
use switcher_tests::part::can;
use switcher_tests::skip_or_fail;
use tokio::process::Command;

use super::{Issued, NAME, Outdated, listener, scan};

/// The program: what `$SWITCHER_SSLYZE` names, or the one that `.ci/compliance-tools` installs, or the user's own.
fn program() -> Option<PathBuf> {
    let named = std::env::var_os("SWITCHER_SSLYZE").map(PathBuf::from);
    let installed = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("sslyze").join("bin/sslyze");
    let own = can("command -v sslyze").then(|| PathBuf::from("sslyze"));
    let program = named.or_else(|| installed.exists().then_some(installed)).or(own);
    if program.is_none() {
        skip_or_fail("sslyze is not here; `.ci/compliance-tools` installs it");
    }
    program
}

/// What the profile objects to; and the whole result.
async fn objections(program: &Path, address: SocketAddr, issued: &Issued) -> (Vec<String>, Value) {
    let mut command = Command::new(program);
    command.arg("--mozilla_config=intermediate").arg(format!("--sni={NAME}"));
    command.arg("--certinfo_ca_file").arg(issued.root()).arg("--json_out").arg(issued.result());
    let (said, result) = scan("sslyze", command.arg(address.to_string()), &issued.result()).await;
    let verdict = said.split("COMPLIANCE AGAINST").nth(1).unwrap_or_default();
    let objections: Vec<String> =
        verdict.lines().filter_map(|line| line.trim().strip_prefix("* ")).map(str::to_owned).collect();
    // It says nothing at all of a server that it did not reach.
    let word = if objections.is_empty() { "OK - Compliant." } else { "FAILED - Not compliant." };
    assert!(verdict.contains(word), "sslyze came to no verdict:\n{said}");
    (objections, result)
}

/// Whether the server speaks a protocol, by the result's word for it.
fn speaks(result: &Value, protocol: &str) -> bool {
    let found = &result["server_scan_results"][0]["scan_result"][format!("{protocol}_cipher_suites")];
    found["result"]["is_tls_version_supported"].as_bool().unwrap_or_else(|| panic!("{protocol}: {found}"))
}

const OLD: [&str; 4] = ["ssl_2_0", "ssl_3_0", "tls_1_0", "tls_1_1"];

#[tokio::test]
async fn the_listener_complies_with_mozillas_intermediate_profile() {
    let Some(program) = program() else { return };
    let issued = Issued::new();
    let (proxy, _app) = listener(&issued).await;
    let (objections, result) = objections(&program, proxy.https(), &issued).await;
    assert_eq!(objections, Vec::<String>::new());
    for protocol in OLD {
        assert!(!speaks(&result, protocol), "{protocol} is refused");
    }
    assert!(speaks(&result, "tls_1_2") && speaks(&result, "tls_1_3"));
}

#[tokio::test]
async fn sslyze_objects_to_an_outdated_server() {
    let Some(program) = program() else { return };
    let issued = Issued::new();
    let outdated = Outdated::start(&issued).await;
    let (objections, result) = objections(&program, outdated.address(), &issued).await;
    for about in ["tls_versions: ", "ciphers: "] {
        assert!(objections.iter().any(|objection| objection.starts_with(about)), "{about}: {objections:?}");
    }
    assert!(speaks(&result, "tls_1_0") && speaks(&result, "tls_1_1"));
}
