//! What can be typed after `switcher lock`.

use clap::Subcommand;

/// What can be done with the lease.
#[derive(Debug, Clone, Copy, Subcommand)]
pub enum LockCommand {
    /// Show who holds the lease, for what and until when
    Status,
    /// Release a lease whose owner is dead or gave no sign of life in time
    Release {
        /// Also from an owner that lives: whatever it does next is refused
        #[arg(long)]
        force: bool,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
}
