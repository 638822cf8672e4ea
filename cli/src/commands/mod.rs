//! A file per command.

mod act;
mod autoscale;
mod bench;
mod check;
mod completions;
mod coordinator;
mod doctor;
mod events;
mod export;
mod fit;
mod import;
mod inspect;
mod local;
mod logs;
mod probe;
mod probes;
mod query;
mod report;
mod run;
mod security;
mod solve;
mod store;
mod submit;
mod top;
mod train;
mod watch;
mod worker;

use bitloop_proto::v1::ExperimentAction;

use crate::args::{Arguments, BenchCommand, Command};
use crate::failure::Outcome;
use crate::telemetry::Reader;

impl Command {
    /// Who reads what it says: services outlive whoever started them.
    pub(crate) fn reader(&self) -> Reader {
        match self {
            Self::Coordinator(_) | Self::Worker(_) | Self::Autoscale(_) => Reader::MayBeAway,
            Self::Run(_)
            | Self::Check(_)
            | Self::Init(_)
            | Self::Join(_)
            | Self::Token(_)
            | Self::Revoke(_)
            | Self::Submit(_)
            | Self::List(_)
            | Self::Show(_)
            | Self::Watch(_)
            | Self::Results(_)
            | Self::Report(_)
            | Self::Workers(_)
            | Self::Top(_)
            | Self::Explain(_)
            | Self::Logs(_)
            | Self::Events(_)
            | Self::Pause(_)
            | Self::Resume(_)
            | Self::Cancel(_)
            | Self::Train(_)
            | Self::Import(_)
            | Self::Inspect(_)
            | Self::Export(_)
            | Self::Fit(_)
            | Self::Solve(_)
            | Self::Doctor(_)
            | Self::Store(_)
            | Self::Bench(_)
            | Self::Probe { .. }
            | Self::Completions { .. } => Reader::Present,
        }
    }
}

/// Runs what was typed.
pub(crate) fn execute(arguments: &Arguments) -> Outcome {
    let output = arguments.output;
    match &arguments.command {
        Command::Check(check) => check::execute(check, output),
        Command::Import(import) => import::execute(import, output),
        Command::Inspect(inspect) => inspect::execute(inspect, output),
        Command::Fit(fit) => fit::execute(fit, output),
        Command::Solve(solve) => solve::execute(solve, output),
        Command::Train(train) => train::execute(train, output),
        Command::Store(store) => store::execute(store, output),
        Command::Doctor(doctor) => doctor::execute(doctor, output),
        Command::Probe { probe } => probe::execute(probe),
        Command::Completions { shell } => completions::execute(*shell),
        Command::Bench(BenchCommand::Eval(eval)) => bench::eval(eval, output),
        Command::Bench(BenchCommand::Sweep(sweep)) => bench::sweep(sweep, output),
        Command::Bench(BenchCommand::Encodings(encodings)) => bench::encodings(encodings, output),
        Command::Bench(BenchCommand::Kernels(kernels)) => bench::kernels(kernels, output),
        Command::Bench(BenchCommand::Train(steps)) => bench::train(steps, output),
        Command::Bench(BenchCommand::Dispatch(dispatch)) => {
            block_on(stoppable(bench::dispatch(dispatch, output)))
        }
        Command::Bench(BenchCommand::Submit(submission)) => {
            block_on(stoppable(bench::submit(submission, output)))
        }
        Command::Bench(BenchCommand::Workers(workers)) => {
            block_on(stoppable(bench::workers(workers, output)))
        }
        Command::Export(export) => block_on(export::execute(export)),
        Command::Run(run) => block_on(run::execute(run, output)),
        Command::Init(init) => security::init(init, output),
        Command::Join(join) => block_on(security::join(join, output)),
        Command::Token(token) => block_on(security::token(token, output)),
        Command::Revoke(revoke) => block_on(security::revoke(revoke, output)),
        Command::Coordinator(coordinator) => block_on(coordinator::execute(coordinator)),
        Command::Worker(worker) => block_on(worker::execute(worker)),
        Command::Autoscale(autoscale) => block_on(autoscale::execute(autoscale, output)),
        Command::Submit(submit) => block_on(submit::execute(submit, output)),
        Command::List(remote) => block_on(query::list(remote, output)),
        Command::Show(on) => block_on(query::show(on, output)),
        Command::Workers(remote) => block_on(query::workers(remote, output)),
        Command::Top(top) => block_on(top::execute(top, output)),
        Command::Explain(arguments) => block_on(query::explain(arguments, output)),
        Command::Logs(arguments) => block_on(logs::execute(arguments, output)),
        Command::Events(arguments) => block_on(events::execute(arguments, output)),
        Command::Results(results) => block_on(query::results(results, output)),
        Command::Report(arguments) => block_on(report::execute(arguments, output)),
        Command::Watch(on) => block_on(watch::execute(on, output)),
        Command::Pause(on) => block_on(act::execute(on, ExperimentAction::Pause, output)),
        Command::Resume(on) => block_on(act::execute(on, ExperimentAction::Resume, output)),
        Command::Cancel(on) => block_on(act::execute(on, ExperimentAction::Cancel, output)),
    }
}

/// Ends a benchmark that is told to stop, so that the coordinator that it started ends first.
async fn stoppable(benchmark: impl Future<Output = Outcome>) -> Outcome {
    let mut stop = run::StopSignal::listen()?;
    tokio::select! {
        outcome = benchmark => outcome,
        () = stop.received() => Err(run::interrupted()),
    }
}

fn block_on(command: impl Future<Output = Outcome>) -> Outcome {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?.block_on(command)
}
