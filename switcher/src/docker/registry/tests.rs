//! Real words of engines and registries, each with its kind and its sentence.

use super::*;

fn image(text: &str) -> ImageReference {
    text.parse().expect(text)
}

/// Status, words, and what they mean.
const ANSWERS: &[(u16, &str, Kind)] = &[
    (404, "manifest unknown: manifest unknown", Kind::ImageUnknown),
    (
        404,
        "manifest for registry.example.com/acme/shop:v1 not found: manifest unknown: manifest unknown",
        Kind::ImageUnknown,
    ),
    (
        404,
        "repository registry.example.com/acme/shop not found: name unknown: repository name not known to registry",
        Kind::ImageUnknown,
    ),
    (
        500,
        "Head \"http://127.0.0.1:5001/v2/acme/shop/manifests/v2\": no basic auth credentials",
        Kind::Unauthorized,
    ),
    (
        404,
        "pull access denied for acme/shop, repository does not exist or may require 'docker login': denied: requested access to the resource is denied",
        Kind::Unauthorized,
    ),
    (500, "unauthorized: authentication required", Kind::Unauthorized),
    (500, "Head \"https://ghcr.io/v2/acme/shop/manifests/v1\": denied: denied", Kind::Unauthorized),
    (
        500,
        "Get \"http://127.0.0.1:9/v2/\": dial tcp 127.0.0.1:9: connect: connection refused",
        Kind::RegistryUnreachable,
    ),
    (
        500,
        "Get \"https://nowhere.invalid/v2/\": dial tcp: lookup nowhere.invalid on 10.0.0.1:53: no such host",
        Kind::RegistryUnreachable,
    ),
    (
        500,
        "Get \"https://r.example.com/v2/\": net/http: request canceled while waiting for connection (Client.Timeout exceeded while awaiting headers)",
        Kind::RegistryUnreachable,
    ),
    (500, "received unexpected HTTP status: 502 Bad Gateway", Kind::RegistryUnreachable),
    (
        500,
        "toomanyrequests: You have reached your pull rate limit. You may increase the limit by authenticating",
        Kind::RegistryRefused,
    ),
    (
        500,
        "Get \"https://r.example.com/v2/\": http: server gave HTTP response to HTTPS client",
        Kind::RegistryRefused,
    ),
    (
        500,
        "Get \"https://r.example.com/v2/\": x509: certificate signed by unknown authority",
        Kind::RegistryRefused,
    ),
    (500, "write /var/lib/docker/tmp/GetImageBlob123: no space left on device", Kind::NoSpace),
    (500, "no matching manifest for linux/riscv64 in the manifest list entries", Kind::Platform),
    (500, "layers from manifest don't match image configuration", Kind::Refused),
];

#[test]
fn every_answer_of_a_registry_has_its_kind() {
    let shop = image("registry.example.com/acme/shop:v1");
    for (status, words, expected) in ANSWERS {
        assert_eq!(kind(*status, words, &shop), *expected, "{words}");
    }
}

#[test]
fn a_repository_with_an_unlucky_name_is_no_trouble_by_itself() {
    let unlucky = image("ghcr.io/acme/unauthorized:v1");
    assert_eq!(
        kind(404, "manifest for ghcr.io/acme/unauthorized:v1 not found", &unlucky),
        Kind::ImageUnknown
    );
}

#[test]
fn every_kind_names_image_registry_and_the_way_out() {
    let shop = image("ghcr.io/acme/shop:v1");
    let shown: Vec<String> = [
        (Kind::Unauthorized, true, "unauthorized"),
        (Kind::Unauthorized, false, "no basic auth credentials"),
        (Kind::ImageUnknown, false, "manifest unknown"),
        (Kind::RegistryUnreachable, false, "connection refused"),
        (Kind::RegistryRefused, false, "toomanyrequests"),
        (Kind::RegistryRefused, false, "x509: certificate signed by unknown authority"),
        (Kind::Platform, false, "no matching manifest"),
        (Kind::NoSpace, false, "no space left on device"),
        (Kind::Refused, false, "something else"),
    ]
    .into_iter()
    .map(|(kind, login, words)| told(&shop, login, kind, words).to_string())
    .collect();
    insta::assert_snapshot!(shown.join("\n"));
    assert!(shown.iter().all(|text| text.contains("ghcr.io/acme/shop:v1")));
}
