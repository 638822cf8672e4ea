//! The first byte chooses a message, the rest is the message; whatever comes of it, it comes without a panic.
#![no_main]

use bitloop_core::state::{Report, Shard, WorkerInfo};
use bitloop_core::trial::{EvaluateContext, TrialSpec};
use bitloop_proto::convert;
use bitloop_proto::identity::Role;
use bitloop_proto::v1;
use libfuzzer_sys::fuzz_target;
use prost::Message;

fn convert<M: Message + Default, T: TryFrom<M>>(bytes: &[u8]) {
    if let Ok(message) = M::decode(bytes) {
        let _ = T::try_from(message);
    }
}

fuzz_target!(|input: &[u8]| {
    let Some((choice, bytes)) = input.split_first() else { return };
    match choice % 9 {
        0 => convert::<v1::Shard, Shard>(bytes),
        1 => convert::<v1::Trial, TrialSpec>(bytes),
        2 => convert::<v1::EvaluateContext, EvaluateContext>(bytes),
        3 => convert::<v1::Report, Report>(bytes),
        4 => convert::<v1::WorkerInfo, WorkerInfo>(bytes),
        5 => {
            if let Ok(request) = v1::CommitRequest::decode(bytes) {
                let _ = convert::worker_id("worker", request.worker);
                let _ = convert::reports(request.reports);
                let _ = convert::millis("trial_ms", request.trial_ms);
            }
        }
        6 => {
            if let Ok(request) = v1::SubmitRequest::decode(bytes) {
                let _ = convert::sources(&request.sources);
                let _ = bitloop_core::plan::Plan::from_document(&request.plan);
            }
        }
        7 => {
            if let Ok(request) = v1::ActOnExperimentRequest::decode(bytes) {
                let _ = (convert::action(request.action), convert::name("experiment", request.experiment));
            }
        }
        _ => {
            if let Ok(request) = v1::IssueTokenRequest::decode(bytes) {
                let _ = Role::from_wire(request.role);
            }
        }
    }
});
