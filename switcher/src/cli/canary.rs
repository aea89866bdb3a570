//! What can be typed after `switcher canary`.

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, ValueEnum};
use ipnet::IpNet;
use switcher_config::wire::CanaryThen;
use switcher_config::{CanaryKey, NamedValue, Share, Slot, Span};

use super::LockArgs;

/// What `canary` takes.
#[derive(Debug, Clone, Args)]
pub struct CanaryArgs {
    /// The slot that gets a part of the clients, or `abort` to take them back; without it the canary is shown
    #[arg(value_parser = target(), value_name = "SLOT")]
    pub target: Option<CanaryTarget>,
    /// The share of the clients, such as 5%; whoever is on that side stays there while it grows
    #[arg(value_name = "SHARE", conflicts_with = "steps")]
    pub share: Option<Share>,
    /// What clients are told apart by: client (the address), "header NAME" or "cookie NAME" [default: client]
    #[arg(long, value_name = "WHAT", requires = "target")]
    pub by: Option<CanaryKey>,
    /// Requests with this header are always on that side; may be repeated
    #[arg(long = "header", value_name = "NAME=VALUE", requires = "target")]
    pub headers: Vec<NamedValue>,
    /// Requests with this cookie are always on that side; may be repeated
    #[arg(long = "cookie", value_name = "NAME=VALUE", requires = "target")]
    pub cookies: Vec<NamedValue>,
    /// Clients of this network are always on that side, such as 10.0.0.0/8; may be repeated
    #[arg(long, value_name = "NETWORK", requires = "target", value_parser = network)]
    pub clients: Vec<IpNet>,
    /// Shares that follow each other by themselves, such as 5%,25%,50%
    #[arg(long, value_name = "SHARES", value_delimiter = ',', requires = "every")]
    pub steps: Vec<Share>,
    /// How long each step is judged, such as 10m
    #[arg(long, value_name = "TIME", requires = "steps")]
    pub every: Option<Span>,
    /// What follows the last step
    #[arg(long, value_name = "WHAT", value_enum, requires = "steps")]
    pub then: Option<Then>,
    /// Even in a slot that is not healthy
    #[arg(long, requires = "target")]
    pub force: bool,
    /// With `abort`: return as soon as nobody enters any more
    #[arg(long, requires = "target")]
    pub detach: bool,
    /// With `abort`: one drain time for every kind of request, such as 30s, instead of the configured ones
    #[arg(long, value_name = "TIME", requires = "target")]
    pub drain_timeout: Option<Span>,
    #[command(flatten)]
    #[allow(missing_docs, reason = "its options carry the help")]
    pub lock: LockArgs,
}

/// What is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CanaryTarget {
    /// Clients go to this slot.
    Slot(Slot),
    /// Nobody does any more.
    Abort,
}

/// What follows the last step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Then {
    /// It stays at the last share
    Hold,
    /// The slot becomes live
    Promote,
}

impl From<Then> for CanaryThen {
    fn from(then: Then) -> Self {
        match then {
            Then::Hold => Self::Hold,
            Then::Promote => Self::Promote,
        }
    }
}

fn target() -> impl TypedValueParser<Value = CanaryTarget> {
    PossibleValuesParser::new(["blue", "green", "abort"])
        .map(|text| text.parse().map_or(CanaryTarget::Abort, CanaryTarget::Slot))
}

/// A network, or a single address.
fn network(text: &str) -> Result<IpNet, String> {
    let single = || text.parse::<std::net::IpAddr>().ok().map(IpNet::from);
    let network = text.parse::<IpNet>().ok().or_else(single);
    network.ok_or_else(|| format!("{text:?} is no network; write for example `10.0.0.0/8` or `192.0.2.7`"))
}
