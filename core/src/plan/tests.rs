use super::*;
use crate::autoqkeras::Goal;
use crate::graph::Op;
use crate::graph::tests::small;

const FILE: &str = "
version: 1
name: test
numerics: float
model: { checkpoint: model.safetensors }
data: { dataset: fashion_mnist, calibration: 10, selection: 20, report: 5 }
quantization:
  weights: { bits: [2, 4] }
  activations: { bits: [4] }
  baseline: 8
stages:
  - sensitivity: { single: SINGLE }
";

fn inputs() -> Inputs {
    let part = |text: &str, images| DataPart { digest: Digest::of(text.as_bytes()), images };
    let data = DataParts {
        calibration: part("c", 10),
        selection: part("s", 20),
        report: part("r", 5),
        training: None,
    };
    Inputs { model: Digest::of(b"model"), graph: small(), data, placement: Placement::standard().clone() }
}

fn plan(single: &str) -> Result<Plan, SpecError> {
    let spec = ExperimentSpec::parse(&FILE.replace("SINGLE", single)).unwrap();
    Plan::new(&spec, inputs())
}

#[test]
fn preparation_comes_first_and_all_means_every_point() {
    let plan = plan("all").unwrap();

    let single = (0..5).map(PointIndex).collect();
    assert_eq!(plan.stages, [StagePlan::Prepare, StagePlan::singles(single)]);
    assert_eq!(plan.prepare().images, ImageRange { start: 0, len: 10 });
    assert_eq!(plan.context(Digest::of(b"x")).images.len, 20);
}

#[test]
fn patterns_choose_points_and_one_that_matches_none_is_a_mistake() {
    let chosen = plan("['*.weight']").unwrap();
    assert_eq!(chosen.stages[1], StagePlan::singles(vec![PointIndex(1), PointIndex(3)]));

    let error = plan("['*.weight', 'conv9.*', 'x']").unwrap_err();
    let paths: Vec<&str> = error.mistakes.iter().map(|mistake| mistake.path.as_str()).collect();
    assert_eq!(paths, ["stages[0].sensitivity.single[1]", "stages[0].sensitivity.single[2]"]);
}

#[test]
fn a_second_sensitivity_stage_is_a_mistake() {
    let error = plan("all }\n  - sensitivity: { single: ['*.weight']").unwrap_err();

    let line =
        "stages[1].sensitivity: there is a sensitivity stage already; join the lists of points of both";
    assert_eq!(error.to_string(), line);
}

#[test]
fn stages_that_stand_where_they_cannot_are_mistakes() {
    let search = "search: { constraints: { size_kib: 1 } }";
    for (stages, mistake) in [
        (
            "all }\n  - verify: { top: 1",
            "stages[1].verify: there is nothing to verify; put a `search` before it",
        ),
        (
            "all }\n  - SEARCH\n  - verify: { top: 1 }\n  - SEARCH\n  - verify: { top: 1",
            "stages[3].search: nothing may be measured after the report images were looked at; put `verify` last",
        ),
        (
            "all, multi: { configs: 5, points: [6, 9] }",
            "stages[0].sensitivity.multi.points: subsets of 6 to 9 of 5 points; make the smallest number smaller",
        ),
    ] {
        let error = plan(&stages.replace("SEARCH", search)).unwrap_err().to_string();
        assert!(error.starts_with(mistake), "{error}");
    }
}

#[test]
fn report_images_are_needed_only_where_something_is_verified() {
    let sweep = plan("all").unwrap();
    let verified = plan("all }\n  - search: { constraints: { size_kib: 1 } }\n  - verify: { top: 1").unwrap();

    let report = sweep.data.report.digest;
    assert!(!sweep.artifacts().contains(&report));
    assert!(verified.artifacts().contains(&report));
    assert_eq!(verified.report_context(Digest::of(b"x")).data, report);
}

#[test]
fn points_left_out_of_pairs_are_left_out_of_subsets_unless_the_file_says_otherwise() {
    let quantile = |text: &str| match plan(text).unwrap().stages.remove(1) {
        StagePlan::Sensitivity { subsets: Some(subsets), .. } => subsets.quantile_ppm,
        other => panic!("{other:?}"),
    };

    let below = "all, pairwise: { below_quantile: 0.5 }, multi: { configs: 9, points: [2, 3]";
    assert_eq!(quantile(&format!("{below} }}")), Some(500_000));
    assert_eq!(quantile(&format!("{below}, below_quantile: 0.75 }}")), Some(750_000));
    assert_eq!(quantile("all, multi: { configs: 9, points: [2, 3] }"), None);
}

#[test]
fn the_id_follows_from_the_content() {
    let (a, b, c) = (plan("all").unwrap(), plan("all").unwrap(), plan("['*.weight']").unwrap());

    assert_eq!(a.id(), b.id());
    assert_ne!(a.id(), c.id());
    assert!(a.id().0.starts_with("test-"));
}

#[test]
fn a_plan_survives_its_document_and_other_documents_are_refused() {
    let plan = plan("all").unwrap();
    let document = plan.to_document();
    assert_eq!(Plan::from_document(&document).unwrap(), plan);

    let text = String::from_utf8(document).unwrap();
    for found in [OLDEST_PLAN_FORMAT - 1, PLAN_FORMAT + 1] {
        let other = text.replacen("\"format\":4", &format!("\"format\":{found}"), 1);
        let error = Plan::from_document(other.as_bytes()).unwrap_err();
        assert_eq!(error, PlanError::Format { found });
        assert!(
            error.to_string().contains(&format!("format {found}, this program reads formats 4 to 5")),
            "{error}"
        );
    }
    let unknown = text.replacen("\"format\":4", "\"format\":4,\"color\":3", 1);
    assert!(matches!(Plan::from_document(unknown.as_bytes()), Err(PlanError::Malformed(_))));
    let point = text.replacen("\"single\":[0", "\"single\":[99", 1);
    let error = PlanError::UnknownPoint { point: 99, points: 5 };
    assert_eq!(Plan::from_document(point.as_bytes()), Err(error));
    for images in [0, u64::MAX] {
        let other = text.replacen("\"images\":20}", &format!("\"images\":{images}}}"), 1);
        assert_eq!(Plan::from_document(other.as_bytes()), Err(PlanError::Images { images }));
    }
    for part in ["calibration", "report"] {
        let mut other = plan.clone();
        let images = if part == "report" { &mut other.data.report } else { &mut other.data.calibration };
        images.images = 1 << 50;
        assert_eq!(Plan::from_document(&other.to_document()), Err(PlanError::Images { images: 1 << 50 }));
    }
    let edge = text.replacen("\"inputs\":[\"relu\"]", "\"inputs\":[\"nowhere\"]", 1);
    assert!(matches!(Plan::from_document(edge.as_bytes()), Err(PlanError::Graph(_))));
    for end in (0..text.len()).step_by(97) {
        assert!(Plan::from_document(&text.as_bytes()[..end]).is_err());
    }
}

#[test]
fn a_plan_that_cuts_its_images_into_too_many_parts_is_refused() {
    let plan = plan("all").unwrap();
    for (selection, report, is_allowed) in
        [(PARTS_MAX, PARTS_MAX, true), (PARTS_MAX + 1, 5, false), (20, PARTS_MAX + 1, false)]
    {
        let mut other = plan.clone();
        other.evaluation = EvaluationMode::Full { part_images: Some(1) };
        (other.data.selection.images, other.data.report.images) = (selection, report);

        let read = Plan::from_document(&other.to_document());

        let refused = Err(PlanError::Parts { parts: PARTS_MAX + 1 });
        assert_eq!(read, if is_allowed { Ok(other) } else { refused });
    }
}

/// A chain of so many operators, with a point on each.
fn chain(nodes: usize) -> Plan {
    let mut plan = plan("['*.weight']").unwrap();
    let point = plan.points.pop().unwrap();
    (plan.points, plan.graph.nodes) = (Vec::new(), Vec::new());
    let mut before = INPUT.to_owned();
    for number in 0..nodes {
        let node = plan.graph.push(format!("relu{number}"), Op::Relu, &[&before]);
        let name = format!("{node}.output");
        plan.points.push(Point { name, tensors: vec![node.clone()], node: node.clone(), ..point.clone() });
        before = node;
    }
    plan
}

/// Reading the second one took minutes when each point's operator was looked for among all of them.
#[test]
fn a_plan_larger_than_any_network_is_refused_and_the_largest_is_read() {
    let largest = chain(NODES_MAX);
    assert_eq!(Plan::from_document(&largest.to_document()).unwrap(), largest);

    let larger = chain(55_000);

    let refused = PlanError::Size { nodes: 55_000, points: 55_000 };
    assert_eq!(Plan::from_document(&larger.to_document()), Err(refused));
    let mut crowded = chain(2);
    crowded.points = vec![crowded.points[0].clone(); NODES_MAX + 1];
    let refused = PlanError::Size { nodes: 2, points: NODES_MAX + 1 };
    assert_eq!(Plan::from_document(&crowded.to_document()), Err(refused));
    let mut elsewhere = chain(2);
    elsewhere.points[1].tensors.push("nowhere".to_owned());
    assert!(matches!(Plan::from_document(&elsewhere.to_document()), Err(PlanError::UnknownNode { .. })));
}

const SEARCH: &str = "
version: 1
name: test
model: { checkpoint: model.safetensors }
data: { dataset: fashion_mnist, training: 30, selection: 20, report: 5 }
stages:
  - autoqkeras:
      quantization_config: { kernel: { \"quantized_bits(4,0,1)\": 4 } }
      limit: { Conv2D: [4] }
      max_trials: 2
      training: { epochs: 1 }
";

#[test]
fn what_trains_is_not_prepared_and_keeps_the_graph_as_it_is() {
    let spec = ExperimentSpec::parse(SEARCH).unwrap();
    let training = DataPart { digest: Digest::of(b"t"), images: 30 };
    let data = DataParts { training: Some(training), ..inputs().data };

    let plan = Plan::new(&spec, Inputs { data, ..inputs() }).unwrap();

    assert!(matches!(plan.stages.as_slice(), [StagePlan::AutoQKeras(_)]), "{:?}", plan.stages);
    assert_eq!((plan.graph.clone(), plan.points.len()), (inputs().graph, 0));
    let parts = [plan.model, data.selection.digest, data.report.digest, training.digest];
    assert_eq!(plan.artifacts(), parts);
    assert_eq!(Plan::from_document(&plan.to_document()).unwrap(), plan);
}

#[test]
fn what_trains_by_the_word_of_a_device_is_prepared_for_it_and_keeps_its_batch_norms() {
    let goal =
        "\n      goal: { type: measured, params: { cost: latency_us, probe: integer, on: { board: pi5 } } }";
    let text = SEARCH.replace("autoqkeras:", &format!("autoqkeras:{goal}"));
    let spec =
        ExperimentSpec::parse(&text.replace("selection: 20", "calibration: 10, selection: 20")).unwrap();
    let training = DataPart { digest: Digest::of(b"t"), images: 30 };
    let data = DataParts { training: Some(training), ..inputs().data };

    let plan = Plan::new(&spec, Inputs { data, ..inputs() }).unwrap();

    assert!(matches!(plan.stages.as_slice(), [StagePlan::Prepare, StagePlan::AutoQKeras(_)]));
    assert_eq!(plan.graph, inputs().graph, "trials train the batch norm");
    let prepare = plan.prepare();
    assert_eq!(prepare.transforms, [Transform::FoldBatchNorm]);
    assert!(prepare.points.iter().all(|point| point.node != "bn") && !prepare.points.is_empty());
    assert_eq!(prepare.candidates.weight_bits, [Bits::new(4).unwrap()]);
    assert!(plan.artifacts().contains(&data.calibration.digest));
    // Training asks for nothing, measuring for the device.
    assert_eq!(plan.requires(1), &Requirements::NONE);
    let [own, measuring] = plan.all_required(1).try_into().unwrap();
    assert!(own.is_none() && measuring.exclusive && measuring.labels["board"] == "pi5");
    assert_eq!(plan.all_required(0), [Requirements::NONE]);
    assert_eq!(Plan::from_document(&plan.to_document()).unwrap(), plan);

    let mut endless = plan;
    let StagePlan::AutoQKeras(search) = &mut endless.stages[1] else { panic!("a search") };
    let Goal::Measured(goal) = &mut search.goal else { panic!("a device") };
    goal.repetitions = 1_000;
    let refused = PlanError::Networks { configs: 0, repetitions: 1_000 };
    assert_eq!(Plan::from_document(&endless.to_document()), Err(refused));
}

/// Stores have such plans, and their experiments' ids are these bytes.
#[test]
fn searches_that_train_keep_the_bytes_and_ids_that_they_had_before_devices_said_sizes() {
    let spec = ExperimentSpec::parse(SEARCH).unwrap();
    let training = DataPart { digest: Digest::of(b"t"), images: 30 };
    let data = DataParts { training: Some(training), ..inputs().data };

    let plan = Plan::new(&spec, Inputs { data, ..inputs() }).unwrap();

    assert_eq!(plan.id().0, "test-96df6571");
}

#[test]
fn what_trains_stands_alone() {
    let search = &SEARCH[SEARCH.find("  - autoqkeras").unwrap()..];

    let mixed = ExperimentSpec::parse(&format!("{}{search}", FILE.replace("SINGLE", "all"))).unwrap_err();
    let line = "stages: a search that trains (`autoqkeras`) has no other stages beside it; put it into an experiment of its own";
    assert_eq!(mixed.to_string(), line);

    let spec = ExperimentSpec::parse(&format!("{SEARCH}{search}")).unwrap();
    let error = Plan::new(&spec, inputs()).unwrap_err().to_string();
    assert!(error.starts_with("stages[1].autoqkeras: there is a search that trains already; "), "{error}");
}

#[test]
fn devices_stand_before_the_searches_that_are_limited_on_them_and_once() {
    let probe = "probe: { probe: onnxruntime, on: { board: pi5 } }";
    let search =
        "search: { constraints: { latency_ms: { max: 3.0, probe: onnxruntime, on: { board: pi5 } } } }";
    let stages = |lines: &[&str]| plan(&format!("all }}\n  - {}", lines.join("\n  - ")));
    let without_last = |text: &str| text.strip_suffix(" }").unwrap().to_owned();

    let good = stages(&[probe, &without_last(search)]).unwrap();
    let backwards = stages(&[search, &without_last(probe)]).unwrap_err();
    let twice = stages(&[probe, &without_last(probe)]).unwrap_err();

    let requirements = good.requires(2);
    assert!(requirements.exclusive && requirements.probe.as_ref().unwrap().name == "onnxruntime");
    assert_eq!(requirements.labels["board"], "pi5");
    assert_eq!(good.requires(3), &Requirements::NONE);
    assert_eq!(
        backwards.to_string(),
        "stages[1].search: nothing before it measures onnxruntime on board=pi5; put `- probe: { probe: onnxruntime, on: { \
         board: pi5 } }` before it"
    );
    assert_eq!(
        twice.to_string(),
        "stages[2].probe: this device is measured already; keep one of both; `on: { board: pi5 }` tells devices of several \
         workers apart"
    );
    assert_eq!(Plan::from_document(&good.to_document()), Ok(good));
}

#[test]
fn plans_without_devices_keep_the_bytes_and_ids_that_they_had_before_there_were_any() {
    let plan = plan("all }\n  - search: { constraints: { size_kib: 50% }, trials: 3, round: 2").unwrap();

    let text = String::from_utf8(plan.to_document()).unwrap();
    let stage = r#"{"search":{"method":"exact","predictor":"auto","objective":"top1_drop","limits":[{"cost":"size_kib","at_most":{"of_baseline_ppm":500000}}],"trials":3,"round":2}}"#;

    assert!(text.contains(stage), "{text}");
    assert_eq!(plan.id().0, "test-2eafa16c");
}

#[test]
fn a_plan_names_the_oldest_format_that_has_what_it_says() {
    let found = "all }\n  - search: { constraints: { size_kib: 50% } }\n  - verify: { top: 1";
    let (usual, other) =
        (format!("{found}, device_difference: 0.5"), format!("{found}, device_difference: 1"));
    let probe = "all }\n  - probe: { probe: integer";
    let limited =
        format!("{probe} }}\n  - search: {{ constraints: {{ latency_ms: {{ max: 1, probe: integer }} }}");
    let files = [("all", 4), (found, 4), (&usual, 4), (&other, 5), (probe, 5), (&limited, 5)];
    for (file, format) in files {
        let plan = plan(file).unwrap();
        assert_eq!(plan.format, format, "{file}");
        assert_eq!(Plan::from_document(&plan.to_document()).as_ref(), Ok(&plan), "{file}");
        let other = 9 - format;

        let misnamed = Plan::from_document(&Plan { format: other, ..plan }.to_document());

        assert_eq!(misnamed, Err(PlanError::WrongFormat { found: other, due: format }), "{file}");
    }
}

#[test]
fn a_plan_that_measures_a_device_without_end_is_refused() {
    let mut plan = plan("all }\n  - probe: { probe: integer").unwrap();
    let StagePlan::Probe(probe) = &mut plan.stages[2] else { panic!("a probe") };
    probe.repetitions = 1_000_000;

    let error = Plan::from_document(&plan.to_document()).unwrap_err();

    assert_eq!(error, PlanError::Networks { configs: 16, repetitions: 1_000_000 });
}
