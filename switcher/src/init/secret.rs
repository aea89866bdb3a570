//! Whether a value looks like a secret: by its name, or by itself. Pure; in doubt it does.

use super::interpolation::literal;

/// Words in the name of a variable whose value nobody but the application should know.
const WORDS: &[&str] = &[
    "pass",
    "pwd",
    "secret",
    "token",
    "key",
    "credential",
    "private",
    "dsn",
    "salt",
    "hmac",
    "auth",
    "cookie",
    "signature",
    "cert",
    "jwt",
    "license",
];

/// What known kinds of keys begin with.
const BEGINNINGS: &[&str] = &[
    "sk_",
    "sk-",
    "pk_",
    "rk_",
    "ghp_",
    "gho_",
    "ghs_",
    "github_pat_",
    "glpat-",
    "xox",
    "AKIA",
    "ASIA",
    "SG.",
    "eyJ",
    "-----BEGIN",
    "whsec_",
    "dop_v1_",
    "npm_",
    "AGE-SECRET",
];

/// Whether a variable's value may not be copied. `value` is in our spelling; a `${NAME}` in it is no secret.
#[must_use]
pub fn is_secret(name: &str, value: &str) -> bool {
    let open = literal(value);
    let open = open.trim();
    if open.is_empty() || is_switch(open) {
        return false;
    }
    if looks_secret(open) {
        return true;
    }
    let name = name.to_ascii_lowercase();
    let file = name.ends_with("_file") || name.ends_with("_path") || name.ends_with("_dir");
    let named = WORDS.iter().any(|word| name.contains(word));
    named && !(file && open.starts_with('/')) && !is_public_url(open)
}

/// Whether a text is a secret by itself, whatever it is called.
#[must_use]
pub fn looks_secret(open: &str) -> bool {
    has_password(open) || BEGINNINGS.iter().any(|begin| open.starts_with(begin)) || words(open).any(is_random)
}

/// Numbers and words that switch something on or off tell nobody anything.
fn is_switch(text: &str) -> bool {
    let known = ["true", "false", "yes", "no", "on", "off", "none"];
    known.contains(&text.to_ascii_lowercase().as_str()) || (text.len() < 6 && text.parse::<u32>().is_ok())
}

/// `https://shop.example.com/login` beside a name such as `AUTH_URL`.
fn is_public_url(text: &str) -> bool {
    (text.starts_with("http://") || text.starts_with("https://")) && !text.contains(['@', '?', '='])
}

/// A URL with a password in it, or a connection string such as `Server=db;Password=x`.
fn has_password(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    let given = |mark: &str| {
        lower.split(mark).skip(1).any(|after| !after.starts_with([';', '&', ' ']) && !after.is_empty())
    };
    if ["password=", "pwd=", "token=", "secret="].into_iter().any(given) {
        return true;
    }
    text.split("://").skip(1).any(|after| {
        let authority = after.split(['/', '?', ' ']).next().unwrap_or_default();
        let user = authority.rsplit_once('@').map(|(user, _)| user);
        user.and_then(|user| user.split_once(':')).is_some_and(|(_, password)| !password.is_empty())
    })
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| c.is_whitespace() || ",;:/@=?&\"'".contains(c))
}

/// A long word of letters and digits mixed, as no person writes one.
fn is_random(word: &str) -> bool {
    let (mut digits, mut letters, mut changes) = (0, 0, 0);
    let mut before = None;
    for c in word.chars() {
        let kind = (c.is_ascii_digit(), c.is_ascii_uppercase());
        digits += usize::from(kind.0);
        letters += usize::from(c.is_ascii_alphabetic());
        changes += usize::from(before.is_some_and(|before| before != kind));
        before = Some(kind);
    }
    word.len() >= 20 && digits >= 3 && letters >= 3 && changes * 4 >= word.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_known_by_their_name_or_by_themselves() {
        for (name, value) in [
            ("POSTGRES_PASSWORD", "hunter2"),
            ("JWT_SECRET", "${JWT:-changeme-now}"),
            ("DATABASE_URL", "postgres://shop:hunter2@db:5432/shop"),
            ("CONNECTION", "Server=db;Password=hunter2;"),
            ("STRIPE", "sk_live_abcdefgh"),
            ("SEED", "9f8a7c6e5d4b3a2f1e0d9c8b7a6f5e4d"),
            ("SENTRY_DSN", "https://abc@o1.ingest.example.com/2"),
            ("APP_KEY", "base64:abcdef"),
        ] {
            assert!(is_secret(name, value), "{name}");
        }
    }

    #[test]
    fn what_tells_nobody_anything_is_copied() {
        for (name, value) in [
            ("DATABASE_URL", "postgres://shop:${DB_PASSWORD}@db/shop"),
            ("DATABASE_URL", "postgres://db/shop"),
            ("JWT_SECRET", "${JWT_SECRET}"),
            ("POSTGRES_PASSWORD_FILE", "/run/secrets/db_password"),
            ("AUTH_URL", "https://auth.example.com/login"),
            ("AUTH_ENABLED", "true"),
            ("LOG_LEVEL", "info"),
            ("RUST_LOG", "shop=debug,tower_http=warn"),
            ("PORT", "8080"),
            ("NODE_OPTIONS", "--max-old-space-size=512"),
        ] {
            assert!(!is_secret(name, value), "{name}={value}");
        }
    }
}
