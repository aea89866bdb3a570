//! What a new version must answer before traffic moves: the questions filled in, and the answers judged. Pure.

use switcher_config::settings::SmokeTest;
use switcher_config::wire::{SmokeAnswer, SmokeAsk};

use crate::phrase;

/// The most characters of an answer that a failure shows.
const SHOWN: usize = 200;

/// One test with its words filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// What is asked.
    pub ask: SmokeAsk,
    status: (u16, u16),
    contains: Option<String>,
    attempts: u16,
}

impl Question {
    /// Fills the words of a test in.
    ///
    /// # Errors
    /// A sentence without any value, when a header cannot be sent with what was filled in.
    pub fn new(test: &SmokeTest, fill: impl Fn(&str) -> String) -> Result<Self, String> {
        let headers = test.headers.filled(&fill)?;
        Ok(Self {
            ask: SmokeAsk { path: fill(&test.path), method: test.method, headers, timeout: test.timeout },
            status: test.status,
            contains: test.contains.as_deref().map(fill),
            attempts: test.attempts.max(1),
        })
    }

    /// Whether it may be asked again when so many answers were bad.
    #[must_use]
    pub const fn again(&self, asked: u16) -> bool {
        asked < self.attempts
    }

    /// What is wrong with an answer: what was expected and what came; none when it is good.
    #[must_use]
    pub fn wrong(&self, answer: &SmokeAnswer) -> Option<String> {
        let came = match (answer.status, &answer.error) {
            (Some(status), None) => {
                let right = (self.status.0..=self.status.1).contains(&status);
                let text = self.contains.as_ref();
                if right && text.is_none_or(|text| answer.body.contains(text.as_str())) {
                    return None;
                }
                format!("{status} {:?}", phrase::beginning(&answer.body, SHOWN))
            }
            (_, Some(error)) => error.clone(),
            (None, None) => "no answer".to_owned(),
        };
        let millis = answer.latency_ms.round();
        Some(format!(
            "{} {}: expected {}, and after {millis} ms came {came}",
            self.ask.method.as_str(),
            self.ask.path,
            self.expected()
        ))
    }

    fn expected(&self) -> String {
        let status = phrase::statuses(self.status);
        match &self.contains {
            Some(text) => format!("{status} with {text:?} in it"),
            None => status,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    use switcher_config::Span;
    use switcher_config::request::{Method, RequestHeaders};

    fn question(status: (u16, u16), contains: Option<&str>) -> Question {
        let test = SmokeTest {
            path: "/version?of={slot}".to_owned(),
            method: Method::Get,
            headers: RequestHeaders::default(),
            status,
            contains: contains.map(str::to_owned),
            timeout: Span::seconds(1),
            attempts: 2,
        };
        Question::new(&test, words).expect("a question")
    }

    fn words(text: &str) -> String {
        text.replace("{slot}", "green").replace("{version}", "v2")
    }

    fn answer(status: Option<u16>, body: &str, error: Option<&str>) -> SmokeAnswer {
        SmokeAnswer { status, body: body.to_owned(), latency_ms: 1.4, error: error.map(str::to_owned) }
    }

    #[test]
    fn a_good_answer_has_the_status_and_the_text_and_every_other_is_told() {
        let (any, one) = ((200, 299), (200, 200));
        for (question, answer, wrong) in [
            (question(any, None), answer(Some(204), "", None), None),
            (question(one, Some("{version}")), answer(Some(200), "this is v2", None), None),
            (
                question(any, None),
                answer(Some(500), "no", None),
                Some("expected 200-299, and after 1 ms came 500 \"no\""),
            ),
            (
                question(one, Some("{version}")),
                answer(Some(200), "v1", None),
                Some("expected 200 with \"v2\" in it, and after 1 ms came 200 \"v1\""),
            ),
            (
                question(any, None),
                answer(None, "", Some("connection refused")),
                Some("expected 200-299, and after 1 ms came connection refused"),
            ),
            (
                question(any, None),
                answer(Some(200), "", Some("the answer (200) broke off")),
                Some("expected 200-299, and after 1 ms came the answer (200) broke off"),
            ),
            (
                question(any, None),
                answer(None, "", None),
                Some("expected 200-299, and after 1 ms came no answer"),
            ),
        ] {
            let told = wrong.map(|wrong| format!("GET /version?of=green: {wrong}"));
            assert_eq!(question.wrong(&answer), told);
        }
    }

    #[test]
    fn words_are_filled_into_headers_and_a_failure_shows_none_of_them() {
        let of = |value: &str| {
            let headers = BTreeMap::from([("Authorization".to_owned(), value.to_owned())]);
            let headers: RequestHeaders = headers.try_into().expect("headers");
            let (path, method) = ("/jobs".to_owned(), Method::Post);
            SmokeTest {
                path,
                method,
                headers,
                status: (202, 202),
                contains: None,
                timeout: Span::seconds(1),
                attempts: 1,
            }
        };
        let asked = Question::new(&of("Bearer hunter2-{version}"), words).expect("a question");
        let sent: Vec<_> = asked.ask.headers.iter().collect();
        assert_eq!(sent, [("authorization", "Bearer hunter2-v2")]);
        let told = asked.wrong(&answer(Some(401), "", None)).expect("wrong");
        assert_eq!(told, "POST /jobs: expected 202, and after 1 ms came 401 \"\"");
        let refused =
            Question::new(&of("hunter2-{slot}"), |text| text.replace("{slot}", "\n")).expect_err("refused");
        assert!(refused.contains("authorization") && !refused.contains("hunter2"), "{refused}");
    }

    #[test]
    fn a_long_body_is_cut_short_and_a_test_has_its_attempts() {
        let told = question((200, 299), None).wrong(&answer(Some(500), &"\u{e9}".repeat(5000), None));
        assert!(told.expect("wrong").chars().count() < 300);
        let question = question((200, 299), None);
        assert!(question.again(1) && !question.again(2));
    }
}
