//! The last stage: what happened goes into state and history. Durable, and the same when it is done twice.

use jiff::Timestamp;

use super::{Trouble, World, cause};
use crate::deploy::machine::{Fact, Machine};
use crate::deploy::record::record;
use crate::state::{Lease, LeaseError};

impl World<'_> {
    /// Writes state and history.
    pub(super) async fn record(&mut self, machine: &Machine) -> Result<Option<Fact>, Trouble> {
        write(self.lease, machine).map_err(|error| self.unwritten(&error))?;
        Ok(None)
    }

    /// A record that cannot be written now is written by the next command: nothing is over without it.
    fn unwritten(&self, error: &LeaseError) -> Trouble {
        let failure = self.site.lease_failure(error);
        Trouble::Unknown(cause(failure.code, failure.message))
    }
}

/// Writes what became of a deployment into state and history.
pub(crate) fn write(lease: &Lease, machine: &Machine) -> Result<(), LeaseError> {
    let now = Timestamp::now();
    let mut line = None;
    lease.update(|state| {
        let (after, written) = record(state.clone(), machine, now);
        *state = after;
        line = Some(written);
    })?;
    line.map_or(Ok(()), |line| lease.record(&line))
}
