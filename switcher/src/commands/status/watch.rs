//! What `switcher watch` remembers, as a line of the status: the last look, the digest, and what is in the way. Pure.

use jiff::Timestamp;

use crate::layout::Tone;
use crate::phrase;
use crate::watch::memory::{Memory, Outcome};

/// How much of a digest people see: `sha256:` and twelve digits.
const SHOWN: usize = 19;

/// The line.
pub(super) fn words(watch: &Result<Memory, String>, now: Timestamp) -> (String, Tone) {
    let memory = match watch {
        Ok(memory) => memory,
        Err(why) => return (format!("what it remembers cannot be read: {why}"), Tone::Bad),
    };
    let looked = memory.looked_at.map_or_else(
        || "not looked at yet".to_owned(),
        |at| format!("looked at {} ago", phrase::since(at, now)),
    );
    let head = format!("{}, {looked}", memory.image);
    if let Some(trouble) = &memory.trouble {
        let since = phrase::since(trouble.since, now);
        return (format!("{head}, in vain for {since}: {}", trouble.message), Tone::Warn);
    }
    let Some(attempt) = &memory.attempt else { return (head, Tone::Plain) };
    let tone = match attempt.outcome {
        Outcome::Trying | Outcome::Deployed => Tone::Plain,
        Outcome::Left { .. } | Outcome::Later { .. } | Outcome::Person { .. } => Tone::Warn,
    };
    let digest: String = attempt.digest.chars().take(SHOWN).collect();
    (format!("{head}: {digest} is {}", attempt.outcome.words()), tone)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watch::memory::{Attempt, Trouble};

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).expect("a time")
    }

    #[test]
    fn the_last_look_is_told_with_what_became_of_it() {
        let fresh = Memory::new("shop", "ghcr.io/acme/shop:production");
        let digest = format!("sha256:{}", "a".repeat(64));
        let attempt =
            Attempt { digest, at: at(0), tries: 1, outcome: Outcome::Left { exit: 4 }, again_at: None };
        let failed = Memory { looked_at: Some(at(60)), attempt: Some(attempt), ..fresh.clone() };
        let trouble = Trouble { since: at(30), count: 3, message: "the registry is down".to_owned() };
        let down = Memory { trouble: Some(trouble), ..failed.clone() };
        let said =
            [Ok(fresh), Ok(failed), Ok(down), Err("it is damaged".to_owned())].map(|it| words(&it, at(90)));
        let expected = [
            ("ghcr.io/acme/shop:production, not looked at yet", Tone::Plain),
            (
                "ghcr.io/acme/shop:production, looked at 30 s ago: sha256:aaaaaaaaaaaa is bad (exit code 4), and left until the tag moves",
                Tone::Warn,
            ),
            (
                "ghcr.io/acme/shop:production, looked at 30 s ago, in vain for 60 s: the registry is down",
                Tone::Warn,
            ),
            ("what it remembers cannot be read: it is damaged", Tone::Bad),
        ];
        assert_eq!(said, expected.map(|(words, tone)| (words.to_owned(), tone)));
    }
}
