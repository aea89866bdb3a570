//! Tells those who are named in `switcher.notify` of a deployment that is over and recorded, or that cannot go on.
//!
//! Invariant: nobody who is told, or cannot be told, changes or delays a deployment: three tries each, all of them at
//! once, ten seconds in all. Addresses are secrets, so an error names a host or a number. Called when a journal is put away, and when one has to stay open.

use std::path::Path;
use std::time::Duration;

use futures::future::join_all;
use jiff::Timestamp;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{StatusCode, Url};
use switcher_config::secret_file::{self, Owner};
use switcher_config::settings::{NotifyEvent, NotifySettings, NotifyTarget};
use tokio::time::{sleep, timeout};

use super::machine::{Cause, Machine};
use super::notice::{delivery, notice};
use super::record;
use super::site::Site;
use crate::signature;
use crate::web;

/// How long all of it may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long one try may take.
const TRY: Duration = Duration::from_secs(3);
/// How often it is tried.
const TRIES: u32 = 3;
/// Between the first two tries; twice as long before the third.
const PAUSE: Duration = Duration::from_millis(300);

/// One body on its way.
struct Letter {
    event: NotifyEvent,
    delivery: String,
    body: Vec<u8>,
}

/// Tells everybody; what could not be told, a sentence each. `open` is why the deployment cannot go on, while it is not
/// over.
pub(crate) async fn tell(
    site: &Site<'_>,
    machine: &Machine,
    event: NotifyEvent,
    open: Option<&Cause>,
) -> Vec<String> {
    let wanted = site.notify.iter().enumerate().filter(|(_, settings)| settings.events.contains(&event));
    let wanted: Vec<(usize, &NotifySettings)> = wanted.collect();
    if wanted.is_empty() {
        return Vec::new();
    }
    let letter = match letter(site, machine, event, open) {
        Ok(letter) => letter,
        Err(why) => return vec![format!("nobody was told of {}: {why}", machine.order.id)],
    };
    let sent = wanted.into_iter().map(|(index, settings)| one(site, index, settings, &letter));
    join_all(sent).await.into_iter().flatten().collect()
}

/// Tells one of them; why not, as a sentence.
async fn one(site: &Site<'_>, index: usize, settings: &NotifySettings, letter: &Letter) -> Option<String> {
    let (host, outcome) = match address(settings, &site.folder) {
        Ok(url) => {
            let host = url.host_str().map(|host| format!(" ({host})")).unwrap_or_default();
            (host, send(settings, &site.folder, &url, letter).await)
        }
        Err(why) => (String::new(), Err(why)),
    };
    outcome.err().map(|why| format!("notification {}{host} was not delivered: {why}", index + 1))
}

fn letter(
    site: &Site<'_>,
    machine: &Machine,
    event: NotifyEvent,
    open: Option<&Cause>,
) -> Result<Letter, String> {
    let state = site.store.read().map_err(|error| error.to_string())?;
    let order = &machine.order;
    let id = order.waiting.as_ref().filter(|_| machine.is_done()).unwrap_or(&order.id);
    let now = Timestamp::now();
    let deployment = match open {
        // As it would be recorded if it ended now.
        Some(_) => record::record(state, machine, now).1,
        None => record::find(&state, id).cloned().ok_or("it is not on record")?,
    };
    let notice = notice(machine, event, open, deployment, now);
    let body = serde_json::to_vec(&notice).map_err(|error| error.to_string())?;
    Ok(Letter { event, delivery: delivery(machine, event, open), body })
}

fn address(settings: &NotifySettings, folder: &Path) -> Result<Url, String> {
    let text = match &settings.to {
        NotifyTarget::Url(url) => url.clone(),
        NotifyTarget::File(file) => secret_file::read(&folder.join(file), Owner::UsOrRoot)?,
    };
    let url = Url::parse(&text).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    url.ok_or_else(|| "its address is no http:// or https:// URL".to_owned())
}

async fn send(settings: &NotifySettings, folder: &Path, url: &Url, letter: &Letter) -> Result<(), String> {
    let read = |file| secret_file::read(&folder.join(file), Owner::UsOrRoot);
    let secret = settings.secret_file.as_ref().map(read).transpose()?;
    let signature = secret.map(|secret| signature::sign(secret.as_bytes(), &letter.body));
    let client = web::client(TRY, None)?;
    let headers = headers(settings)?;
    let mut last = "no answer in time".to_owned();
    let tries = async {
        for attempt in 0..TRIES {
            sleep(PAUSE * attempt).await;
            let mut request = client
                .post(url.clone())
                .headers(headers.clone())
                .header("x-switcher-event", letter.event.as_str())
                .header("x-switcher-delivery", &letter.delivery)
                .body(letter.body.clone());
            if let Some(signature) = &signature {
                request = request.header(signature::HEADER, signature);
            }
            last = match request.send().await {
                Ok(answer) if answer.status().is_success() => return Ok(()),
                Ok(answer) if is_final(answer.status()) => return Err(answered(answer.status())),
                Ok(answer) => answered(answer.status()),
                Err(error) => web::reason(&error),
            };
        }
        Err(last.clone())
    };
    match timeout(PATIENCE, tries).await {
        Ok(outcome) => outcome,
        Err(_) => Err("no answer in time".to_owned()),
    }
}

/// Those that the receiver asks for. That none of them is one of ours is seen to by their type.
fn headers(settings: &NotifySettings) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/json"))]);
    for (name, value) in settings.headers.iter() {
        let named = HeaderName::try_from(name).ok().zip(HeaderValue::try_from(value).ok());
        let (name, mut value) = named.ok_or_else(|| format!("its header {name:?} cannot be sent"))?;
        value.set_sensitive(true);
        headers.insert(name, value);
    }
    Ok(headers)
}

/// Whether asking again would change nothing.
fn is_final(status: StatusCode) -> bool {
    !status.is_server_error()
        && !matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT)
}

fn answered(status: StatusCode) -> String {
    format!("it answered {}", status.as_u16())
}
