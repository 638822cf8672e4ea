//! Who may call what: one table, asked before any call. What it does not name is refused.

use bitloop_proto::identity::Role;
use tonic::Status;

use super::peer::Peer;

/// Who may call a method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    /// Whoever reaches the port.
    Anyone,
    /// Whoever has a certificate.
    Members,
    /// Whoever has one of these roles, or one that includes it.
    Roles(&'static [Role]),
}

/// Who may call the method of a path; none for a path that is no method.
pub(super) fn access(path: &str) -> Option<Access> {
    use Access::{Anyone, Members, Roles};
    use Role::{Admin, Read, Submit, Worker};
    Some(match path {
        "/bitloop.v1.Coordinator/MissingArtifacts" => Roles(&[Submit]),
        "/bitloop.v1.Coordinator/StoreArtifact" => Roles(&[Submit, Worker]),
        "/bitloop.v1.Coordinator/FetchArtifact" => Roles(&[Read, Worker]),
        "/bitloop.v1.Coordinator/Submit" => Roles(&[Submit]),
        "/bitloop.v1.Coordinator/ListExperiments" => Roles(&[Read]),
        "/bitloop.v1.Coordinator/ShowExperiment" => Roles(&[Read]),
        "/bitloop.v1.Coordinator/WatchExperiment" => Roles(&[Read]),
        "/bitloop.v1.Coordinator/ActOnExperiment" => Roles(&[Submit]),
        "/bitloop.v1.Coordinator/Results" => Roles(&[Read]),
        "/bitloop.v1.Coordinator/ListWorkers" => Roles(&[Read]),
        "/bitloop.v1.Coordinator/Explain" => Roles(&[Read]),
        "/bitloop.v1.Coordinator/Backlog" => Roles(&[Read]),
        "/bitloop.v1.Coordinator/Overview" => Roles(&[Read]),
        "/bitloop.v1.Coordinator/TrialLog" => Roles(&[Read]),
        "/bitloop.v1.Coordinator/Events" => Roles(&[Read]),
        "/bitloop.v1.Coordinator/Register" => Roles(&[Worker]),
        "/bitloop.v1.Coordinator/RequestShard" => Roles(&[Worker]),
        "/bitloop.v1.Coordinator/FetchContext" => Roles(&[Worker]),
        "/bitloop.v1.Coordinator/Heartbeat" => Roles(&[Worker]),
        "/bitloop.v1.Coordinator/Commit" => Roles(&[Worker]),
        "/bitloop.v1.Coordinator/Release" => Roles(&[Worker]),
        "/bitloop.v1.Coordinator/WriteLines" => Roles(&[Worker]),
        "/bitloop.v1.Coordinator/Leave" => Roles(&[Worker]),
        "/bitloop.v1.Membership/Join" => Anyone,
        "/bitloop.v1.Membership/Renew" => Members,
        "/bitloop.v1.Membership/IssueToken" => Roles(&[Admin]),
        "/bitloop.v1.Membership/Revoke" => Roles(&[Admin]),
        "/grpc.health.v1.Health/Check" => Members,
        "/grpc.health.v1.Health/List" => Members,
        "/grpc.health.v1.Health/Watch" => Members,
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo" => Members,
        _ => return None,
    })
}

/// Whether a peer may call a path.
pub(super) fn check(peer: &Peer, path: &str) -> Result<(), Status> {
    let method = path.rsplit('/').next().unwrap_or_default();
    let Some(access) = access(path) else {
        return Err(Status::unimplemented("there is no such method"));
    };
    let least = match access {
        Access::Anyone => return Ok(()),
        Access::Members => &[][..],
        Access::Roles(roles) => roles,
    };
    let member = match peer {
        Peer::InProcess | Peer::Open { .. } => return Ok(()),
        Peer::Stranger { .. } => {
            return Err(Status::unauthenticated(
                "no certificate was shown; get one with `bitloop join`, and name its folder with --identity",
            ));
        }
        Peer::Member(member) => member,
    };
    let is_allowed = access == Access::Members || least.iter().any(|least| member.role.includes(*least));
    match is_allowed {
        true => Ok(()),
        false => {
            let words: Vec<&str> = least.iter().map(|role| role.word()).collect();
            let role = member.role;
            let needed = words.join(" or ");
            Err(Status::permission_denied(format!(
                "{method} needs the role {needed}, this identity has {role}"
            )))
        }
    }
}
