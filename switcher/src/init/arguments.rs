//! Whether the words of a command hold a secret: by their options, by what stands before `=`, or by themselves. Pure.
//!
//! In doubt they do. A command that is withheld is listed as not carried over, by its place and never by its words.

use super::secret::{is_secret, looks_secret};

/// Options that are followed by a password, whatever the program.
const SHORT: &[&str] = &["-p", "-P", "--pass"];

/// Options that are followed by `user:password`.
const USER: &[&str] = &["-u", "-U", "--user", "--proxy-user"];

/// Whether a command holds a secret. `words` are in our spelling. `shell` says that `$NAME` is filled in by a shell.
#[must_use]
pub fn hold_secret(words: &[String], shell: bool) -> bool {
    let joined = words.join(" ");
    if looks_secret(&super::interpolation::literal(&joined)) {
        return true;
    }
    let split = joined.split(|c: char| c.is_whitespace() || "\"'`;|".contains(c));
    let words: Vec<&str> = split.filter(|word| !word.is_empty()).collect();
    let named = |programs: &[&str]| words.iter().any(|word| programs.iter().any(|name| word.contains(name)));
    let (mysql, redis) = (named(&["mysql", "mariadb"]), named(&["redis", "valkey", "keydb"]));
    let hidden = |value: &str| shell && is_name(value) || super::interpolation::literal(value).is_empty();
    let open = |value: &str| !hidden(value);
    words.iter().enumerate().any(|(index, word)| {
        let next = words.get(index + 1).copied().filter(|next| !next.starts_with('-') && open(next));
        // `mysql -phunter2` has it in the same word.
        let glued = mysql && word.starts_with("-p") && open(&word[2..]);
        let followed = next.is_some_and(|next| follows(word, next, redis));
        let given = word.split_once('=').is_some_and(|(name, value)| open(value) && is_secret(name, value));
        glued || followed || given
    })
}

/// Whether an option makes a secret of what comes after it.
fn follows(option: &str, next: &str, redis: bool) -> bool {
    if SHORT.contains(&option) {
        // `-p 8080` is a port, as most programs have it.
        return next.parse::<u16>().is_err();
    }
    if USER.contains(&option) {
        return next.split_once(':').is_some_and(|(_, password)| !password.is_empty());
    }
    let names = option.starts_with('-') || option.ends_with(':');
    (redis && option == "-a") || (names && is_secret(option.trim_end_matches(':'), next))
}

/// `$NAME` or `${NAME}`.
fn is_name(text: &str) -> bool {
    let Some(name) = text.strip_prefix('$') else { return false };
    let name = name.strip_prefix('{').and_then(|name| name.strip_suffix('}')).unwrap_or(name);
    !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_known_by_the_option_before_it() {
        let cases: &[(&[&str], bool, bool)] = &[
            (&["serve", "--db-password", "hunter2"], false, true),
            (&["serve", "-p", "hunter3"], false, true),
            (&["serve", "--password=hunter2"], false, true),
            (&["serve", "--api-key=12345"], false, true),
            (&["CMD-SHELL", "curl -u u:hunter5 localhost/"], true, true),
            (&["CMD-SHELL", "curl -H 'Authorization: Bearer abc' localhost/"], true, true),
            (&["CMD", "mysqladmin", "ping", "-phunter2"], false, true),
            (&["CMD", "redis-cli", "-a", "hunter2", "ping"], false, true),
            (&["sh", "-c", "PGPASSWORD=hunter2 psql"], false, true),
            (&["serve", "--db-password", "${DB_PASSWORD}"], false, false),
            (&["CMD-SHELL", "mysqladmin ping -p$MYSQL_PASSWORD"], true, false),
            (&["serve", "-p", "8080", "--auth=true"], false, false),
            (&["token", "list", "--key-file", "/run/secrets/key"], false, false),
            (&["curl", "-f", "http://localhost:3000/health"], false, false),
        ];
        for (words, shell, expected) in cases {
            let owned: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
            assert_eq!(hold_secret(&owned, *shell), *expected, "{words:?}");
        }
    }
}
