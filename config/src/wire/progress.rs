//! How far a deployment is, as its deployer tells it.
//!
//! For people who watch: nothing depends on it, the proxy keeps it in memory only, and who tells it waits for nobody.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::Slot;

/// `POST /v1/apps/{app}/progress`: one step of a deployment begins or ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Progress {
    /// The deployment: `dep_01J…`.
    pub deployment: String,
    /// The slot that it is about.
    pub slot: Slot,
    /// The step, as a word: `pull`.
    pub step: String,
    /// How it stands.
    pub state: StepState,
    /// What is being done, or what went wrong, as a sentence.
    #[serde(default)]
    pub message: String,
}

/// How a step of a deployment stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum StepState {
    /// It has begun.
    Running,
    /// It is done.
    Done,
    /// It failed, or was interrupted.
    Failed,
}

impl Progress {
    /// The same with texts cut to a length that can be kept and shown.
    #[must_use]
    pub fn cut(self) -> Self {
        let cut = |text: String, most: usize| text.chars().take(most).collect::<String>();
        Self {
            deployment: cut(self.deployment, 64),
            step: cut(self.step, 64),
            message: cut(self.message, 300),
            ..self
        }
    }
}
