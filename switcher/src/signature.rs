//! Signed bodies of webhooks: `sha256=` and the HMAC-SHA256 (RFC 2104) of the body in hex, as GitHub signs its deliveries.

use std::fmt::Write as _;

use aws_lc_rs::hmac;

/// The header that a signature stands in.
pub const HEADER: &str = "x-hub-signature-256";

/// The signature of a body.
#[must_use]
pub fn sign(secret: &[u8], body: &[u8]) -> String {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), body);
    tag.as_ref().iter().fold("sha256=".to_owned(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Whether a signature is that of the body; comparing takes the same time either way.
#[must_use]
pub fn is_signed(secret: &[u8], body: &[u8], signature: &str) -> bool {
    let Some(tag) = signature.strip_prefix("sha256=").and_then(unhex) else { return false };
    hmac::verify(&hmac::Key::new(hmac::HMAC_SHA256, secret), body, &tag).is_ok()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let pairs = text.as_bytes().chunks(2);
    pairs
        .map(|pair| match pair {
            [high, low] => Some((digit(*high)? << 4) | digit(*low)?),
            _ => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of GitHub's documentation on validating deliveries.
    const SECRET: &[u8] = b"It's a Secret to Everybody";
    const BODY: &[u8] = b"Hello, World!";
    const SIGNATURE: &str = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";

    #[test]
    fn a_body_is_signed_as_github_signs_it() {
        assert_eq!(sign(SECRET, BODY), SIGNATURE);
        assert!(is_signed(SECRET, BODY, SIGNATURE));
        assert!(is_signed(SECRET, BODY, &SIGNATURE.to_uppercase().replace("SHA", "sha")));
    }

    #[test]
    fn anything_else_is_no_signature() {
        assert!(!is_signed(b"another", BODY, SIGNATURE));
        assert!(!is_signed(SECRET, b"Hello, World?", SIGNATURE));
        for forged in ["", "sha256=", "sha256=zz", "sha256=757", "sha1=757107ea", &SIGNATURE[..70]] {
            assert!(!is_signed(SECRET, BODY, forged), "{forged}");
        }
    }
}
