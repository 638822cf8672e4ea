//! `bitloop pause`, `resume` and `cancel`.

use bitloop_proto::v1::ExperimentAction;

use crate::args::{OnExperiment, Output};
use crate::client::Client;
use crate::failure::Outcome;
use crate::show;

pub(super) async fn execute(on: &OnExperiment, action: ExperimentAction, output: Output) -> Outcome {
    let mut client = Client::connect(&on.remote).await?;
    let summary = client.act(&on.experiment, action).await?;
    match output {
        Output::Json => show::json(&show::summary_json(&summary)),
        Output::Text => show::data(&show::experiments_table(&[summary])),
    }
}
