//! What came of the copies of live requests that went to the standby slot.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{Share, Slot};

/// `GET /v1/apps/{app}/mirror`: what came of copies since the proxy began to make them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Mirrored {
    /// The slot that copies go to now.
    pub slot: Slot,
    /// The share of requests that is copied; none while the application has no `mirror` section.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub share: Option<Share>,
    /// Copies under way.
    pub in_flight: u32,
    /// How many requests, by what came of their copies.
    pub outcomes: BTreeMap<MirrorOutcome, u64>,
    /// The last answers that differed, newest first.
    pub differences: Vec<MirrorDifference>,
}

/// What came of one copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum MirrorOutcome {
    /// Its answer has the status and the size of the real one, and began about as soon.
    Same,
    /// Its answer has another status.
    Status,
    /// Its answer has another size.
    Size,
    /// Its answer began much later.
    Slower,
    /// It got no connection, or no whole answer.
    Failed,
    /// Its answer did not end in time.
    Timeout,
    /// Its answer is larger than what is read of one, and so may the real one be.
    TooLarge,
    /// The real answer broke off, lasted longer than a copy may take, or came from elsewhere.
    Uncompared,
    /// The slot became live, or its addresses were replaced, so the copy was given up.
    Stopped,
    /// There were as many copies as there may be, so none was made.
    Skipped,
    /// The standby slot has no healthy upstream, so none was made.
    Unavailable,
}

impl MirrorOutcome {
    /// All of them, in the order of their declaration.
    pub const ALL: [Self; 11] = [
        Self::Same,
        Self::Status,
        Self::Size,
        Self::Slower,
        Self::Failed,
        Self::Timeout,
        Self::TooLarge,
        Self::Uncompared,
        Self::Stopped,
        Self::Skipped,
        Self::Unavailable,
    ];

    /// As metrics and JSON say it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Same => "same",
            Self::Status => "status",
            Self::Size => "size",
            Self::Slower => "slower",
            Self::Failed => "failed",
            Self::Timeout => "timeout",
            Self::TooLarge => "too_large",
            Self::Uncompared => "uncompared",
            Self::Stopped => "stopped",
            Self::Skipped => "skipped",
            Self::Unavailable => "unavailable",
        }
    }

    /// Whether it says that the standby slot answers otherwise than the live one.
    #[must_use]
    pub const fn is_difference(self) -> bool {
        match self {
            Self::Status | Self::Size | Self::Slower | Self::Failed | Self::Timeout => true,
            Self::Same
            | Self::TooLarge
            | Self::Uncompared
            | Self::Stopped
            | Self::Skipped
            | Self::Unavailable => false,
        }
    }
}

/// A request that the two slots answered differently.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MirrorDifference {
    /// When it was known.
    #[schema(value_type = String)]
    pub at: Timestamp,
    /// The request's id, which both slots were told.
    pub request_id: String,
    /// Method and path. The query is left out: it may hold secrets.
    pub route: String,
    /// How the answers differ.
    pub outcome: MirrorOutcome,
    /// The slot that the copy went to.
    pub slot: Slot,
    /// The real answer; none when it was not over in time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub live: Option<MirrorAnswer>,
    /// That of the copy; none when it has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub copy: Option<MirrorAnswer>,
    /// Why the copy has no whole answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// One of two answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MirrorAnswer {
    /// Its status.
    pub status: u16,
    /// The bytes of its body, as far as they were read.
    pub bytes: u64,
    /// From the connection to the head of the answer.
    pub first_byte_micros: u64,
    /// From the connection to its end.
    pub total_micros: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_and_json_say_the_same_word_of_each_outcome_in_its_place() {
        for (place, outcome) in MirrorOutcome::ALL.into_iter().enumerate() {
            assert_eq!(serde_json::to_value(outcome).expect("JSON"), outcome.as_str());
            assert_eq!(outcome as usize, place);
        }
    }
}
