use bitloop_core::graph::PointKind;

use super::*;
use crate::tables::{Counts, Indicators, LimpqLayers};

const LAYERS: &str = r#"{ "model": "m", "input": [1, 3, 8, 8], "fixed_8bit": ["first"], "layers": [
  { "index": 0, "name": "first", "c_in": 3, "c_out": 4, "k": 3, "stride": 2, "out_h": 4, "searchable": false,
    "params": 100, "spatial_upstream": 20, "macs_upstream": 2000, "spatial_true": 16, "macs_true": 1600 },
  { "index": 1, "name": "a", "c_in": 4, "c_out": 4, "k": 1, "stride": 1, "out_h": 4, "searchable": true,
    "params": 300, "spatial_upstream": 16, "macs_upstream": 4800, "spatial_true": 16, "macs_true": 4800 },
  { "index": 2, "name": "b", "c_in": 4, "c_out": 4, "k": 1, "stride": 1, "out_h": 4, "searchable": true,
    "params": 700, "spatial_upstream": 16, "macs_upstream": 9000, "spatial_true": 16, "macs_true": 9000 } ] }"#;

const INDICATORS: &str = r#"{ "model": "m", "bit_candidates": [4, 3, 2], "layers": [
  { "name": "a", "weight": { "4": 0.25, "3": 0.5, "2": 2.0 }, "act": { "4": 0.5, "3": 0.75, "2": 1.0 } },
  { "name": "b", "weight": { "4": 0.125, "3": 0.25, "2": 0.75 }, "act": { "4": 0.25, "3": 0.375, "2": 1.5 } } ] }"#;

fn search() -> IndicatorSearch {
    IndicatorSearch {
        bits: Vec::new(),
        mean_bits: None,
        compression: None,
        alpha: 2.0,
        counts: Counts::Published,
        wanted: Wanted::default(),
    }
}

fn question(search: &IndicatorSearch) -> Result<Question, OfflineError> {
    of_indicators(&Indicators::parse(INDICATORS).unwrap(), &LimpqLayers::parse(LAYERS).unwrap(), search)
}

fn limited(name: &str, at_most: f64) -> IndicatorSearch {
    let wanted = Wanted { limits: vec![(name.to_owned(), at_most)], ..Wanted::default() };
    IndicatorSearch { wanted, ..search() }
}

/// The least objective within the limits, by trying everything.
fn brute(question: &Question) -> f64 {
    let problem = &question.problem;
    let mut best = f64::INFINITY;
    for index in 0..3_u32.pow(4) {
        let levels: Vec<u8> = (0..4).map(|at| (index / 3_u32.pow(at) % 3) as u8).collect();
        let keeps =
            problem.limits.iter().all(|limit| limit.cost.value(&problem.space, &levels) <= limit.at_most);
        if keeps {
            best = best.min(problem.objective.value(&problem.space, &levels));
        }
    }
    best
}

#[test]
fn limits_on_mean_widths_and_compression_are_those_of_the_layers() {
    let search = IndicatorSearch { mean_bits: Some([3.0, 2.5]), compression: Some(8.0), ..search() };
    let question = question(&search).unwrap();
    let limits: Vec<(&str, f64)> =
        question.problem.limits.iter().map(|limit| (limit.cost.name.as_str(), limit.at_most)).collect();

    assert_eq!(limits, [("bops", 13_800.0 * 7.5), ("size_bits", 1_100.0 * 32.0 / 8.0)]);
    let found = answer(&question, &SolveOptions::new(Method::Exact)).unwrap();
    assert_eq!(found.best[0].objective, brute(&question));
    assert_eq!(
        found.best[0].costs.iter().map(|cost| cost.cost.as_str()).collect::<Vec<_>>(),
        ["bops", "size_bits", "bops_g", "size_mib"]
    );
}

#[test]
fn true_counts_take_the_fixed_layers_into_limit_and_cost() {
    let at = |counts| {
        let search = IndicatorSearch { mean_bits: Some([3.0, 3.0]), counts, ..search() };
        let question = question(&search).unwrap();
        let limit = &question.problem.limits[0];
        (limit.at_most, limit.cost.value(&question.problem.space, &[2; 4]))
    };

    assert_eq!(at(Counts::Published), (13_800.0 * 9.0, 13_800.0 * 16.0));
    assert_eq!(at(Counts::True), (13_800.0 * 9.0 + 1_600.0 * 64.0, 13_800.0 * 16.0 + 1_600.0 * 64.0));
}

#[test]
fn every_method_keeps_the_limits_and_only_the_exact_one_proves() {
    let question = question(&limited("bops", 110_000.0)).unwrap();
    let by = |method| answer(&question, &SolveOptions::new(method)).unwrap();

    let exact = by(Method::Exact);
    assert_eq!(exact.best[0].objective, brute(&question));
    assert!(exact.proof.unwrap().proved);
    for method in [Method::Greedy, Method::Nsga2] {
        let found = by(method);
        assert!(found.best[0].costs[0].value <= 110_000.0);
        assert!(found.best[0].objective >= exact.best[0].objective);
        assert_eq!((found.proof, found.method), (None, method.as_str()));
    }
}

#[test]
fn more_bit_configs_prices_and_a_front_come_from_the_exact_solver() {
    let mut search = limited("bops", 110_000.0);
    search.wanted.front = Some("size_bits".to_owned());
    let question = question(&search).unwrap();
    let options = SolveOptions { best: 5, prices: true, ..SolveOptions::new(Method::Exact) };

    let found = answer(&question, &options).unwrap();

    assert_eq!(found.best.len(), 5);
    assert!(
        found
            .best
            .windows(2)
            .all(|pair| pair[0].objective <= pair[1].objective && pair[0].bits != pair[1].bits)
    );
    assert_eq!(found.shadow_prices.len(), 1);
    let price = &found.shadow_prices[0];
    assert!(price.looser.unwrap().objective <= 0.0 && price.tighter.unwrap().objective >= 0.0);
    assert!(found.front.len() > 1);
    assert!(
        found
            .front
            .windows(2)
            .all(|pair| pair[0].objective < pair[1].objective && pair[0].cost > pair[1].cost)
    );
    // Every point is the best within its own cost.
    for point in &found.front {
        let mut search = limited("bops", 110_000.0);
        search.wanted.limits.push(("size_bits".to_owned(), point.cost));
        assert_eq!(brute(&self::question(&search).unwrap()), point.objective);
    }

    let front = answer(&question, &SolveOptions::new(Method::Nsga2)).unwrap().front;
    assert!(!front.is_empty() && front.iter().all(|point| !point.proved));
    for (method, wanted) in [(Method::Greedy, 1), (Method::Nsga2, 2)] {
        let options = SolveOptions { best: wanted, ..SolveOptions::new(method) };
        let error = answer(&question, &options).unwrap_err();
        assert!(matches!(error, OfflineError::OnlyExact { .. }), "{error}");
        assert!(!error.is_unanswerable());
    }
}

#[test]
fn limits_that_nothing_keeps_are_answered_with_what_the_costs_can_be() {
    let question = question(&limited("size_bits", 2_000.0)).unwrap();

    let error = answer(&question, &SolveOptions::new(Method::Exact)).unwrap_err();
    assert!(error.is_unanswerable());
    assert!(error.to_string().ends_with("; size_bits can be 2800 to 4800 at the widest"), "{error}");
    for method in [Method::Greedy, Method::Nsga2] {
        let error = answer(&question, &SolveOptions::new(method)).unwrap_err();
        assert!(error.is_unanswerable() && error.to_string().contains(method.as_str()), "{error}");
    }
}

#[test]
fn questions_that_make_no_sense_are_refused() {
    let cases = [
        (limited("size", 1.0), "there is no cost `size`"),
        (limited("peak_activation_kib", 1.0), "needs the whole network"),
        (limited("bops", f64::NAN), "the limit of bops is NaN"),
        (IndicatorSearch { alpha: -1.0, ..search() }, "alpha is -1"),
        (IndicatorSearch { compression: Some(0.0), ..search() }, "the compression is 0"),
        (IndicatorSearch { mean_bits: Some([3.0, f64::INFINITY]), ..search() }, "activations is inf"),
        (
            IndicatorSearch { compression: Some(2.0), ..limited("size_bits", 1.0) },
            "size_bits is limited twice",
        ),
    ];
    for (search, expected) in cases {
        let error = question(&search).err().expect(expected);
        assert!(error.to_string().contains(expected), "{expected}: {error}");
        assert!(!error.is_unanswerable());
    }
}

#[test]
fn a_bit_config_is_written_in_the_order_of_the_points() {
    let bits = BitConfig(vec![("b.weight".to_owned(), 4), ("a \"x\"".to_owned(), 8)]);

    assert_eq!(bits.to_json(), "{\n  \"b.weight\": 4,\n  \"a \\\"x\\\"\": 8\n}\n");
    assert_eq!(bits.to_yaml(), "\"b.weight\": 4\n\"a \\\"x\\\"\": 8\n");
    assert_eq!(serde_json::to_string(&bits).unwrap(), "{\"b.weight\":4,\"a \\\"x\\\"\":8}");
}

#[test]
fn files_of_layers_are_told_apart_by_their_keys() {
    assert!(matches!(LayersFile::parse(LAYERS), Ok(LayersFile::Limpq(_))));
    let pairwise = r#"{ "model": "m", "variables": [], "extra_fixed_params": 0, "layers": [] }"#;
    let file = LayersFile::parse(pairwise).unwrap();
    let LayersFile::PairwiseMpq(table) = &file else { panic!("{file:?}") };
    assert!(table.space(&[PointKind::Weight], &[]).variables.is_empty());
    let plan = crate::tests::plan(2);
    let document =
        serde_json::json!({ "graph": plan.graph, "points": plan.points, "baseline_bits": 8, "trials": 3 });
    assert!(matches!(LayersFile::parse(&document.to_string()), Ok(LayersFile::Network(_))));

    let error = LayersFile::parse("{}").unwrap_err().to_string();
    assert!(error.contains("bitloop check --output json"), "{error}");
    assert!(matches!(LayersFile::parse("NaN"), Err(OfflineError::Layers(_))));
    let damaged = document.to_string().replacen("\"input\"", "\"nowhere\"", 2);
    assert!(matches!(LayersFile::parse(&damaged), Err(OfflineError::Layers(_))));
}

/// Predicts what its form says, give or take a half.
struct Exactly(crate::form::Form, crate::space::Space);

impl crate::predict::Predictor for Exactly {
    fn predict(&self, levels: &[u8]) -> crate::predict::Prediction {
        let value = self.0.value(&self.1, levels);
        crate::predict::Prediction { value, low: value - 0.5, high: value + 0.5 }
    }

    fn form(&self) -> crate::form::Form {
        self.0.clone()
    }

    fn notes(&self) -> &[String] {
        &[]
    }
}

#[test]
fn losses_are_predicted_at_measured_widths_alone_and_the_reader_is_told() {
    let plan = crate::tests::plan(2);
    let network = NetworkFile {
        graph: plan.graph.clone(),
        points: plan.points.clone(),
        baseline_bits: Bits::new(8).unwrap(),
    };
    let layers = LayersFile::Network(Box::new(network));
    let bits = |widths: &[u8]| widths.iter().map(|width| Bits::new(*width).unwrap()).collect::<Vec<_>>();
    let variables = plan.points.iter().map(|point| crate::space::Variable {
        name: point.name.clone(),
        kind: point.kind,
        widths: bits(&[4, 8]),
    });
    let space = crate::space::Space { variables: variables.collect() };
    let mut form = crate::form::Form::constant(0.0, &space);
    form.one = (0..space.variables.len()).map(|at| vec![1.0 + at as f64, 0.0]).collect();
    let metric = crate::measurements::Metric::Top1Drop;
    let measurements = crate::measurements::Measurements { space: space.clone(), metric, rows: Vec::new() };
    let answered = |bits: Vec<Bits>, at_most: f64| {
        let limits = vec![("size_bits".to_owned(), at_most)];
        let search = MeasuredSearch {
            kinds: vec![PointKind::Weight],
            bits,
            counts: Counts::True,
            tables: Vec::new(),
            wanted: Wanted { limits, ..Wanted::default() },
        };
        let objective = Objective::Predicted(Box::new(Exactly(form.clone(), space.clone())));
        let question = of_measurements(&measurements, objective, &layers, &search).unwrap();
        answer(&question, &SolveOptions::new(Method::Exact)).unwrap()
    };

    // Two layers of 16 weights: one goes to 4 bits, the one that harms less.
    let measured = answered(Vec::new(), 16.0 * 12.0);
    let predicted = measured.best[0].predicted_loss.unwrap();
    assert_eq!((predicted.value, predicted.low, predicted.high), (2.0, 1.5, 2.5));
    assert!(measured.notes.is_empty());
    assert!(measured.best[0].costs.iter().any(|cost| cost.cost == "peak_activation_kib"));

    let between = answered(bits(&[6, 4, 8]), 16.0 * 14.0);
    assert_eq!((between.best[0].objective, between.best[0].predicted_loss), (1.0, None));
    assert!(between.notes[0].contains("nobody measured 6 bits"), "{:?}", between.notes);
}

#[test]
fn files_of_measurements_are_told_apart_and_never_mixed() {
    let file = |name: &str, text: &str| DatabaseFile { name: name.to_owned(), text: text.to_owned() };
    let metric = crate::measurements::Metric::Top1Drop;
    let single = file("single.csv", "model,Layer,DeltaAcc\n1,a.act,0.5\n2,a.conv,0.25\n");
    let results = file("results.csv", "format,experiment\n");

    let read = database(std::slice::from_ref(&single), metric).unwrap();
    assert_eq!(read.measurements.rows.len(), 2);
    assert_eq!(published_objective(&read.published.unwrap()), Err(OfflineError::NoInfluence));
    let loss = crate::measurements::Metric::LossIncrease;
    assert_eq!(
        database(std::slice::from_ref(&single), loss),
        Err(OfflineError::MetricNotPublished("loss_increase"))
    );
    assert_eq!(database(&[], metric), Err(OfflineError::NoDatabase));
    let error = database(&[single, results.clone()], metric).unwrap_err();
    assert_eq!(error, OfflineError::ManyDatabases("results.csv".to_owned()));
    let error = database(&[results], metric).unwrap_err();
    assert!(matches!(&error, OfflineError::Results { file, .. } if file == "results.csv"), "{error}");
    let error = database(&[file("report.json", "{")], metric).unwrap_err();
    assert!(error.to_string().starts_with("report.json: "), "{error}");
}

#[test]
fn results_are_known_behind_a_byte_order_mark_and_blanks() {
    let metric = crate::measurements::Metric::Top1Drop;
    let read = |text: String| database(&[DatabaseFile { name: "results".to_owned(), text }], metric);
    let csv = format!(
        "format,stage,changes,kind,baseline_bits,n,top1_drop,top1_drop_low,top1_drop_high\n\
         {},sensitivity,a.weight=4,weight,8,100,0.25,0.125,0.375\n",
        bitloop_core::report::CSV_FORMAT
    );
    let plain = read(csv.clone()).unwrap();
    let row = &plain.measurements.rows[0];
    assert_eq!((row.loss, row.error), (25.0, Some(0.0)));

    assert_eq!(read(format!("\u{feff}{csv}")).unwrap(), plain);
    let own = format!("\n{},", bitloop_core::report::CSV_FORMAT);
    let of_format = |format: u32| csv.replace(&own, &format!("\n{format},"));
    assert_eq!(read(of_format(bitloop_core::report::OLDEST_CSV_FORMAT)).unwrap(), plain);
    let refused = read(of_format(3)).unwrap_err().to_string();
    assert!(refused.contains("format 3, this program reads 5"), "{refused}");

    for before in ["\u{feff}", " \n\t", "\u{feff}\r\n"] {
        let error = read(format!("{before}{{\"format\": 0}}")).unwrap_err();
        let told = matches!(
            &error,
            OfflineError::Results { error: crate::tables::ResultsError::Format { found, .. }, .. } if found == "0"
        );
        assert!(told, "{before:?}: {error}");
    }
}

/// Six points at 4 and 8 bits whose losses add up: each alone, and every set of three.
fn additive_measurements() -> crate::measurements::Measurements {
    let bits = |widths: &[u8]| widths.iter().map(|width| Bits::new(*width).unwrap()).collect::<Vec<_>>();
    let variable = |at: usize| crate::space::Variable {
        name: at.to_string(),
        kind: if at < 2 { PointKind::Weight } else { PointKind::Activation },
        widths: bits(&[4, 8]),
    };
    let space = crate::space::Space { variables: (0..6).map(variable).collect() };
    let row = |set: u32| {
        let changes: Vec<(u32, u8)> = (0..6).filter(|at| set & (1 << at) != 0).map(|at| (at, 0)).collect();
        let loss = changes.iter().map(|(at, _)| f64::from(1 + at * at)).sum();
        crate::measurements::Row { changes, loss, error: None }
    };
    let sets = (1..64_u32).filter(|set| [1, 3].contains(&set.count_ones()));
    let metric = crate::measurements::Metric::LossIncrease;
    crate::measurements::Measurements { space, metric, rows: sets.map(row).collect() }
}

#[test]
fn predictors_are_judged_by_rows_that_they_have_not_seen() {
    let measurements = additive_measurements();
    let options =
        FitOptions { methods: vec![crate::predict::Method::Additive], held_out: 0.25, splits: 3, seed: 5 };

    let report = judge(&measurements, &options).unwrap();

    assert_eq!((report.weights, report.activations, report.metric), (2, 4, "loss_increase"));
    assert_eq!(report.rows.iter().collect::<Vec<_>>(), [(&1, &6), (&3, &20)]);
    assert_eq!(report.held_out_from, Some(3));
    let figures = report.predictors[0].held_out.unwrap();
    assert_eq!(figures.rows, 5);
    assert!(figures.pearson > 0.999_999 && figures.rmse < 1e-6, "{figures:?}");
    assert_eq!(judge(&measurements, &options), Ok(report));
}

#[test]
fn without_rows_of_several_changes_nothing_is_held_out() {
    let mut measurements = additive_measurements();
    measurements.rows.retain(|row| row.changes.len() == 1);
    let options =
        FitOptions { methods: vec![crate::predict::Method::Additive], held_out: 0.25, splits: 1, seed: 1 };

    let report = judge(&measurements, &options).unwrap();
    assert_eq!((report.held_out_from, report.predictors[0].held_out), (None, None));

    for held_out in [0.0, 1.0, f64::NAN] {
        let error = judge(&measurements, &FitOptions { held_out, ..options.clone() }).unwrap_err();
        assert!(matches!(error, OfflineError::Range { .. }), "{error}");
    }
    measurements.rows.clear();
    let error = judge(&measurements, &options).unwrap_err();
    assert!(matches!(error, OfflineError::Fit(_)), "{error}");
}

#[test]
fn what_limits_are_worth_is_said_of_proved_answers_alone() {
    let question = question(&limited("bops", 110_000.0)).unwrap();
    let options = crate::solve::ExactOptions::default();
    let proved = crate::solve::exact(&question.problem, &options).unwrap();
    let cut_off = crate::solve::Solution { bound: proved.bound - 1.0, ..proved.clone() };
    let unpriced = answer(&question, &SolveOptions::new(Method::Exact)).unwrap();
    let priced = |solution| {
        let mut answer = unpriced.clone();
        super::solve::price(&question.problem, solution, &options, &mut answer).unwrap();
        (answer.shadow_prices.len(), answer.notes.len() - unpriced.notes.len())
    };

    assert_eq!(priced(&proved), (1, 0));
    assert_eq!(priced(&cut_off), (0, 1));
}
