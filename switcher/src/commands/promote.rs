//! local stub
use super::Outcome;
use crate::cli::PromoteArgs;
use crate::context::Context;
pub(super) async fn promote(_: &Context, _: PromoteArgs) -> Outcome {
    Ok(())
}
