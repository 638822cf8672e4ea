//! `bitloop bench dispatch`: a sweep whose evaluations cost nothing, so that everything else shows.

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;

use bitloop_core::bits::{Bits, PointIndex};
use bitloop_core::digest::Digest;
use bitloop_core::evaluation::EvaluationMode;
use bitloop_core::graph::{Graph, INPUT, Input, Linear, Op, Shape};
use bitloop_core::plan::{DataPart, DataParts, PLAN_FORMAT, Plan, StagePlan};
use bitloop_core::state::Sources;
use bitloop_core::trial::{Candidates, Guard, ImageRange, Numerics};
use bitloop_worker::EmptyExecutor;
use serde_json::json;

use crate::args::{DispatchArguments, Output};
use crate::clock::{self, Stopwatch};
use crate::commands::local::Local;
use crate::commands::{watch, worker};
use crate::failure::{Failure, Outcome};
use crate::inputs::Prepared;
use crate::show;

/// Candidate widths of every point.
const WIDTHS: [u8; 6] = [2, 3, 4, 5, 6, 7];

pub(in crate::commands) async fn execute(arguments: &DispatchArguments, output: Output) -> Outcome {
    let folder = tempfile::tempdir()?;
    let prepared = prepared(arguments.trials)?;
    let mut local = Local::open(folder.path())?;
    let mut client = local.client().await?;
    for _ in 0..arguments.workers {
        local.add_worker(Box::new(EmptyExecutor), worker::options(1));
    }
    let before = peak_memory_bytes();
    let (watch, cpu) = (Stopwatch::start(), clock::cpu_seconds());
    let summary = client.submit(&prepared).await?.summary;
    let submitted = watch.seconds();
    let last = watch::follow(&mut client, &summary.id).await?;
    let (wall, cpu) = (watch.seconds(), clock::cpu_seconds().zip(cpu).map(|(end, start)| end - start));
    watch::verdict(&mut client, &last).await?;
    drop(client);
    local.close().await?;
    let trials = last.settled as f64;
    let stored = ["journal", "store"].map(|part| bytes_below(&folder.path().join(part)));
    let store_bytes: u64 = stored.iter().sum();
    let memory =
        peak_memory_bytes().zip(before).map(|(peak, before)| peak.saturating_sub(before) as f64 / trials);
    let micros = |seconds: f64| seconds / trials * 1e6;
    match output {
        Output::Json => show::json(&json!({
            "trials": last.settled,
            "workers": arguments.workers,
            "wall_seconds": wall,
            "submit_seconds": submitted,
            "trials_per_second": trials / wall,
            "wall_us_per_trial": micros(wall),
            "cpu_us_per_trial": cpu.map(micros),
            "store_bytes_per_trial": store_bytes as f64 / trials,
            "memory_bytes_per_trial": memory,
        })),
        Output::Text => {
            let cpu = cpu.map_or("unknown".to_owned(), |cpu| {
                format!("{:.1} us a trial, of the whole process", micros(cpu))
            });
            show::data(&show::fields(&[
                (
                    "trials",
                    format!("{} by {} workers that evaluate nothing", last.settled, arguments.workers),
                ),
                (
                    "wall",
                    format!("{wall:.2} s, {:.1} us a trial, {:.0} trials/s", micros(wall), trials / wall),
                ),
                ("cpu", cpu),
                ("submit", format!("{submitted:.2} s")),
                ("store", format!("{:.0} bytes a trial, journal and index", store_bytes as f64 / trials)),
                (
                    "memory",
                    memory.map_or("unknown".to_owned(), |bytes| {
                        format!("{bytes:.0} bytes a trial at most, of the whole process")
                    }),
                ),
            ]))
        }
    }
}

/// A plan of about `trials` trials whose artifacts are empty.
fn prepared(trials: u32) -> Result<Prepared, Failure> {
    let layers = (trials as usize).div_ceil(2 * WIDTHS.len());
    let input = Input { shape: Shape(vec![1]), mean: vec![0.0], std: vec![1.0] };
    let mut graph = Graph::new("bench", input);
    let mut last = INPUT.to_owned();
    for layer in 0..layers {
        let op = Op::Linear(Linear { out_features: 1, bias: false });
        last = graph.push(format!("dense_{layer}"), op, &[&last]);
    }
    let bits = WIDTHS.iter().map(|width| Bits::new(*width)).collect::<Result<Vec<_>, _>>()?;
    let empty = Digest::of(b"");
    let part = DataPart { digest: empty, images: 1 };
    let single = (0..graph.points()?.len() as u32).map(PointIndex).collect();
    let plan = Plan {
        format: PLAN_FORMAT,
        name: "bench".to_owned(),
        numerics: Numerics::Float,
        model: empty,
        points: graph.points()?,
        graph,
        data: DataParts { calibration: part, selection: part, report: part, training: None },
        transforms: Vec::new(),
        guard: Guard { data: empty, images: ImageRange { start: 0, len: 1 }, drop_max_ppm: 0 },
        candidates: Candidates::with_default_rules(bits.clone(), bits, Bits::new(8)?),
        evaluation: EvaluationMode::default(),
        requirements: Vec::new(),
        stages: vec![StagePlan::Prepare, StagePlan::singles(single)],
    };
    let artifacts = BTreeMap::from([(empty, Arc::new(Vec::new()))]);
    Ok(Prepared { plan, sources: Sources::new(), priority: 0, artifacts })
}

/// The most memory that this process has had at a time.
fn peak_memory_bytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

fn bytes_below(folder: &std::path::Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => bytes_below(&entry.path()),
            Ok(metadata) => metadata.len(),
            Err(_) => 0,
        })
        .sum()
}
