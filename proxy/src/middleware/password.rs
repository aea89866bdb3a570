//! Who may ask, by name and password (RFC 7617), against a file of `htpasswd`.
//!
//! To check a password is slow on purpose, so it is done beside the requests, on few threads at once, and what was found
//! right is remembered (a keyed hash of it, in memory) until the file changes. A name that is not in the file costs as
//! much as one that is: how long an answer takes tells nobody which names there are.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher as _, RandomState};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use arc_swap::ArcSwap;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::HeaderName;
use http::{HeaderMap, HeaderValue, header};
use md5::{Digest as _, Md5};
use parking_lot::Mutex;
use sha2::Sha256;
use subtle::ConstantTimeEq as _;
use switcher_config::settings::BasicAuth;
use tokio::sync::Semaphore;

/// How many passwords are checked at once; others wait.
const AT_ONCE: usize = 2;

/// The most logins that are remembered.
const REMEMBERED: usize = 10_000;

/// The longest name and password together that are looked at.
const LONGEST: usize = 1024;

static CHECKS: Semaphore = Semaphore::const_new(AT_ONCE);

/// Who may ask.
#[derive(Debug)]
pub struct Login {
    /// Names and passwords.
    pub users: Arc<Users>,
    /// What a client is told that is not let in (RFC 7617 section 2).
    pub challenge: HeaderValue,
    /// Where the application is told the name.
    pub user_header: Option<HeaderName>,
    /// Whether the application sees the password.
    pub forward: bool,
}

impl Login {
    pub(super) fn new(settings: &BasicAuth) -> Result<Self, String> {
        let realm = settings.realm.replace(['"', '\\'], "");
        let challenge = HeaderValue::try_from(format!("Basic realm=\"{realm}\", charset=\"UTF-8\""));
        Ok(Self {
            users: Arc::new(Users::read(&settings.file)?),
            challenge: challenge.map_err(|error| error.to_string())?,
            user_header: settings.user_header.as_ref().and_then(|name| name.parse().ok()),
            forward: settings.forward,
        })
    }

    /// The name of whoever asks, when it is one that is let in.
    pub async fn who(&self, headers: &HeaderMap) -> Option<String> {
        let (name, password) = credentials(headers)?;
        self.users.knows(&name, &password).await.then_some(name)
    }
}

/// The name and password that a request brings.
fn credentials(headers: &HeaderMap) -> Option<(String, String)> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") || token.len() > LONGEST * 2 {
        return None;
    }
    let text = String::from_utf8(STANDARD.decode(token.trim()).ok()?).ok()?;
    let (name, password) = text.split_once(':')?;
    Some((name.to_owned(), password.to_owned()))
}

/// How a password is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Kept {
    /// `$2y$…` (also `$2a$`, `$2b$`).
    Bcrypt(String),
    /// `$apr1$SALT$…`.
    Apr1 { salt: String, hash: String },
}

impl Kept {
    fn parse(text: &str) -> Option<Self> {
        if let Some(rest) = text.strip_prefix("$apr1$") {
            let (salt, hash) = rest.split_once('$')?;
            return (hash.len() == 22).then(|| Self::Apr1 { salt: salt.to_owned(), hash: hash.to_owned() });
        }
        let bcrypt = ["$2y$", "$2a$", "$2b$"].iter().any(|front| text.starts_with(front)) && text.len() == 60;
        bcrypt.then(|| Self::Bcrypt(text.to_owned()))
    }

    fn is(&self, password: &str) -> bool {
        match self {
            Self::Bcrypt(hash) => bcrypt::verify(password, hash).unwrap_or_default(),
            Self::Apr1 { salt, hash } => apr1(password, salt).as_bytes().ct_eq(hash.as_bytes()).into(),
        }
    }
}

/// The names and passwords of a file, picked up again when it changes.
#[derive(Debug)]
pub struct Users {
    file: PathBuf,
    now: ArcSwap<Known>,
    stamp: Mutex<Stamp>,
}

/// What tells one state of a file from another, and whether it is being written.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    read: Option<(u64, i64, i64, u64)>,
    pending: Option<Option<(u64, i64, i64, u64)>>,
    said: bool,
}

#[derive(Debug, Default)]
struct Known {
    users: HashMap<String, Kept>,
    /// Keyed hashes of names and passwords that were right.
    right: Mutex<HashSet<[u8; 32]>>,
    key: [u8; 16],
}

impl Known {
    fn read(file: &Path) -> Result<Self, String> {
        let shown = file.display();
        let text =
            std::fs::read_to_string(file).map_err(|error| format!("{shown} cannot be read: {error}"))?;
        let mut users = HashMap::new();
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let user = line.split_once(':').and_then(|(name, kept)| Some((name, Kept::parse(kept)?)));
            let Some((name, kept)) = user.filter(|(name, _)| !name.is_empty()) else {
                return Err(format!(
                    "{shown}, line {}: no name with a password by bcrypt or apr1; write it with `htpasswd -B {shown} NAME`",
                    number + 1
                ));
            };
            users.insert(name.to_owned(), kept);
        }
        // What a process hashes with is its own.
        let random = [RandomState::new().hash_one(1), RandomState::new().hash_one(2)].map(u64::to_ne_bytes);
        let mut key = [0; 16];
        key.iter_mut().zip(random.as_flattened()).for_each(|(to, from)| *to = *from);
        Ok(Self { users, right: Mutex::default(), key })
    }

    fn fingerprint(&self, name: &str, password: &str) -> [u8; 32] {
        let mut hash = Sha256::new();
        for part in [self.key.as_slice(), name.as_bytes(), &[0], password.as_bytes()] {
            hash.update(part);
        }
        hash.finalize().into()
    }
}

impl Users {
    fn read(file: &Path) -> Result<Self, String> {
        // Before it is read: what changes meanwhile is seen at the next look.
        let read = state(file);
        let now = ArcSwap::from_pointee(Known::read(file)?);
        Ok(Self { file: file.to_owned(), now, stamp: Mutex::new(Stamp { read, ..Stamp::default() }) })
    }

    /// Whether this name has this password.
    async fn knows(&self, name: &str, password: &str) -> bool {
        static NOBODY: LazyLock<Kept> = LazyLock::new(|| {
            Kept::Bcrypt("$2y$10$abcdefghijklmnopqrstuuQ7CcFDzcE5X6wMdOYxi7bXhWjLQYQfK".to_owned())
        });
        if name.len() + password.len() > LONGEST {
            return false;
        }
        let known = self.now.load_full();
        let fingerprint = known.fingerprint(name, password);
        if known.right.lock().contains(&fingerprint) {
            return true;
        }
        let user = known.users.get(name).cloned();
        let (exists, kept) = (user.is_some(), user.unwrap_or_else(|| NOBODY.clone()));
        let password = password.to_owned();
        // It is never closed.
        let Ok(_turn) = CHECKS.acquire().await else { return false };
        let right =
            tokio::task::spawn_blocking(move || kept.is(&password)).await.unwrap_or_default() && exists;
        if right {
            let mut remembered = known.right.lock();
            if remembered.len() >= REMEMBERED {
                remembered.clear();
            }
            remembered.insert(fingerprint);
        }
        right
    }

    /// Looks whether the file has changed, and reads it once it was left alone from one look to the next.
    pub fn look(&self) {
        let (now, mut stamp) = (state(&self.file), self.stamp.lock());
        if now == stamp.read {
            stamp.pending = None;
            return;
        }
        if stamp.pending.replace(now) != Some(now) {
            return;
        }
        match Known::read(&self.file) {
            Ok(known) => {
                tracing::info!(file = %self.file.display(), users = known.users.len(), "names and passwords were read again");
                self.now.store(Arc::new(known));
                *stamp = Stamp { read: now, ..Stamp::default() };
            }
            Err(error) => {
                if !std::mem::replace(&mut stamp.said, true) {
                    tracing::warn!("{error}; the names and passwords known go on");
                }
            }
        }
    }
}

fn state(file: &Path) -> Option<(u64, i64, i64, u64)> {
    let meta = std::fs::metadata(file).ok()?;
    Some((meta.ino(), meta.mtime(), meta.mtime_nsec(), meta.len()))
}

/// Apache's variant of the password hash of FreeBSD by MD5, as its `apr_md5.c` has it.
fn apr1(password: &str, salt: &str) -> String {
    let (password, salt) = (password.as_bytes(), &salt.as_bytes()[..salt.len().min(8)]);
    let inner = Md5::new().chain_update(password).chain_update(salt).chain_update(password).finalize();
    let mut hash = Md5::new().chain_update(password).chain_update("$apr1$").chain_update(salt);
    for at in (0..password.len()).step_by(16) {
        hash.update(&inner[..(password.len() - at).min(16)]);
    }
    let mut bits = password.len();
    while bits > 0 {
        hash.update(if bits & 1 == 1 { &[0][..] } else { &password[..1] });
        bits >>= 1;
    }
    let mut last = hash.finalize();
    for round in 0..1000 {
        let mut hash = Md5::new();
        hash.update(if round % 2 == 1 { password } else { &last[..] });
        if round % 3 != 0 {
            hash.update(salt);
        }
        if round % 7 != 0 {
            hash.update(password);
        }
        hash.update(if round % 2 == 1 { &last[..] } else { password });
        last = hash.finalize();
    }
    letters(&last)
}

/// The sixteen bytes in the order and the letters of `crypt`.
fn letters(hash: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    const ORDER: [[usize; 3]; 5] = [[0, 6, 12], [1, 7, 13], [2, 8, 14], [3, 9, 15], [4, 10, 5]];
    let mut text = String::with_capacity(22);
    let mut put = |mut value: u32, count: usize| {
        for _ in 0..count {
            text.push(char::from(LETTERS[(value & 63) as usize]));
            value >>= 6;
        }
    };
    for [high, middle, low] in ORDER {
        put(u32::from(hash[high]) << 16 | u32::from(hash[middle]) << 8 | u32::from(hash[low]), 4);
    }
    put(u32::from(hash[11]), 2);
    text
}

#[cfg(test)]
mod tests {
    use switcher_config::durable::{Durability, replace};

    use super::*;

    /// `htpasswd -nbB ann secret`, `openssl passwd -apr1 -salt r31..... myPassword`.
    const FILE: &str = "# people\nann:$2y$05$FTdVwqGbk1UbBDNQVcmLlu5mVHfDR0Yh7CIOQ4fN2wZcvBd7k4mVy\n\nbob:$apr1$r31.....$HqJZimcKQFAMYayBlzkrA/\n";

    fn asking(text: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        let value = format!("Basic {}", STANDARD.encode(text));
        headers.insert(header::AUTHORIZATION, HeaderValue::try_from(value).expect("a header"));
        headers
    }

    #[test]
    fn apr1_is_what_apache_makes_of_it() {
        assert_eq!(apr1("myPassword", "r31....."), "HqJZimcKQFAMYayBlzkrA/");
    }

    #[test]
    fn credentials_are_read_as_the_rfc_says() {
        let read = |text| credentials(&asking(text));
        assert_eq!(read("ann:se:cret"), Some(("ann".into(), "se:cret".into())));
        assert_eq!(read(":"), Some((String::new(), String::new())));
        assert_eq!(read("ann"), None);
        let mut bearer = HeaderMap::new();
        bearer.insert(header::AUTHORIZATION, HeaderValue::from_static("Bearer YW5uOng="));
        assert_eq!(credentials(&bearer), None);
        bearer.insert(header::AUTHORIZATION, HeaderValue::from_static("Basic %%%"));
        assert_eq!(credentials(&bearer), None);
    }

    #[tokio::test]
    async fn who_has_the_password_is_known_until_the_file_says_otherwise() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("users");
        let write = |text: &str| replace(&file, text.as_bytes(), 0o600, Durability::Synced).expect("written");
        write(FILE);
        let users = Users::read(&file).expect("users");
        for _ in 0..2 {
            assert!(users.knows("bob", "myPassword").await);
            assert!(!users.knows("bob", "mypassword").await);
            assert!(!users.knows("ann", "wrong").await && !users.knows("eve", "secret").await);
        }
        assert_eq!(users.now.load().right.lock().len(), 1, "only what is right is remembered");
        write("ann:$apr1$r31.....$HqJZimcKQFAMYayBlzkrA/\n");
        users.look();
        assert!(users.knows("bob", "myPassword").await, "it may still be written");
        users.look();
        assert!(!users.knows("bob", "myPassword").await && users.knows("ann", "myPassword").await);
        std::fs::remove_file(&file).expect("removed");
        users.look();
        users.look();
        assert!(users.knows("ann", "myPassword").await, "what is known goes on");
    }

    #[test]
    fn a_line_that_is_none_is_told_with_its_number_and_without_its_text() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("users");
        for bad in ["ann:{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=", "ann:plain-secret", "ann", ":$apr1$a$b"] {
            replace(&file, format!("# x\n{bad}\n").as_bytes(), 0o600, Durability::Synced).expect("written");
            let why = Users::read(&file).expect_err("no user");
            assert!(why.contains("line 2") && !why.contains("secret") && !why.contains("SHA"), "{why}");
        }
    }
}
