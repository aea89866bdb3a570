//! Traefik's `acme.json`: by resolver an account and its certificates, chain and key each PEM in base64.
//!
//! Versions 2 and 3 write `{resolver: {Account, Certificates: [{domain: {main, sans}, certificate, key}]}}`; 1.7
//! wrote one resolver's object alone, with capital letters. The authority is known by the account's URL.

use std::fs;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::{Found, SourceError, Unusable, directory_on};

/// Reads all of them.
pub(super) fn read(path: &Path) -> Result<Vec<Found>, SourceError> {
    let file = if path.is_dir() { path.join("acme.json") } else { path.to_owned() };
    let bytes = fs::read(&file).map_err(SourceError::unreadable(&file))?;
    let not_it = |why: &str| SourceError::not_it(&file, why);
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Err(not_it("is empty: Traefik has no certificate yet"));
    }
    let json: Value = serde_json::from_slice(&bytes)
        .map_err(|error| not_it(&format!("is no acme.json of Traefik: it is no JSON ({error})")))?;
    let Value::Object(resolvers) = &json else {
        return Err(not_it("is no acme.json of Traefik: it is no object of resolvers"));
    };
    if get(&json, "Certificates").is_some() {
        return Ok(resolver(&file, "", &json));
    }
    if !resolvers
        .values()
        .any(|value| get(value, "Account").is_some() || get(value, "Certificates").is_some())
    {
        return Err(not_it("is no acme.json of Traefik: it has no resolver with an account or certificates"));
    }
    Ok(resolvers.iter().flat_map(|(name, value)| resolver(&file, name, value)).collect())
}

fn resolver(file: &Path, name: &str, value: &Value) -> Vec<Found> {
    let ca = get(value, "Account")
        .and_then(|account| get(account, "Registration"))
        .and_then(|registration| get(registration, "uri"))
        .and_then(Value::as_str)
        .and_then(|uri| directory_on(uri.strip_prefix("https://")?.split('/').next()?));
    let certificates = get(value, "Certificates").and_then(Value::as_array).map(Vec::as_slice);
    certificates
        .unwrap_or_default()
        .iter()
        .map(|certificate| {
            let main =
                get(certificate, "domain").and_then(|domain| get(domain, "main")).and_then(Value::as_str);
            let main = main.unwrap_or("a certificate without a name");
            let place = [file.display().to_string(), name.to_owned(), main.to_owned()];
            let place = place.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(": ");
            Found { place, ca: ca.clone(), pem: pem(certificate) }
        })
        .collect()
}

fn pem(certificate: &Value) -> Result<(Vec<u8>, Vec<u8>), Unusable> {
    let decoded = |what: &str| {
        let text = get(certificate, what).and_then(Value::as_str);
        let text = text.ok_or_else(|| Unusable::Damaged(format!("it has no `{what}`")))?;
        STANDARD
            .decode(text.trim())
            .map_err(|error| Unusable::Damaged(format!("its `{what}` is no base64: {error}")))
    };
    Ok((decoded("certificate")?, decoded("key")?))
}

/// A member, in whatever case it was written.
fn get<'a>(value: &'a Value, name: &str) -> Option<&'a Value> {
    let members = value.as_object()?;
    members.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
}
