//! The last stage: what happened goes into state and history. Durable, and the same when it is done twice.

use jiff::Timestamp;

use super::{Trouble, World, cause};
use crate::deploy::machine::{Fact, Machine};
use crate::deploy::record::record;

impl World<'_> {
    /// Writes state and history.
    pub(super) async fn record(&mut self, machine: &Machine) -> Result<Option<Fact>, Trouble> {
        let now = Timestamp::now();
        let mut line = None;
        let written = self.lease.update(|state| {
            let (after, written) = record(state.clone(), machine, now);
            *state = after;
            line = Some(written);
        });
        written.map_err(|error| self.unwritten(&error))?;
        if let Some(line) = line {
            self.lease.record(&line).map_err(|error| self.unwritten(&error))?;
        }
        Ok(None)
    }

    /// A record that cannot be written now is written by the next command: nothing is over without it.
    fn unwritten(&self, error: &crate::state::LeaseError) -> Trouble {
        let failure = self.site.lease_failure(error);
        Trouble::Unknown(cause(failure.code, failure.message))
    }
}
