//! How machines are let in, change their role and are taken out.

use super::{Now, State};
use crate::command::{Applied, Rejection};
use crate::event::{EventKind, NodeChange};
use crate::id::NodeId;
use crate::level::{self, Level};
use crate::member::{
    ACCESS_ROLES_MAX, ACCESS_TOKENS_MAX, AccessToken, JOIN_TOKENS_MAX, JoinToken, Trust,
};
use crate::node::{NodeFacts, Role};
use crate::spec::{LabelKey, RoleName};
use ipnet::Ipv4Net;
use std::collections::BTreeMap;
use std::sync::Arc;

impl State {
    /// The authority of the cluster; absent in a cluster of one process, as in simulations.
    #[must_use]
    pub fn trust(&self) -> Option<&Arc<Trust>> {
        self.stored.trust.as_ref()
    }

    /// The join tokens, those that have expired included.
    pub fn join_tokens(&self) -> impl ExactSizeIterator<Item = &JoinToken> {
        self.stored.join_tokens.iter().map(AsRef::as_ref)
    }

    pub(super) fn set_trust(&mut self, trust: Trust) -> Result<Applied, Rejection> {
        if self.stored.trust.is_some() {
            return Err(Rejection::AlreadyInitialised);
        }
        self.stored.trust = Some(Arc::new(trust));
        Ok(Applied::Done)
    }

    pub(super) fn add_join_token(
        &mut self,
        now: Now,
        token: JoinToken,
    ) -> Result<Applied, Rejection> {
        self.stored.join_tokens.retain(|known| known.expires > now.wall);
        if self.stored.join_tokens.len() >= JOIN_TOKENS_MAX {
            return Err(Rejection::TooMany {
                what: "join tokens (revoke some with `warren cluster token --rotate`)".to_owned(),
                count: JOIN_TOKENS_MAX as u64 + 1,
                max: JOIN_TOKENS_MAX as u64,
            });
        }
        self.stored.join_tokens.push_back(Arc::new(token));
        Ok(Applied::Done)
    }

    /// The access tokens, those that have expired included.
    pub fn access_tokens(&self) -> impl ExactSizeIterator<Item = &Arc<AccessToken>> {
        self.stored.access_tokens.values()
    }

    pub(super) fn add_access_token(
        &mut self,
        now: Now,
        token: AccessToken,
    ) -> Result<Applied, Rejection> {
        let ended = self.access_tokens().filter(|known| known.expires <= now.wall);
        let ended: Vec<RoleName> = ended.map(|known| known.name.clone()).collect();
        for name in ended {
            self.stored.access_tokens.remove(&name);
        }
        if self.stored.access_tokens.contains_key(&token.name) {
            return Err(Rejection::AccessNameTaken(token.name));
        }
        let too_many = |what: &str, count: usize, max: usize| Rejection::TooMany {
            what: what.to_owned(),
            count: count as u64,
            max: max as u64,
        };
        if self.stored.access_tokens.len() >= ACCESS_TOKENS_MAX {
            return Err(too_many("access tokens", ACCESS_TOKENS_MAX + 1, ACCESS_TOKENS_MAX));
        }
        if token.roles.len() > ACCESS_ROLES_MAX {
            return Err(too_many("roles of a token", token.roles.len(), ACCESS_ROLES_MAX));
        }
        self.stored.access_tokens.insert(token.name.clone(), Arc::new(token));
        Ok(Applied::Done)
    }

    pub(super) fn revoke_access_token(&mut self, name: &RoleName) -> Result<Applied, Rejection> {
        match self.stored.access_tokens.remove(name) {
            Some(_) => Ok(Applied::Done),
            None => Err(Rejection::NoAccessToken(name.clone())),
        }
    }

    pub(super) fn revoke_join_tokens(&mut self, role: Role) -> Applied {
        self.stored.join_tokens.retain(|token| token.role != role);
        Applied::Done
    }

    /// Lets a machine in that shows a token. One that was let in with the same key before gets its place again, so
    /// that a join whose answer was lost may be repeated.
    pub(super) fn join_node(
        &mut self,
        now: Now,
        token: &[u8; 32],
        key: String,
        facts: NodeFacts,
        subnet: Option<Ipv4Net>,
        labels: BTreeMap<LabelKey, String>,
    ) -> Result<Applied, Rejection> {
        let refuse = |why: &str| Rejection::NotAdmitted(why.to_owned());
        let token = self.stored.join_tokens.iter().find(|known| known.hash == *token);
        let token = token.ok_or_else(|| {
            refuse("this cluster has no such join token, or it was revoked: `warren cluster token` makes a new one")
        })?;
        if token.expires <= now.wall {
            return Err(refuse(
                "the join token has expired: `warren cluster token` makes a new one",
            ));
        }
        let role = token.role;
        if self.node_with_key(&key).is_some_and(|known| known.role != role) {
            return Err(refuse(
                "this machine is a node of the cluster already, in another role: `warren node promote` and \
                 `warren node demote` change that",
            ));
        }
        let hostname = &facts.hostname;
        let taken =
            |node: &&Arc<crate::node::Node>| node.facts.hostname == *hostname && node.key != key;
        if let Some(other) = self.nodes().find(taken) {
            return Err(refuse(&format!(
                "{} is called {hostname} already: choose another name with --hostname, or remove that node",
                other.id
            )));
        }
        self.admit_node(now, key, role, facts, subnet, labels)
    }

    /// The level that all managers speak, where it is above that of the cluster.
    #[must_use]
    pub fn level_to_raise_to(&self) -> Option<Level> {
        let managers = self.nodes().filter(|node| node.role == Role::Manager);
        level::next(self.cluster()?.level, managers.map(|node| node.facts.level))
    }

    pub(super) fn raise_level(&mut self, now: Now, to: Level) -> Result<Applied, Rejection> {
        let stale = || Rejection::Stale(format!("level {to} is not what all managers speak"));
        let cluster = self.stored.cluster.as_ref().ok_or_else(stale)?;
        if self.level_to_raise_to() != Some(to) {
            return Err(stale());
        }
        let next = crate::Cluster { level: to, ..cluster.as_ref().clone() };
        self.stored.cluster = Some(Arc::new(next));
        self.record(now, EventKind::LevelRaised { to });
        Ok(Applied::Done)
    }

    pub(super) fn set_role(
        &mut self,
        now: Now,
        id: NodeId,
        role: Role,
    ) -> Result<Applied, Rejection> {
        let node = self.node(id).ok_or(Rejection::NoNode(id))?;
        if node.role == role {
            return Ok(Applied::Done);
        }
        let managers = self.nodes().filter(|node| node.role == Role::Manager).count();
        if role == Role::Worker && managers <= 1 {
            let hostname = &node.facts.hostname;
            return Err(Rejection::NotNow(format!(
                "{hostname} is the only manager: promote another node first"
            )));
        }
        self.node_mut(id)?.role = role;
        self.record_node(now, id, NodeChange::Role(role));
        Ok(Applied::Done)
    }

    /// Takes a node out. Its certificate is of no use from then on. With `force`, the tasks that it may still run are
    /// given up.
    pub(super) fn remove_node(
        &mut self,
        now: Now,
        id: NodeId,
        force: bool,
    ) -> Result<Applied, Rejection> {
        let node = self.node(id).ok_or(Rejection::NoNode(id))?;
        let hostname = node.facts.hostname.clone();
        if node.role == Role::Manager {
            return Err(Rejection::NotNow(format!(
                "{hostname} is a manager: `warren node demote {hostname}` first"
            )));
        }
        let live = self.tasks_on(id).filter(|task| task.is_live()).count();
        if !force && (node.up || live > 0) {
            let tasks = match live {
                0 => "it is up".to_owned(),
                1 => "it runs a task".to_owned(),
                count => format!("it runs {count} tasks"),
            };
            return Err(Rejection::NotNow(format!(
                "{hostname} cannot be removed, {tasks}: drain it and stop Warren there first, or give its tasks up \
                 with --force"
            )));
        }
        self.take_out(now, id);
        self.settle_all_moves();
        Ok(Applied::Done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::Command;
    use crate::service::Actor;
    use crate::state::tests::{Feed, facts};
    use crate::time::WallTime;

    fn token(role: Role, expires: u64) -> Command {
        let hash = [role as u8; 32];
        let (expires, by) = (WallTime(expires), Actor::named("root".to_owned()));
        Command::AddJoinToken { token: JoinToken { hash, role, expires, by } }
    }

    fn join(feed: &mut Feed, role: Role, key: &str) -> Result<Applied, Rejection> {
        let facts = Box::new(facts(key));
        let (key, labels) = (key.to_owned(), BTreeMap::new());
        feed.apply(Command::JoinNode { token: [role as u8; 32], key, facts, subnet: None, labels })
    }

    fn trusted() -> Feed {
        let mut feed = Feed::cluster();
        let trust = Trust { authority: vec![1], sealed_key: vec![2] };
        feed.apply(Command::SetTrust { trust: Box::new(trust) }).unwrap();
        feed.node("first");
        feed
    }

    #[test]
    fn with_an_authority_machines_need_a_token_and_get_its_role() {
        let mut feed = trusted();
        let refused = feed.register("stranger", None).unwrap_err();
        assert!(refused.to_string().contains("join"), "{refused}");
        assert!(join(&mut feed, Role::Worker, "second").is_err(), "no token yet");
        feed.apply(token(Role::Worker, u64::MAX)).unwrap();
        let Ok(Applied::Node { id }) = join(&mut feed, Role::Worker, "second") else { panic!() };
        assert_eq!(feed.state.node(id).unwrap().role, Role::Worker);
        let again = join(&mut feed, Role::Worker, "second");
        assert_eq!(again, Ok(Applied::Node { id }), "an answer that was lost is asked for again");
        assert_eq!(feed.register("second", None), Ok(Applied::Node { id }));
        assert_eq!(feed.state.node(id).unwrap().role, Role::Worker, "a node does not choose");
    }

    #[test]
    fn expired_and_revoked_tokens_let_nobody_in() {
        let mut feed = trusted();
        feed.apply(token(Role::Worker, 0)).unwrap();
        let refused = join(&mut feed, Role::Worker, "a").unwrap_err();
        assert!(refused.to_string().contains("expired"), "{refused}");
        feed.apply(token(Role::Manager, u64::MAX)).unwrap();
        assert_eq!(feed.state.join_tokens().len(), 1, "expired ones are dropped");
        let by = Actor::named("root".to_owned());
        feed.apply(Command::RevokeJoinTokens { role: Role::Manager, by }).unwrap();
        let refused = join(&mut feed, Role::Manager, "b").unwrap_err();
        assert!(refused.to_string().contains("revoked"), "{refused}");
        for _ in 0..JOIN_TOKENS_MAX {
            feed.apply(token(Role::Worker, u64::MAX)).unwrap();
        }
        assert!(feed.apply(token(Role::Worker, u64::MAX)).is_err(), "there is a limit");
    }

    #[test]
    fn an_access_token_has_a_name_of_its_own_until_it_ends() {
        let mut feed = trusted();
        let by = || Actor::named("root".to_owned());
        let add = |name: &str, expires: u64, roles: usize| {
            let roles = (0..roles).map(|role| RoleName::parse(&format!("role-{role}")).unwrap());
            let (name, roles) = (RoleName::parse(name).unwrap(), roles.collect());
            let expires = WallTime(expires);
            let token = AccessToken { name, hash: [1; 32], roles, expires, by: by() };
            Command::AddAccessToken { token }
        };
        feed.apply(add("ci", u64::MAX, 1)).unwrap();
        assert!(matches!(feed.apply(add("ci", u64::MAX, 1)), Err(Rejection::AccessNameTaken(_))));
        assert!(matches!(feed.apply(add("all", u64::MAX, 17)), Err(Rejection::TooMany { .. })));
        let name = RoleName::parse("ci").unwrap();
        let revoke = Command::RevokeAccessToken { name, by: by() };
        feed.apply(revoke.clone()).unwrap();
        assert!(matches!(feed.apply(revoke), Err(Rejection::NoAccessToken(_))));
        feed.apply(add("short", 0, 1)).unwrap();
        feed.apply(add("short", u64::MAX, 1)).expect("an expired one makes room");
    }

    #[test]
    fn the_level_rises_with_the_last_manager_and_keeps_out_who_speaks_less() {
        let mut feed = trusted();
        feed.apply(token(Role::Manager, u64::MAX)).unwrap();
        feed.apply(token(Role::Worker, u64::MAX)).unwrap();
        let first = feed.state.nodes().next().unwrap().id;
        let by = || Actor::named("root".to_owned());
        feed.apply(Command::SetRole { node: first, role: Role::Manager, by: by() }).unwrap();
        join(&mut feed, Role::Manager, "second").unwrap();
        join(&mut feed, Role::Worker, "old").unwrap();
        let next = Level(Level::OURS.0 + 1);
        let speaks = |feed: &mut Feed, key: &str, level| {
            let facts = Box::new(NodeFacts { level, ..facts(key) });
            let (role, labels) = (Role::Worker, BTreeMap::new());
            let key = key.to_owned();
            feed.apply(Command::RegisterNode { key, role, facts, subnet: None, labels })
        };
        speaks(&mut feed, "first", next).unwrap();
        assert_eq!(feed.state.level_to_raise_to(), None, "the second is not upgraded");
        assert!(feed.apply(Command::RaiseLevel { to: next }).is_err());
        speaks(&mut feed, "second", next).unwrap();
        assert_eq!(feed.state.level_to_raise_to(), Some(next));
        feed.apply(Command::RaiseLevel { to: next }).unwrap();
        assert_eq!(feed.state.cluster().unwrap().level, next);
        assert!(feed.apply(Command::RaiseLevel { to: next }).is_err(), "once is enough");
        let refused = speaks(&mut feed, "old", Level::OURS).unwrap_err().to_string();
        assert!(refused.starts_with("this node speaks level 1, the cluster needs 2"), "{refused}");
        let refused = join(&mut feed, Role::Worker, "late").unwrap_err().to_string();
        assert!(refused.starts_with("this node speaks level 1, the cluster needs 2"), "{refused}");
        speaks(&mut feed, "second", Level::OURS).unwrap_err();
        assert_eq!(feed.state.level_to_raise_to(), None);
        assert_eq!(feed.state.cluster().unwrap().level, next, "it is never lowered");
    }

    #[test]
    fn the_only_manager_stays_one_and_nodes_are_taken_out_in_order() {
        let mut feed = trusted();
        feed.apply(token(Role::Manager, u64::MAX)).unwrap();
        let by = || Actor::named("root".to_owned());
        let first = feed.state.nodes().next().unwrap().id;
        feed.apply(Command::SetRole { node: first, role: Role::Manager, by: by() }).unwrap();
        let demote = Command::SetRole { node: first, role: Role::Worker, by: by() };
        let refused = feed.apply(demote.clone()).unwrap_err();
        assert!(refused.to_string().contains("only manager"), "{refused}");
        let Ok(Applied::Node { id }) = join(&mut feed, Role::Manager, "second") else { panic!() };
        feed.apply(demote).unwrap();
        let remove = |node, force| Command::RemoveNode { node, force, by: by() };
        assert!(feed.apply(remove(id, true)).is_err(), "a manager is demoted first");
        assert!(feed.apply(remove(first, false)).is_err(), "it is up");
        feed.apply(Command::SetNodeUp { node: first, up: false }).unwrap();
        feed.apply(remove(first, false)).unwrap();
        assert!(feed.state.node(first).is_none());
        assert!(feed.state.node_with_key("first").is_none(), "its key opens nothing any more");
        assert_eq!(feed.state.node_with_key("second").map(|node| node.id), Some(id));
        assert_eq!(feed.apply(remove(first, false)), Err(Rejection::NoNode(first)));
    }
}
