//! What can go wrong between the command line and the proxy.

use std::io;
use std::time::Duration;

use switcher_config::wire::Refusal;

/// Why no connection could be opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConnectProblem {
    /// There is no such file.
    Absent,
    /// The file is there and nobody listens.
    Dead,
    /// This user may not open it.
    Permission,
    /// It is no socket.
    NotSocket,
    /// The path is longer than a socket's path may be (`sun_path`, 107 bytes).
    TooLong,
    /// The connection was not taken in time.
    Busy,
    /// Anything else, as the system puts it.
    Other(String),
}

/// What the admin client met.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// No connection: the proxy has heard nothing.
    #[error("no connection: {0:?}")]
    Connect(ConnectProblem),
    /// The connection broke after the question was sent: the proxy may have acted on it.
    #[error("the connection broke: {0}")]
    Lost(String),
    /// No answer in time: the proxy may have acted, or may still act.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// The proxy refused, and says why.
    #[error("refused: {}", .0.message)]
    Refused(Box<Refusal>),
    /// The answer is not what this version expects.
    #[error("not understood: {0}")]
    Gibberish(String),
}

impl AdminError {
    /// Whether the proxy may have acted although no answer came.
    #[must_use]
    pub const fn outcome_unknown(&self) -> bool {
        match self {
            Self::Lost(_) | Self::Timeout(_) => true,
            Self::Connect(_) | Self::Refused(_) | Self::Gibberish(_) => false,
        }
    }
}

impl ConnectProblem {
    /// Reads the system's answer; `socket_file` says whether the path is a socket, where it exists.
    #[must_use]
    pub fn from_io(error: &io::Error, socket_file: Option<bool>) -> Self {
        match (error.kind(), socket_file) {
            (io::ErrorKind::NotFound, _) => Self::Absent,
            (io::ErrorKind::PermissionDenied, _) => Self::Permission,
            (io::ErrorKind::InvalidInput, _) => Self::TooLong,
            // The system answers "connection refused" for an ordinary file as well.
            (_, Some(false)) => Self::NotSocket,
            (io::ErrorKind::ConnectionRefused, _) => Self::Dead,
            (io::ErrorKind::WouldBlock, _) => Self::Busy,
            (_, Some(true) | None) => Self::Other(error.to_string()),
        }
    }
}
