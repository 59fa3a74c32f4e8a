//! What each call needs. A call that is not here is refused; a test holds the table against the descriptors.

/// What a caller must be for a call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Need {
    /// Anybody, also without a certificate: what the call itself checks lets them in.
    Nothing,
    /// To look.
    View,
    /// To change services and release them.
    Deploy,
    /// To go back. Its own permission, so that whoever is on call has it.
    Rollback,
    /// To agree to a step. The step says which roles may.
    Approve,
    /// To change the cluster itself.
    Admin,
    /// A node of the cluster.
    Node,
    /// A manager of the cluster.
    Manager,
}

/// Where a call is answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Place {
    /// By whoever is asked.
    Here,
    /// By the leader.
    Leader,
    /// By the leader, or by whoever is asked where the caller takes what may be old.
    Read,
}

use Need::{Admin, Approve, Deploy, Manager, Node, Nothing, Rollback, View};
use Place::{Here, Leader, Read};

/// Every call: its path, what it needs, where it is answered.
const TABLE: &[(&str, Need, Place)] = &[
    ("/grpc.health.v1.Health/Check", Nothing, Here),
    ("/grpc.health.v1.Health/List", Nothing, Here),
    ("/grpc.health.v1.Health/Watch", Nothing, Here),
    ("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", View, Here),
    ("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", View, Here),
    ("/warren.v1.Clusters/Backup", Admin, Leader),
    ("/warren.v1.Clusters/CreateAccessToken", Admin, Leader),
    ("/warren.v1.Clusters/CreateJoinToken", Admin, Leader),
    ("/warren.v1.Clusters/GetCluster", View, Here),
    ("/warren.v1.Clusters/ListAccessTokens", View, Leader),
    ("/warren.v1.Clusters/ListAudit", View, Read),
    ("/warren.v1.Clusters/RevokeAccessToken", Admin, Leader),
    ("/warren.v1.Clusters/RevokeJoinTokens", Admin, Leader),
    ("/warren.v1.Events/WatchEvents", View, Leader),
    ("/warren.v1.Files/CreateFile", Deploy, Leader),
    ("/warren.v1.Files/DeleteFile", Deploy, Leader),
    ("/warren.v1.Files/GetFile", View, Leader),
    ("/warren.v1.Files/ListFiles", View, Leader),
    ("/warren.v1.Files/UpdateFile", Deploy, Leader),
    ("/warren.v1.Membership/Join", Nothing, Leader),
    ("/warren.v1.Membership/Leave", Node, Here),
    ("/warren.v1.Membership/Renew", Nothing, Here),
    ("/warren.v1.Nodes/GetNode", View, Read),
    ("/warren.v1.Nodes/LabelNode", Admin, Leader),
    ("/warren.v1.Nodes/ListNodes", View, Read),
    ("/warren.v1.Nodes/RemoveNode", Admin, Leader),
    ("/warren.v1.Nodes/SetNodeAvailability", Admin, Leader),
    ("/warren.v1.Nodes/SetNodeRole", Admin, Leader),
    ("/warren.v1.Raft/Append", Manager, Here),
    ("/warren.v1.Raft/Campaign", Manager, Here),
    ("/warren.v1.Raft/InstallSnapshot", Manager, Here),
    ("/warren.v1.Raft/PreVote", Manager, Here),
    ("/warren.v1.Raft/Vote", Manager, Here),
    ("/warren.v1.Rollouts/ApproveRollout", Approve, Leader),
    ("/warren.v1.Rollouts/GetRollout", View, Read),
    ("/warren.v1.Rollouts/ListFreezes", View, Read),
    ("/warren.v1.Rollouts/ListRollouts", View, Read),
    ("/warren.v1.Rollouts/PauseRollout", Deploy, Leader),
    ("/warren.v1.Rollouts/PromoteRollout", Deploy, Leader),
    ("/warren.v1.Rollouts/ResumeRollout", Deploy, Leader),
    ("/warren.v1.Rollouts/RetryRollout", Deploy, Leader),
    ("/warren.v1.Rollouts/RollbackService", Rollback, Leader),
    ("/warren.v1.Rollouts/SetFreeze", Admin, Leader),
    ("/warren.v1.Rollouts/WatchRollout", View, Leader),
    ("/warren.v1.Services/CreateService", Deploy, Leader),
    ("/warren.v1.Services/DeleteService", Deploy, Leader),
    ("/warren.v1.Services/ExplainService", View, Read),
    ("/warren.v1.Services/GetService", View, Read),
    ("/warren.v1.Services/GetServiceVersion", View, Read),
    ("/warren.v1.Services/ListProfiles", View, Leader),
    ("/warren.v1.Services/ListServices", View, Read),
    ("/warren.v1.Services/ListVersions", View, Read),
    ("/warren.v1.Services/PlanRebalance", View, Leader),
    ("/warren.v1.Services/PlanUpdate", View, Leader),
    ("/warren.v1.Services/Rebalance", Deploy, Leader),
    ("/warren.v1.Services/RestartService", Deploy, Leader),
    ("/warren.v1.Services/ScaleService", Deploy, Leader),
    ("/warren.v1.Services/UpdateService", Deploy, Leader),
    ("/warren.v1.Services/WatchService", View, Leader),
    ("/warren.v1.Sessions/Attach", Node, Here),
    ("/warren.v1.Sessions/FetchFile", Node, Here),
    ("/warren.v1.Tasks/Exec", Deploy, Leader),
    ("/warren.v1.Tasks/ListTasks", View, Read),
    ("/warren.v1.Tasks/Logs", View, Leader),
];

/// What the call at `path` needs and where it is answered; `None` where there is no such call.
pub(crate) fn need(path: &str) -> Option<(Need, Place)> {
    let at = TABLE.binary_search_by_key(&path, |(known, _, _)| known).ok()?;
    TABLE.get(at).map(|(_, need, place)| (*need, *place))
}

#[cfg(test)]
mod tests {
    use super::*;
    use prost::Message;
    use warren_wire::v1::FILE_DESCRIPTOR_SET;

    /// Every call that the descriptors have, as a path.
    fn methods() -> Vec<String> {
        let set = prost_types::FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).unwrap();
        let services = set.file.iter().flat_map(|file| {
            file.service.iter().map(|service| (file.package().to_owned(), service))
        });
        let calls = services.flat_map(|(package, service)| {
            let path = move |call: &str| format!("/{package}.{}/{call}", service.name());
            service.method.iter().map(move |method| path(method.name()))
        });
        calls.collect()
    }

    #[test]
    fn every_call_of_the_descriptors_has_a_row_and_every_row_is_a_call() {
        let mut sorted = TABLE.to_vec();
        sorted.sort_unstable_by_key(|(path, _, _)| *path);
        assert_eq!(sorted, TABLE, "the table is searched, so it is sorted");
        let calls = methods();
        assert!(calls.len() > 40, "{}", calls.len());
        for call in &calls {
            assert!(need(call).is_some(), "{call} has no row: who may call it?");
        }
        let ours = TABLE.iter().filter(|(path, _, _)| path.starts_with("/warren."));
        for (path, _, _) in ours {
            assert!(calls.iter().any(|call| call == path), "there is no call {path}");
        }
        assert_eq!(need("/warren.v1.Services/Nothing"), None);
        assert_eq!(need(""), None);
    }

    #[test]
    fn what_changes_the_cluster_is_never_for_lookers() {
        for (path, need, place) in TABLE.iter().filter(|(path, _, _)| path.starts_with("/warren."))
        {
            let call = path.rsplit('/').next().unwrap();
            let looks = ["Get", "List", "Watch", "Explain", "Plan", "Logs"];
            let looks = looks.iter().any(|start| call.starts_with(start));
            assert_eq!(*need == View, looks, "{path}");
            let internal = matches!(need, Manager | Node);
            let anywhere = ["GetCluster", "Renew"].contains(&call);
            let placed = *place == Leader || (*place == Read && *need == View);
            assert!(internal || placed || anywhere, "{path}");
        }
    }
}
