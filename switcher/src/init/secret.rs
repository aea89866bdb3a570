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

/// Words in a name beside which not even `true` is copied.
const STRICT: &[&str] = &["pass", "pwd", "secret"];

/// Ends of names whose numbers are bounds, such as `TOKEN_TTL`.
const BOUNDS: &[&str] = &["_ttl", "_timeout", "_seconds", "_minutes", "_days", "_length", "_rounds", "_port"];

/// Where programs are told something by whoever knows the address alone.
const HOOKS: &[&str] = &[
    "://hook",
    "webhook",
    "/hooks/",
    "hooks.",
    "/services/",
    "api.telegram.org/bot",
    "chat.googleapis.com",
    "hc-ping.com",
    "maker.ifttt.com",
];

/// Whether a variable's value may not be copied. `value` is in our spelling; a `${NAME}` in it is no secret.
#[must_use]
pub fn is_secret(name: &str, value: &str) -> bool {
    let open = literal(value);
    let open = open.trim();
    if open.is_empty() {
        return false;
    }
    if looks_secret(open) {
        return true;
    }
    let name = name.to_ascii_lowercase().replace('-', "_");
    let has = |words: &[&str]| words.iter().any(|word| name.contains(word));
    if !has(WORDS) {
        return false;
    }
    let file = ["_file", "_path", "_dir"].iter().any(|end| name.ends_with(end)) && open.starts_with('/');
    let bound = BOUNDS.iter().any(|end| name.ends_with(end)) && open.parse::<u32>().is_ok();
    let switch = is_switch(open) && !has(STRICT);
    !(file || bound || switch || is_public_url(open))
}

/// Whether a text is a secret by itself, whatever it is called.
#[must_use]
pub fn looks_secret(open: &str) -> bool {
    let begins = |word: &str| BEGINNINGS.iter().any(|begin| word.starts_with(begin));
    has_password(open)
        || has_userinfo(open)
        || is_hook(open)
        || words(open).any(|w| begins(w) || is_random(w))
}

/// Words that switch something on or off tell nobody anything.
fn is_switch(text: &str) -> bool {
    ["true", "false", "yes", "no", "on", "off", "none"].contains(&text.to_ascii_lowercase().as_str())
}

/// `https://shop.example.com/login` beside a name such as `AUTH_URL`.
fn is_public_url(text: &str) -> bool {
    (text.starts_with("http://") || text.starts_with("https://")) && !text.contains(['@', '?', '='])
}

/// Who knows the address of a hook may use it.
fn is_hook(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    lower.contains("://") && HOOKS.iter().any(|hook| lower.contains(hook))
}

/// A connection string such as `Server=db;Password=x`, a query with a token, or JSON with a password.
fn has_password(text: &str) -> bool {
    let lower = text.to_ascii_lowercase().replace(['"', '\''], "");
    let marks = ["password", "passwd", "pass", "pwd", "token", "secret", "key", "signature", "sig"];
    marks.iter().flat_map(|mark| lower.split(mark).skip(1)).any(|after| {
        let value = after.strip_prefix('=').or_else(|| after.strip_prefix(':'));
        value.is_some_and(|value| {
            !value.trim_start_matches(' ').is_empty() && !value.starts_with([';', '&', ' ', '@'])
        }) || after.strip_prefix(": ").is_some_and(|value| !value.trim().is_empty())
    })
}

/// Somebody's name or password before the `@` of an address. A password may hold any character, `/` too.
fn has_userinfo(text: &str) -> bool {
    let pieces = |word: &'_ str| word.split("://").map(str::to_owned).collect::<Vec<_>>();
    text.split_whitespace().flat_map(|word| pieces(word).into_iter().enumerate()).any(|(index, piece)| {
        let Some((user, _)) = piece.rsplit_once('@') else { return false };
        match user.split_once(':') {
            Some((_, password)) => !password.is_empty(),
            // A key that stands alone, as Sentry has it. Without `://` it is somebody's mail address.
            None => index > 0 && !user.is_empty(),
        }
    })
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| c.is_whitespace() || ",;:/@=?&\"'".contains(c))
}

/// A long word of letters and digits mixed, as no person writes one; or one of hex digits alone.
fn is_random(word: &str) -> bool {
    if word.len() >= 32 && word.chars().all(|c| c.is_ascii_hexdigit()) {
        return true;
    }
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
            ("DB_PASSWORD", "12345"),
            ("ADMIN_PASS", "on"),
            ("DATABASE_URL", "postgres://shop:aB/cD9xyz@db/shop"),
            ("DATABASE_URL", "postgres://shop:a?b#c@db/shop"),
            ("MYSQL", "shop:hunter2@tcp(db:3306)/shop"),
            ("SLACK", "https://hooks.slack.com/services/T000/B000/abc"),
            ("DISCORD", "https://discord.com/api/webhooks/1/abc"),
            ("MASTER", "deadbeefdeadbeefdeadbeefdeadbeef"),
            ("MASTER", "01234567890123456789012345678901"),
            ("SENTRY", "https://abc@sentry.io/1"),
            ("HEADER", "Bearer eyJabc.def"),
            ("EXTRA", r#"{"password": "hunter2"}"#),
            ("FEED", "https://example.com/feed?api_key=abc"),
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
            ("TOKEN_TTL", "3600"),
            ("MAIL_FROM", "ops@example.com"),
            ("LOG_LEVEL", "info"),
            ("RUST_LOG", "shop=debug,tower_http=warn"),
            ("PORT", "8080"),
            ("NODE_OPTIONS", "--max-old-space-size=512"),
        ] {
            assert!(!is_secret(name, value), "{name}={value}");
        }
    }
}
