//! The first byte chooses a message, the rest is the message; whatever comes of it, it comes without a panic.
//!
//! Each request of the `.proto` file is here, read as the coordinator reads it, and what workers read; a test of
//! bitloop-proto looks for them.
#![no_main]

use bitloop_core::plan::Plan;
use bitloop_core::state::{Obstacle, Report, Shard, WorkerInfo};
use bitloop_core::trial::{EvaluateContext, TrialSpec};
use bitloop_proto::convert;
use bitloop_proto::identity::Role;
use bitloop_proto::v1;
use libfuzzer_sys::fuzz_target;
use prost::Message;

/// Reads a message; it is dropped with whatever comes of it.
type Reader = fn(&[u8]);

fn read<M: Message + Default>(bytes: &[u8], look: impl FnOnce(M)) {
    if let Ok(message) = M::decode(bytes) {
        look(message);
    }
}

fn turn<M: Message + Default, T: TryFrom<M>>(bytes: &[u8]) {
    read::<M>(bytes, |message| drop(T::try_from(message)));
}

fn worker(text: String) {
    let _ = convert::worker_id("worker", text);
}

fn name(text: String) {
    let _ = convert::name("name", text);
}

fn digest(bytes: &[u8]) {
    let _ = convert::digest("digest", bytes);
}

fn keys(list: &[Vec<u8>]) {
    let _ = convert::trial_keys("keys", list);
}

/// What workers read.
const ANSWERS: &[Reader] = &[
    turn::<v1::Shard, Shard>,
    turn::<v1::Trial, TrialSpec>,
    turn::<v1::EvaluateContext, EvaluateContext>,
];

/// What the coordinator reads from workers.
const OF_WORKERS: &[Reader] = &[
    turn::<v1::Report, Report>,
    turn::<v1::WorkerInfo, WorkerInfo>,
    |bytes| {
        read(bytes, |request: v1::RegisterRequest| {
            let _ = request.info.map(WorkerInfo::try_from);
            keys(&request.held);
            name(request.version);
        })
    },
    |bytes| read(bytes, |request: v1::RequestShardRequest| worker(request.worker)),
    |bytes| read(bytes, |request: v1::FetchContextRequest| digest(&request.digest)),
    |bytes| {
        read(bytes, |request: v1::HeartbeatRequest| {
            worker(request.worker);
            keys(&request.running);
        })
    },
    |bytes| {
        read(bytes, |request: v1::CommitRequest| {
            worker(request.worker);
            let _ = convert::reports(request.reports);
            let _ = convert::millis("trial_ms", request.trial_ms);
        })
    },
    |bytes| {
        read(bytes, |request: v1::ReleaseRequest| {
            worker(request.worker);
            keys(&request.trials);
            let _ = request.obstacle.map(Obstacle::try_from);
        })
    },
    |bytes| read(bytes, |request: v1::LeaveRequest| worker(request.worker)),
    |bytes| {
        read(bytes, |request: v1::WriteLinesRequest| {
            worker(request.worker);
            let _ = convert::log_lines(request.lines);
        })
    },
];

/// What the coordinator reads from users and those who want to become some.
const OF_USERS: &[Reader] = &[
    |bytes| {
        read(bytes, |request: v1::MissingArtifactsRequest| {
            let _ = convert::digests("digests", &request.digests);
        })
    },
    |bytes| read(bytes, |chunk: v1::ArtifactChunk| digest(&chunk.digest)),
    |bytes| read(bytes, |request: v1::FetchArtifactRequest| digest(&request.digest)),
    |bytes| {
        read(bytes, |request: v1::SubmitRequest| {
            let _ = convert::sources(&request.sources);
            if let Ok(plan) = Plan::from_document(&request.plan) {
                let _ = bitloop_search::check(&plan);
            }
        })
    },
    // The document alone, so that fuzzing need not get a message around it right.
    |bytes| {
        if let Ok(plan) = Plan::from_document(bytes) {
            let _ = bitloop_search::check(&plan);
        }
    },
    |bytes| read(bytes, |_: v1::ListExperimentsRequest| {}),
    |bytes| read(bytes, |request: v1::ShowExperimentRequest| name(request.experiment)),
    |bytes| read(bytes, |request: v1::WatchExperimentRequest| name(request.experiment)),
    |bytes| {
        read(bytes, |request: v1::ActOnExperimentRequest| {
            let _ = convert::action(request.action);
            name(request.experiment);
        })
    },
    |bytes| read(bytes, |request: v1::ResultsRequest| name(request.experiment)),
    |bytes| read(bytes, |_: v1::ListWorkersRequest| {}),
    |bytes| read(bytes, |request: v1::ExplainRequest| name(request.subject)),
    |bytes| read(bytes, |_: v1::BacklogRequest| {}),
    |bytes| read(bytes, |_: v1::OverviewRequest| {}),
    |bytes| read(bytes, |request: v1::TrialLogRequest| name(request.trial)),
    |bytes| read(bytes, |request: v1::EventsRequest| name(request.experiment)),
    |bytes| read(bytes, |_: v1::JoinRequest| {}),
    |bytes| read(bytes, |_: v1::RenewRequest| {}),
    |bytes| {
        read(bytes, |request: v1::IssueTokenRequest| {
            let _ = Role::from_wire(request.role);
        })
    },
    |bytes| read(bytes, |request: v1::RevokeRequest| name(request.name)),
];

fuzz_target!(|input: &[u8]| {
    let Some((choice, bytes)) = input.split_first() else { return };
    let readers: Vec<&Reader> = ANSWERS.iter().chain(OF_WORKERS).chain(OF_USERS).collect();
    readers[usize::from(*choice) % readers.len()](bytes);
});
