//! `switcher certs trust`: the internal authority's root on standard output, and on standard error what to do with it.

use std::io;
use std::path::{Path, PathBuf};

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::{Outcome, met};
use crate::admin::{AdminError, ConnectProblem};
use crate::code::Code;
use crate::configuration;
use crate::context::Context;
use crate::failure::{Failure, Live};

/// The name under which the examples save the root.
const SAVED: &str = "switcher-root.crt";

/// Prints it; from the proxy, or from its data folder when no proxy runs.
pub(super) async fn run(ctx: &Context) -> Outcome {
    let admin = ctx.admin()?;
    let pem = match admin.root().await {
        Ok(Some(pem)) => pem,
        Ok(None) => {
            return Err(none(
                ctx,
                "the proxy has no authority of its own: no application has `tls: internal`",
            ));
        }
        Err(AdminError::Connect(ConnectProblem::Absent | ConnectProblem::Dead)) => {
            let file = file(ctx)?;
            std::fs::read_to_string(&file).map_err(|error| unread(ctx, &file, &error))?
        }
        Err(error) => return Err(met(ctx, &admin, error)),
    };
    let fingerprint = fingerprint(&pem).ok_or_else(|| {
        Failure::new(
            Code::ProxyGibberish,
            "what should be the internal root is no certificate in PEM",
            Live::Unchanged,
            "switcher-proxy --version",
        )
    })?;
    let file = file(ctx).ok();
    ctx.console.result(&pem, &json!({ "pem": pem, "fingerprint": fingerprint, "file": file }))?;
    if !ctx.console.json {
        ctx.reporter.step(&how(&fingerprint, &ctx.command("certs trust")));
    }
    Ok(())
}

/// Where the proxy keeps it.
fn file(ctx: &Context) -> Result<PathBuf, Failure> {
    Ok(configuration::data_dir(ctx)?.join("certs/internal/root.pem"))
}

fn none(ctx: &Context, message: impl Into<String>) -> Failure {
    Failure::new(Code::CertNoRoot, message, Live::Unchanged, ctx.command("certs list"))
}

fn unread(ctx: &Context, file: &Path, error: &io::Error) -> Failure {
    let file = file.display();
    if error.kind() == io::ErrorKind::NotFound {
        return none(ctx, format!("no proxy runs, and {file} is not there: no authority was ever made"));
    }
    let failure = none(ctx, format!("no proxy runs, and {file} cannot be read: {error}"));
    Failure { next: format!("sudo {}", ctx.again()), ..failure }
}

/// The SHA-256 of the certificate in DER, as browsers show it: `AB:CD:…`.
fn fingerprint(pem: &str) -> Option<String> {
    let der = CertificateDer::from_pem_slice(pem.as_bytes()).ok()?;
    let bytes: Vec<String> = Sha256::digest(&der).iter().map(|byte| format!("{byte:02X}")).collect();
    Some(bytes.join(":"))
}

/// What to do with it, a way a line.
fn how(fingerprint: &str, command: &str) -> String {
    let ways = [
        ("SHA-256", fingerprint.to_owned()),
        ("save it", format!("{command} > {SAVED}")),
        (
            "Debian, Ubuntu",
            format!("sudo cp {SAVED} /usr/local/share/ca-certificates/ && sudo update-ca-certificates"),
        ),
        (
            "Fedora, RHEL",
            format!("sudo cp {SAVED} /etc/pki/ca-trust/source/anchors/ && sudo update-ca-trust"),
        ),
        (
            "macOS",
            format!(
                "sudo security add-trusted-cert -d -r trustRoot -k /Library/Keychains/System.keychain {SAVED}"
            ),
        ),
        ("Windows", format!("certutil -addstore -f Root {SAVED}   (as an administrator)")),
        (
            "Firefox",
            "Settings, Privacy & Security, View Certificates, Authorities, Import: trust it for websites"
                .to_owned(),
        ),
        ("curl", format!("curl --cacert {SAVED} https://NAME/")),
        ("Node.js", format!("NODE_EXTRA_CA_CERTS=$PWD/{SAVED} node APP")),
    ];
    ways.map(|(system, way)| format!("{system:<15} {way}")).join("\n")
}
