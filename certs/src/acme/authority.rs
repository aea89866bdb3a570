//! One authority and our account there.
//!
//! The account's key is on disk before the authority hears of it, and registering the same key again finds the
//! same account (RFC 8555 section 7.3), so a process killed in between loses nothing. Only an account bound to
//! an external one is made by the library in one go; between its answer and the disk lies one write.

use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use instant_acme::{Account, AccountBuilder, ExternalAccountKey, Key, NewAccount};
use jiff::Timestamp;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use switcher_config::settings::{AcmeSettings, Directory, ExternalAccount};
use tokio::sync::Mutex;
use tracing::{info, warn};

use super::transport::{DirectoryAnswer, Rest, Transport};
use super::{AcmeError, patiently, problem_type};
use crate::folder::{self, Folder, Secret};

/// An authority as it is configured, with the session that was opened last.
pub(crate) struct Authority {
    directory: Directory,
    email: Option<String>,
    eab: Option<ExternalAccount>,
    ca_file: Option<PathBuf>,
    /// Held while a session is opened, so that two orders never make two accounts.
    session: Mutex<Option<Session>>,
    rest: Rest,
}

/// An account that is ready, and what the authority offers.
#[derive(Clone)]
pub(crate) struct Session {
    pub(crate) account: Account,
    answer: DirectoryAnswer,
}

impl Session {
    /// Whether the authority says when to renew (RFC 9773).
    pub(crate) fn has_renewal_info(&self) -> bool {
        self.answer.renewal_info.is_some()
    }
}

impl Authority {
    /// Every authority of the settings, in their order.
    pub(crate) fn all(settings: &AcmeSettings) -> Vec<Self> {
        let one = |directory: &Directory| Self {
            directory: directory.clone(),
            email: settings.email.clone(),
            eab: settings.eab.clone(),
            ca_file: settings.ca_file.clone(),
            session: Mutex::default(),
            rest: Rest::default(),
        };
        settings.directories.iter().map(one).collect()
    }

    /// Where its directory is.
    pub(crate) const fn directory(&self) -> &Directory {
        &self.directory
    }

    /// The directory's URL.
    pub(crate) fn url(&self) -> &str {
        self.directory.url()
    }

    /// The session, opened if there is none.
    pub(crate) async fn session(&self, folder: &Folder) -> Result<Session, AcmeError> {
        let mut session = self.session.lock().await;
        if let Some(open) = &*session {
            return Ok(open.clone());
        }
        let opened = self.open(folder).await?;
        *session = Some(opened.clone());
        Ok(opened)
    }

    /// Until when the authority wants to be left alone; forgotten once told.
    pub(crate) fn take_rest(&self) -> Option<Timestamp> {
        self.rest.take()
    }

    /// Forgets the session, so that the next attempt reads the directory again.
    pub(crate) async fn forget_session(&self) {
        self.session.lock().await.take();
    }

    /// What to do when the authority says that it does not know our account (it may have lost its memory, as
    /// staging environments do): the same key is registered again.
    pub(crate) async fn register_again(&self, folder: &Folder) -> Result<Session, AcmeError> {
        warn!(ca = self.url(), "the authority does not know our account any more; registering it again");
        if let Some(mut kept) = folder.account(self.url())? {
            kept.url = None;
            folder.save_account(&kept)?;
        }
        self.forget_session().await;
        self.session(folder).await
    }

    async fn open(&self, folder: &Folder) -> Result<Session, AcmeError> {
        let transport = Transport::new(self.ca_file.as_deref(), self.rest.clone())?;
        let answer = transport.directory(self.url()).await?;
        let account = match folder.account(self.url())? {
            Some(folder::Account { url: Some(url), key, contact, .. }) => {
                let account = builder(&transport)
                    .from_parts(url, self.pkcs8(&key)?, self.url().to_owned())
                    .await
                    .map_err(|why| self.wrong("opening the account", why))?;
                self.keep_contact(folder, &account, contact).await?;
                account
            }
            Some(kept) => self.register(folder, &transport, &answer, Some(kept.key)).await?,
            None => self.register(folder, &transport, &answer, None).await?,
        };
        Ok(Session { account, answer })
    }

    /// Makes the account, or finds the one that belongs to the key.
    async fn register(
        &self,
        folder: &Folder,
        transport: &Transport,
        answer: &DirectoryAnswer,
        key: Option<Secret>,
    ) -> Result<Account, AcmeError> {
        if answer.meta.external_account_required {
            return self.register_bound(folder, transport).await;
        }
        let key = match key {
            Some(key) => key,
            None => {
                let (_, key) =
                    Key::generate_pkcs8().map_err(|why| self.wrong("making the account's key", why))?;
                let key = pem(&key);
                self.keep(folder, &key, None, None)?;
                key
            }
        };
        let der = self.pkcs8(&key)?;
        let made = patiently!(self.create_from_key(transport, &der));
        let account = made.map_err(|why| self.wrong("registering the account", why))?;
        self.keep(folder, &key, Some(account.id()), None)?;
        info!(ca = self.url(), account = account.id(), "registered with the authority");
        self.keep_contact(folder, &account, None).await?;
        Ok(account)
    }

    async fn create_from_key(
        &self,
        transport: &Transport,
        key: &PrivatePkcs8KeyDer<'static>,
    ) -> Result<Account, instant_acme::Error> {
        let signing = Key::from_pkcs8_der(key.clone_key())?;
        let pair = (signing, PrivateKeyDer::Pkcs8(key.clone_key()));
        let (account, _) = builder(transport).create_from_key(pair, self.url().to_owned()).await?;
        Ok(account)
    }

    /// Makes an account that is bound to an external one (RFC 8555 section 7.3.4).
    async fn register_bound(&self, folder: &Folder, transport: &Transport) -> Result<Account, AcmeError> {
        let Some(eab) = &self.eab else {
            return Err(AcmeError::NeedsExternalAccount { ca: self.url().to_owned() });
        };
        let key = ExternalAccountKey::new(eab.kid.clone(), &hmac_key(eab)?);
        let contact = self.contact();
        let contact: Vec<&str> = contact.iter().map(String::as_str).collect();
        let new =
            NewAccount { contact: &contact, terms_of_service_agreed: true, only_return_existing: false };
        let made = patiently!(builder(transport).create(&new, self.url().to_owned(), Some(&key)));
        let (account, credentials) = made.map_err(|why| self.wrong("registering the account", why))?;
        let key = pem(credentials.private_key());
        self.keep(folder, &key, Some(account.id()), self.email.clone())?;
        info!(ca = self.url(), account = account.id(), "registered with the authority");
        Ok(account)
    }

    /// Tells the authority our e-mail when it knows another one.
    async fn keep_contact(
        &self,
        folder: &Folder,
        account: &Account,
        known: Option<String>,
    ) -> Result<(), AcmeError> {
        if known == self.email {
            return Ok(());
        }
        let contact = self.contact();
        let contact: Vec<&str> = contact.iter().map(String::as_str).collect();
        match patiently!(account.update_contacts(&contact)) {
            Ok(()) => {}
            // Told again with the next session; nobody is refused a certificate for it.
            Err(why) if problem_type(&why) != Some("accountDoesNotExist") => {
                warn!(ca = self.url(), %why, "the authority does not take our e-mail");
                return Ok(());
            }
            Err(why) => return Err(self.wrong("telling our e-mail", why)),
        }
        if let Some(mut kept) = folder.account(self.url())? {
            kept.contact = self.email.clone();
            folder.save_account(&kept)?;
        }
        Ok(())
    }

    fn contact(&self) -> Vec<String> {
        self.email.iter().map(|email| format!("mailto:{email}")).collect()
    }

    fn keep(
        &self,
        folder: &Folder,
        key: &Secret,
        url: Option<&str>,
        contact: Option<String>,
    ) -> Result<(), AcmeError> {
        Ok(folder.save_account(&folder::Account {
            directory: self.url().to_owned(),
            key: key.clone(),
            url: url.map(str::to_owned),
            contact,
            eab_kid: self.eab.as_ref().map(|eab| eab.kid.clone()),
        })?)
    }

    fn pkcs8(&self, key: &Secret) -> Result<PrivatePkcs8KeyDer<'static>, AcmeError> {
        PrivatePkcs8KeyDer::from_pem_slice(key.reveal().as_bytes()).map_err(|why| AcmeError::Make {
            what: "use of the kept account key",
            why: format!("{why}; remove the account's file for {} to register anew", self.url()),
        })
    }

    fn wrong(&self, doing: &'static str, why: instant_acme::Error) -> AcmeError {
        AcmeError::of(self.url(), doing, why)
    }

    /// Whether the profile is one of the authority's.
    pub(crate) fn check_profile(&self, session: &Session, profile: Option<&str>) -> Result<(), AcmeError> {
        let offered = &session.answer.meta.profiles;
        match profile {
            Some(profile) if !offered.contains_key(profile) => Err(AcmeError::NoProfile {
                ca: self.url().to_owned(),
                profile: profile.to_owned(),
                offered: if offered.is_empty() {
                    "none".into()
                } else {
                    offered.keys().cloned().collect::<Vec<_>>().join(", ")
                },
            }),
            Some(_) | None => Ok(()),
        }
    }
}

fn builder(transport: &Transport) -> AccountBuilder {
    Account::builder_with_http(Box::new(transport.clone()))
}

/// A key as it is kept.
fn pem(key: &PrivatePkcs8KeyDer<'_>) -> Secret {
    let text = STANDARD.encode(key.secret_pkcs8_der());
    let lines: Vec<&str> =
        text.as_bytes().chunks(64).filter_map(|line| std::str::from_utf8(line).ok()).collect();
    Secret::new(format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", lines.join("\n")))
}

/// The HMAC key: base64url without padding, though some authorities print it with padding or in plain base64.
fn hmac_key(eab: &ExternalAccount) -> Result<Vec<u8>, AcmeError> {
    let wrong = |why: String| AcmeError::ExternalAccountKey { path: eab.hmac_file.clone(), why };
    let text = std::fs::read_to_string(&eab.hmac_file).map_err(|why| wrong(why.to_string()))?;
    let text = text.trim().trim_end_matches('=');
    if text.is_empty() {
        return Err(wrong("the file is empty".into()));
    }
    URL_SAFE_NO_PAD
        .decode(text)
        .or_else(|_| STANDARD_NO_PAD.decode(text))
        .map_err(|why| wrong(why.to_string()))
}
