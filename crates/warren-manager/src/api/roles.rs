//! Which roles a caller has.

use tonic::Request;
use warren_core::spec::RoleName;
use warren_wire::channel::peer_uid;

/// Where a request came from, as far as roles go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Caller {
    /// Root at the other end of the unix socket.
    Root,
    /// Anybody else.
    Other,
}

impl Caller {
    /// Who sent `request`.
    pub(super) fn of<T>(request: &Request<T>) -> Self {
        match peer_uid(request) {
            Some(0) => Self::Root,
            Some(_) | None => Self::Other,
        }
    }

    /// Those of the roles `asked` for that the caller has. Root of a manager's machine could write the state itself, so
    /// it has each; a cluster gives roles to nobody else yet.
    pub(super) fn roles(self, asked: &[RoleName]) -> Vec<RoleName> {
        match self {
            Self::Root => asked.to_vec(),
            Self::Other => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_has_each_role_and_nobody_else_has_one() {
        let asked = [RoleName::parse("release-captain").unwrap()];
        assert_eq!(Caller::Root.roles(&asked), asked);
        assert!(Caller::Other.roles(&asked).is_empty());
        assert_eq!(Caller::of(&Request::new(())), Caller::Other, "no socket, no user");
    }
}
