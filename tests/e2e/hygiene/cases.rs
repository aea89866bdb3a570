//! All cases, by what they are about.

pub(crate) mod chunk;
pub(crate) mod connection;
pub(crate) mod field;
pub(crate) mod framing;
pub(crate) mod host;
pub(crate) mod legal;
pub(crate) mod line;

use super::case::Case;

/// Every case.
pub(crate) fn all() -> Vec<Case> {
    [line::all(), host::all(), field::all(), framing::all(), chunk::all(), connection::all(), legal::all()]
        .concat()
}
