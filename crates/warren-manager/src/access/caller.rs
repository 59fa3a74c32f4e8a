//! Who calls.

use super::{Need, Remote};
use std::collections::BTreeSet;
use std::net::IpAddr;
use tonic::Extensions;
use tonic::transport::server::UdsConnectInfo;
use warren_core::State;
use warren_core::node::Role;
use warren_core::service::Actor;
use warren_core::spec::RoleName;
use warren_core::time::WallTime;
use warren_wire::trust::{Fingerprint, TokenSecret, peer_of};

/// From where somebody calls who uses the unix socket of this node.
pub(super) const SOCKET: &str = "socket";

/// Who sent a request, as far as the connection proves it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Caller {
    /// A user of this machine, by the unix socket.
    Local {
        /// Of the user.
        uid: u32,
    },
    /// A node of the cluster.
    Node {
        /// Its id, as its certificate says.
        node: String,
        /// Whether the cluster has it as a manager.
        manager: bool,
        /// Of its key.
        key: Fingerprint,
    },
    /// Somebody with an access token, here or at the manager that sent the call on.
    Person {
        /// Who.
        name: String,
        /// What they may do, and what they may agree to.
        roles: BTreeSet<String>,
        /// From where, as far as the connection proves it.
        from: String,
    },
    /// A machine with a certificate of this cluster that is none of its nodes any more.
    Removed {
        /// Its id, as its certificate says.
        node: String,
    },
    /// Nobody known.
    Stranger {
        /// From where.
        address: Option<IpAddr>,
    },
}

/// The roles of people, and what each includes beside looking.
const ROLES: &[(&str, &[Need])] = &[
    ("admin", &[Need::View, Need::Deploy, Need::Rollback, Need::Approve, Need::Admin]),
    ("approver", &[Need::View, Need::Approve]),
    ("deployer", &[Need::View, Need::Deploy, Need::Rollback]),
    ("operator", &[Need::View, Need::Rollback]),
    ("viewer", &[Need::View]),
];

/// Whether a role lets its holder make calls. Any other is a name that approvals may ask for.
pub(crate) fn is_built_in(role: &RoleName) -> bool {
    ROLES.iter().any(|(known, _)| *known == role.as_str())
}

impl Caller {
    /// Who sent a request with these extensions. `state` says which keys are nodes.
    #[must_use]
    pub fn of(extensions: &Extensions, state: &State) -> Self {
        if let Some(local) = extensions.get::<UdsConnectInfo>() {
            return match &local.peer_cred {
                Some(peer) => Self::Local { uid: peer.uid() },
                None => Self::Stranger { address: None },
            };
        }
        let Some(remote) = extensions.get::<Remote>() else {
            return Self::Stranger { address: None };
        };
        let address = Some(remote.line.peer().ip());
        let Some(Ok(peer)) = remote.shown.as_deref().map(peer_of) else {
            return Self::Stranger { address };
        };
        let known = state.node_with_key(&peer.key.to_string());
        let manager = match known {
            Some(node) => node.role == Role::Manager,
            // A manager that has just joined knows nobody yet: the authority vouches for those that bring it the log.
            None if state.cluster().is_none() => peer.manager,
            None => return Self::Removed { node: peer.node },
        };
        Self::Node { node: peer.node, manager, key: peer.key }
    }

    /// Whose access token has this secret, at `now` of the wall clock.
    #[must_use]
    pub fn with_token(
        secret: &TokenSecret,
        state: &State,
        now: WallTime,
        address: Option<IpAddr>,
    ) -> Option<Self> {
        let hash = secret.hash();
        let token = state.access_tokens().find(|token| token.hash == hash)?;
        let roles = token.roles.iter().map(|role| role.as_str().to_owned()).collect();
        let name = token.name.as_str().to_owned();
        let from = address.map(|address| address.to_string()).unwrap_or_default();
        (token.expires > now).then_some(Self::Person { name, roles, from })
    }

    /// Whether the caller has what a call needs.
    #[must_use]
    pub(crate) fn may(&self, need: Need) -> bool {
        match (self, need) {
            (_, Need::Nothing)
            // Who may open the socket could write the state itself.
            | (Self::Local { .. }, _)
            | (Self::Node { .. }, Need::Node)
            | (Self::Node { manager: true, .. }, Need::Manager) => true,
            (Self::Person { roles, .. }, need) => {
                let granted = ROLES.iter().filter(|(role, _)| roles.contains(*role));
                granted.flat_map(|(_, needs)| *needs).any(|granted| *granted == need)
            }
            (Self::Node { .. } | Self::Removed { .. } | Self::Stranger { .. }, _) => false,
        }
    }

    /// Those of the roles `asked` for that the caller has. Root of a manager's machine could write the state itself, so
    /// it has each.
    #[must_use]
    pub fn roles(&self, asked: &[RoleName]) -> Vec<RoleName> {
        match self {
            Self::Local { uid: 0 } => asked.to_vec(),
            Self::Person { roles, .. } if roles.contains("admin") => asked.to_vec(),
            Self::Person { roles, .. } => {
                asked.iter().filter(|role| roles.contains(role.as_str())).cloned().collect()
            }
            Self::Local { .. }
            | Self::Node { .. }
            | Self::Removed { .. }
            | Self::Stranger { .. } => Vec::new(),
        }
    }

    /// How events and the history call them.
    #[must_use]
    pub fn actor(&self) -> Actor {
        let name = match self {
            Self::Local { uid: 0 } => "root".to_owned(),
            Self::Local { uid } => format!("uid {uid}"),
            Self::Node { node, .. } | Self::Removed { node } => format!("node {node}"),
            Self::Person { name, .. } => name.clone(),
            Self::Stranger { address: Some(address) } => address.to_string(),
            Self::Stranger { address: None } => "unknown".to_owned(),
        };
        Actor { name, from: self.from() }
    }

    /// From where they call, as far as the connection proves it.
    fn from(&self) -> String {
        match self {
            Self::Local { .. } => SOCKET.to_owned(),
            Self::Person { from, .. } => from.clone(),
            Self::Stranger { address } => {
                address.map(|address| address.to_string()).unwrap_or_default()
            }
            Self::Node { .. } | Self::Removed { .. } => String::new(),
        }
    }

    /// What a manager that trusts this one is to know of the caller.
    #[must_use]
    pub(super) fn vouch(&self) -> Option<(Actor, String)> {
        let roles = match self {
            Self::Local { .. } => "admin".to_owned(),
            Self::Person { roles, .. } => {
                roles.iter().map(String::as_str).collect::<Vec<_>>().join(",")
            }
            Self::Node { .. } | Self::Removed { .. } | Self::Stranger { .. } => return None,
        };
        Some((self.actor(), roles))
    }
}
