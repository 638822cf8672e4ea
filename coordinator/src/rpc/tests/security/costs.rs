//! What calls cost the coordinator, method by method.

use super::*;
use crate::rpc::rates;

/// A new method is put into this table by whoever knows what it costs.
#[test]
fn every_method_is_known_to_be_cheap_or_to_take_long() {
    let (long, cheap): (BTreeSet<String>, BTreeSet<String>) =
        methods().into_iter().partition(|path| rates::takes_long(path));
    let listed = |paths: BTreeSet<String>| {
        let names = paths.iter().map(|path| path.trim_start_matches("/bitloop.v1.").to_owned());
        names.collect::<Vec<_>>().join("\n")
    };

    expect![[r#"
        Coordinator/Explain
        Coordinator/Results
        Coordinator/ShowExperiment
        Coordinator/Submit
        Coordinator/TrialLog"#]]
    .assert_eq(&listed(long));
    expect![[r#"
        Coordinator/ActOnExperiment
        Coordinator/Backlog
        Coordinator/Commit
        Coordinator/Events
        Coordinator/FetchArtifact
        Coordinator/FetchContext
        Coordinator/Heartbeat
        Coordinator/Leave
        Coordinator/ListExperiments
        Coordinator/ListWorkers
        Coordinator/MissingArtifacts
        Coordinator/Overview
        Coordinator/Register
        Coordinator/Release
        Coordinator/RequestShard
        Coordinator/StoreArtifact
        Coordinator/WatchExperiment
        Coordinator/WriteLines
        Membership/IssueToken
        Membership/Join
        Membership/Renew
        Membership/Revoke"#]]
    .assert_eq(&listed(cheap));
}
