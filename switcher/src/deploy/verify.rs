//! What the public address must answer after the switch: the question filled in, the answer judged, the way back. Pure.

use switcher_config::settings::{OnUnverified, VerifySettings};
use switcher_config::wire::AppStatus;
use switcher_config::{Generation, Slot};

use super::machine::{Cause, Machine};
use super::order::Purpose;
use crate::code::Code;
use crate::phrase;
use crate::state::record::Verified;

/// The most characters of a body that a failure shows.
const SHOWN: usize = 200;

/// A header's value as it may stand in a record: an address that lies, or is somebody else's, says what it likes.
#[must_use]
pub fn shortened(value: &str) -> String {
    let text: String = value.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    phrase::beginning(&text, SHOWN)
}

/// The headers in which answers through the proxy name their slot and release, as configured.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Marks {
    /// The slot's; none when it is off.
    pub slot: Option<String>,
    /// The release's; none when it is off.
    pub release: Option<String>,
}

/// What is asked, with its words filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// The address.
    pub url: String,
    status: (u16, u16),
    contains: Option<String>,
    slot: Slot,
}

/// What came.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Answer {
    /// The status; none when there was no answer.
    pub status: Option<u16>,
    /// The slot that it named.
    pub slot: Option<String>,
    /// The release that it named.
    pub release: Option<String>,
    /// Where it leads on, when it leads elsewhere.
    pub location: Option<String>,
    /// The beginning of the body.
    pub body: String,
    /// Why there is no answer, or not the whole of it.
    pub error: Option<String>,
}

impl Question {
    /// Fills the words in.
    #[must_use]
    pub fn new(settings: &VerifySettings, slot: Slot, fill: impl Fn(&str) -> String) -> Self {
        Self {
            url: fill(&settings.url),
            status: settings.status,
            contains: settings.contains.as_deref().map(fill),
            slot,
        }
    }

    /// The address as it may be shown: its query may hold a token.
    #[must_use]
    pub fn shown(&self) -> String {
        without_query(&self.url)
    }

    /// What is wrong with an answer: what was expected and what came; none when it is good.
    #[must_use]
    pub fn wrong(&self, answer: &Answer) -> Option<String> {
        let came = match (answer.status, &answer.error) {
            (_, Some(error)) => error.clone(),
            (None, None) => "no answer".to_owned(),
            (Some(status), None) => self.wrong_answer(status, answer)?,
        };
        Some(format!("expected {}, and there came {came}", self.expected()))
    }

    fn wrong_answer(&self, status: u16, answer: &Answer) -> Option<String> {
        if let Some(location) = answer.location.as_ref().filter(|_| !self.takes(status)) {
            return Some(format!("{status}, which leads to {}", without_query(location)));
        }
        let from = answer.release.as_ref().map(|release| format!(" from {release}")).unwrap_or_default();
        match &self.contains {
            _ if !self.takes(status) => {
                Some(format!("{status}{from} {:?}", phrase::beginning(&answer.body, SHOWN)))
            }
            Some(text) if answer.body.contains(text.as_str()) => None,
            Some(_) => Some(format!("{status}{from} {:?}", phrase::beginning(&answer.body, SHOWN))),
            None => {
                let named = answer.slot.as_deref().and_then(|named| named.parse::<Slot>().ok())?;
                (named != self.slot).then(|| format!("{status}{from}, served by {named}"))
            }
        }
    }

    const fn takes(&self, status: u16) -> bool {
        self.status.0 <= status && status <= self.status.1
    }

    fn expected(&self) -> String {
        let status = phrase::statuses(self.status);
        match &self.contains {
            Some(text) => format!("{status} with {text:?} in it"),
            None => format!("{status} from {}", self.slot),
        }
    }

    /// What goes on record.
    #[must_use]
    pub fn record(&self, answer: &Answer, matched: bool, at: jiff::Timestamp) -> Verified {
        Verified {
            url: self.shown(),
            at,
            status: answer.status,
            slot: answer.slot.clone(),
            release: answer.release.clone(),
            matched,
        }
    }
}

/// Whether traffic goes back when the public address does not answer well. What goes back already never does.
#[must_use]
pub const fn returns(purpose: Purpose, settings: &VerifySettings) -> bool {
    match settings.on_failure {
        OnUnverified::Rollback => !purpose.goes_back(),
        OnUnverified::Keep => false,
    }
}

/// Why traffic is to go back.
#[must_use]
pub fn not_well(machine: &Machine, what: &str) -> Cause {
    cause(
        Code::VerifyFailed,
        format!("{} is not seen at the public address: {what}", machine.order.release.version),
    )
}

/// Traffic stays, and why.
#[must_use]
pub fn kept(machine: &Machine, what: &str) -> Cause {
    let order = &machine.order;
    let why = if order.purpose.goes_back() {
        "traffic that went back is not moved again"
    } else {
        "it is kept, as `on_failure: keep` wants it"
    };
    let message = format!(
        "traffic HAS moved: {} is live in {}, but it is not seen at the public address: {what}; {why}",
        order.release.version, order.slot
    );
    cause(Code::VerifyKept, message)
}

/// Traffic went back by our own doing.
#[must_use]
pub fn went_back(why: &Cause, to: Slot, generation: Generation) -> Cause {
    Cause {
        message: format!("{}; traffic was moved back to {to} (generation {generation})", why.message),
        ..why.clone()
    }
}

/// Traffic could not go back.
#[must_use]
pub fn stays(machine: &Machine, why: &Cause, hindrance: &str) -> Cause {
    let order = &machine.order;
    let message = format!(
        "traffic HAS moved: {} stays live in {}, because traffic could not go back: {hindrance}; {}",
        order.release.version, order.slot, why.message
    );
    Cause { code: Code::VerifyStays.as_str().to_owned(), message, evidence: why.evidence.clone() }
}

/// What becomes of the wish to move traffic back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WayBack {
    /// It is back, by this generation.
    Back(Generation),
    /// It may be moved.
    Open,
    /// Somebody else acted since the switch; nothing is moved over their heads.
    Closed(String),
}

/// Decides by what the proxy says; `from` is the slot that was left.
#[must_use]
pub fn way_back(seen: &AppStatus, from: Slot, expected: Generation) -> WayBack {
    if seen.active == from {
        return WayBack::Back(seen.generation);
    }
    if seen.generation == expected {
        return WayBack::Open;
    }
    WayBack::Closed(format!(
        "somebody else changed it meanwhile, and its generation is {} and not {expected}",
        seen.generation
    ))
}

fn cause(code: Code, message: String) -> Cause {
    Cause { code: code.as_str().to_owned(), message, evidence: Vec::new() }
}

/// An address without its query and fragment, which may hold a token.
#[must_use]
pub fn without_query(url: &str) -> String {
    match url.split_once(['?', '#']) {
        Some((address, _)) => format!("{address}?\u{2026}"),
        None => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use switcher_config::Span;

    fn question(status: (u16, u16), contains: Option<&str>) -> Question {
        let settings = VerifySettings {
            url: "https://shop.example.com/version?token=hunter2&of={slot}".to_owned(),
            status,
            contains: contains.map(str::to_owned),
            timeout: Span::seconds(30),
            interval: Span::seconds(1),
            ca_file: None,
            on_failure: OnUnverified::Rollback,
        };
        Question::new(&settings, Slot::Green, |text| {
            text.replace("{slot}", "green").replace("{version}", "v2")
        })
    }

    fn answer(status: u16, body: &str) -> Answer {
        Answer { status: Some(status), body: body.to_owned(), ..Answer::default() }
    }

    fn from(slot: &str, release: &str) -> Answer {
        Answer { slot: Some(slot.to_owned()), release: Some(release.to_owned()), ..answer(200, "hello") }
    }

    #[test]
    fn the_status_the_text_and_else_the_slot_decide() {
        let any = (200, 299);
        let leads =
            Answer { location: Some("https://login.example.com/?next=secret".to_owned()), ..answer(302, "") };
        let silent = Answer { error: Some("connection refused".to_owned()), ..Answer::default() };
        for (contains, answer, wrong) in [
            (None, answer(204, ""), None),
            (None, from("green", "v2"), None),
            (None, from("teal", "v2"), None),
            (
                None,
                from("blue", "v1"),
                Some("200-299 from green, and there came 200 from v1, served by blue"),
            ),
            (Some("{version}"), answer(200, "this is v2"), None),
            (
                Some("{version}"),
                from("blue", "v1"),
                Some("200-299 with \"v2\" in it, and there came 200 from v1 \"hello\""),
            ),
            (None, answer(502, "no"), Some("200-299 from green, and there came 502 \"no\"")),
            (
                None,
                leads,
                Some(
                    "200-299 from green, and there came 302, which leads to https://login.example.com/?\u{2026}",
                ),
            ),
            (None, silent, Some("200-299 from green, and there came connection refused")),
            (None, Answer::default(), Some("200-299 from green, and there came no answer")),
        ] {
            let told = wrong.map(|wrong| format!("expected {wrong}"));
            assert_eq!(question(any, contains).wrong(&answer), told);
        }
    }

    #[test]
    fn the_query_is_asked_and_never_shown() {
        let question = question((200, 200), None);
        assert!(question.url.ends_with("token=hunter2&of=green"));
        assert_eq!(question.shown(), "https://shop.example.com/version?\u{2026}");
        let told = question.record(&answer(200, ""), true, jiff::Timestamp::UNIX_EPOCH);
        assert_eq!(
            (told.url.as_str(), told.status, told.matched),
            (question.shown().as_str(), Some(200), true)
        );
        let long = question.wrong(&answer(500, &"\u{e9}".repeat(5000))).expect("wrong");
        assert!(long.chars().count() < 300);
    }
}
