//! testssl.sh, which looks for weaknesses one by one.

use std::net::SocketAddr;

use serde_json::Value;
use switcher_tests::part::can;
use switcher_tests::skip_or_fail;
use tokio::process::Command;

use super::{Issued, NAME, Outdated, listener, scan};

/// Protocols, ciphers, certificate, forward secrecy.
const DEFAULTS: &[&str] = &["-p", "-s", "-P", "-S", "-f"];

/// Every vulnerability that it knows, and the bugs of servers that GREASE brings to light.
const VULNERABILITIES: &[&str] = &["-U", "-g"];

/// What is no fault here, and why.
const NO_FAULTS: [(&str, &str); 4] = [
    ("engine_problem", "is about the openssl of this machine, which has no GOST"),
    (
        "cipher_order",
        "the client chooses, as Mozilla's intermediate profile has it: every cipher offered is strong, \
        and a phone without AES instructions is quicker with ChaCha20",
    ),
    (
        "sessionresumption_ticket",
        "asks whether resumption works, which is no weakness, with a client that may leave before it has its \
        ticket; it is tested with the rustls configuration",
    ),
    ("sessionresumption_ID", "the same"),
];

#[derive(Debug)]
struct Finding {
    id: String,
    severity: String,
    text: String,
}

impl Finding {
    fn of(value: &Value) -> Self {
        let field = |name: &str| value[name].as_str().unwrap_or_else(|| panic!("{name}: {value}")).to_owned();
        Self { id: field("id"), severity: field("severity"), text: field("finding") }
    }

    /// Any severity counts, as does a warning: then something could not be looked at.
    fn is_fault(&self) -> bool {
        let excused = NO_FAULTS.iter().any(|(id, _)| *id == self.id);
        !excused && !matches!(self.severity.as_str(), "OK" | "INFO")
    }
}

/// The program by the name it has in Debian, or its own.
fn program() -> Option<&'static str> {
    let program = ["testssl", "testssl.sh"].into_iter().find(|name| can(&format!("command -v {name}")));
    if program.is_none() {
        skip_or_fail("testssl.sh is not here; `.ci/compliance-tools` installs it");
    }
    program
}

async fn findings(program: &str, checks: &[&str], address: SocketAddr, issued: &Issued) -> Vec<Finding> {
    let mut command = Command::new(program);
    command.args(["--quiet", "--warnings", "off", "--color", "0", "--nodns", "none", "--ip", "127.0.0.1"]);
    command.args(["--openssl-timeout", "10", "--connect-timeout", "10"]).args(checks);
    command.arg("--add-ca").arg(issued.root()).arg("--jsonfile").arg(issued.result());
    let url = format!("https://{NAME}:{}", address.port());
    let (said, result) = scan("testssl.sh", command.arg(url), &issued.result()).await;
    let findings: Vec<Finding> = result.as_array().expect("a list").iter().map(Finding::of).collect();
    assert!(findings.iter().any(|f| f.id == "scanTime"), "testssl.sh did not come to its end:\n{said}");
    findings
}

fn faults(findings: &[Finding]) -> Vec<&Finding> {
    findings.iter().filter(|finding| finding.is_fault()).collect()
}

/// The text of the finding with that id; an absent one was not looked at.
fn text<'a>(findings: &'a [Finding], id: &str) -> &'a str {
    let found = findings.iter().find(|finding| finding.id == id);
    &found.unwrap_or_else(|| panic!("{id} was not looked at: {findings:?}")).text
}

const OLD: [&str; 4] = ["SSLv2", "SSLv3", "TLS1", "TLS1_1"];

#[tokio::test]
async fn testssl_finds_no_fault_in_protocols_ciphers_and_certificate() {
    let Some(program) = program() else { return };
    let issued = Issued::new();
    let (proxy, _app) = listener(&issued).await;
    let findings = findings(program, DEFAULTS, proxy.https(), &issued).await;
    let faults = faults(&findings);
    assert!(faults.is_empty(), "{faults:#?}");
    for old in OLD {
        assert_eq!(text(&findings, old), "not offered", "{old}");
    }
    for new in ["TLS1_2", "TLS1_3"] {
        assert!(text(&findings, new).starts_with("offered"), "{new}: {}", text(&findings, new));
    }
    assert!(text(&findings, "cert_chain_of_trust").starts_with("passed"));
}

#[tokio::test]
async fn testssl_finds_no_vulnerability() {
    let Some(program) = program() else { return };
    let issued = Issued::new();
    let (proxy, _app) = listener(&issued).await;
    let findings = findings(program, VULNERABILITIES, proxy.https(), &issued).await;
    let faults = faults(&findings);
    assert!(faults.is_empty(), "{faults:#?}");
    for id in [
        "heartbleed",
        "CCS",
        "ticketbleed",
        "ROBOT",
        "secure_renego",
        "CRIME_TLS",
        "BREACH",
        "POODLE_SSL",
        "SWEET32",
        "FREAK",
        "DROWN",
        "LOGJAM",
        "BEAST",
        "LUCKY13",
        "RC4",
    ] {
        text(&findings, id);
    }
}

#[tokio::test]
async fn testssl_finds_the_faults_of_an_outdated_server() {
    let Some(program) = program() else { return };
    let issued = Issued::new();
    let outdated = Outdated::start(&issued).await;
    let findings = findings(program, &["-p", "-s", "-L"], outdated.address(), &issued).await;
    let faults = faults(&findings);
    for id in ["TLS1", "TLS1_1", "LUCKY13"] {
        assert!(faults.iter().any(|fault| fault.id == id), "{id} is a fault: {findings:?}");
    }
}
