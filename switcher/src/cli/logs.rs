//! What can be typed after `switcher logs`.

use std::convert::Infallible;
use std::str::FromStr;

use clap::Args;
use switcher_config::{Slot, Span};

use crate::deployment::DeploymentId;

/// What `logs` takes.
#[derive(Debug, Clone, Args)]
pub struct LogsArgs {
    /// The slot: blue, green, live or standby; or the name of one container
    #[arg(value_name = "SLOT|NAME", required_unless_present = "deployment")]
    pub target: Option<LogsTarget>,
    /// The log that a deployment wrote itself: its stages, hooks and migrations
    #[arg(long, value_name = "ID", conflicts_with = "target")]
    pub deployment: Option<DeploymentId>,
    /// Go on with what is written later, until Ctrl-C
    #[arg(long, short)]
    pub follow: bool,
    /// Show so many of the last lines of each container, or `all`
    #[arg(long, value_name = "N", default_value = "100")]
    pub tail: Tail,
    /// Show only what was written in this time, such as 10m
    #[arg(long, value_name = "TIME")]
    pub since: Option<Span>,
    /// Show when each line was written
    #[arg(long)]
    pub timestamps: bool,
}

/// Whose logs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogsTarget {
    /// Those of the containers of a slot.
    Slot(Slot),
    /// Those of the slot that is live, whichever it is at the moment.
    Live,
    /// Those of the other slot.
    Standby,
    /// That of one container.
    Container(String),
}

impl FromStr for LogsTarget {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(match (text, text.parse()) {
            (_, Ok(slot)) => Self::Slot(slot),
            ("live", Err(_)) => Self::Live,
            ("standby", Err(_)) => Self::Standby,
            (name, Err(_)) => Self::Container(name.to_owned()),
        })
    }
}

/// How many of the last lines; none means all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tail(pub Option<usize>);

impl FromStr for Tail {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "all" => Ok(Self(None)),
            number => match number.parse() {
                Ok(lines) => Ok(Self(Some(lines))),
                Err(_) => Err("it is neither a number of lines nor `all`".to_owned()),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_is_no_name_and_everything_else_is_one() {
        for (text, target) in [
            ("blue", LogsTarget::Slot(Slot::Blue)),
            ("live", LogsTarget::Live),
            ("standby", LogsTarget::Standby),
            ("shop-blue-1", LogsTarget::Container("shop-blue-1".to_owned())),
        ] {
            assert_eq!(text.parse(), Ok(target));
        }
    }

    #[test]
    fn a_tail_is_a_number_or_all() {
        assert_eq!("7".parse(), Ok(Tail(Some(7))));
        assert_eq!("all".parse(), Ok(Tail(None)));
        assert!("many".parse::<Tail>().is_err());
    }
}
