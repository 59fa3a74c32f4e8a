//! Why the kernel's network is not as it was wanted.

use std::time::Duration;

/// Why a look or a change did not work, and what can be done.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NetworkError {
    /// This machine does not have what is needed.
    #[error("this machine has no {what}: {way_out}")]
    Unsupported {
        /// What is missing, as in `vxlan`.
        what: String,
        /// What to do about it.
        way_out: String,
    },
    /// The kernel, or a program that speaks to it, would not do it.
    #[error("{what}: {why}")]
    Refused {
        /// What was asked for.
        what: String,
        /// What it said.
        why: String,
    },
    /// No answer in time.
    #[error("{what} took longer than {after:?}")]
    Timeout {
        /// The call.
        what: String,
        /// How long it had.
        after: Duration,
    },
}

impl NetworkError {
    pub(super) fn no_wireguard() -> Self {
        Self::Unsupported {
            what: "WireGuard".into(),
            way_out:
                "load the kernel's module of that name, or run a program that stands in for it"
                    .into(),
        }
    }

    pub(super) fn no_vxlan() -> Self {
        Self::Unsupported {
            what: "vxlan".into(),
            way_out:
                "load the kernel's module of that name, or choose host-gw for nodes on one link"
                    .into(),
        }
    }
}
