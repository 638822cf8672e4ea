use bitloop_core::graph::{Conv2d, Graph, Input, Linear, Op, Padding, Pool, Shape};
use bitloop_core::plan::StagePlan;
use bitloop_core::rng::rng;

use super::*;
use crate::network::{QuantizerDictionary, QuantizerEntry};
use crate::tests::plan;

fn conv(groups: usize) -> Op {
    Op::Conv2d(Conv2d {
        out_channels: 4,
        kernel: [3, 3],
        stride: [1, 1],
        padding: Padding::all(1),
        dilation: [1, 1],
        groups,
        bias: true,
    })
}

fn image() -> Graph {
    Graph::new("small", Input { shape: Shape::image(4, 8, 8), mean: vec![0.0; 4], std: vec![1.0; 4] })
}

fn dense() -> Op {
    Op::Linear(Linear { out_features: 5, bias: false })
}

/// A chain whose only tensors between layers are an activation's.
fn chain() -> Graph {
    let mut graph = image();
    graph.push("conv".to_owned(), conv(1), &["input"]);
    graph.push("act".to_owned(), Op::Relu, &["conv"]);
    graph.push("flat".to_owned(), Op::Flatten, &["act"]);
    graph.push("dense".to_owned(), dense(), &["flat"]);
    graph
}

/// With a sum of tensors, a product of them, pooling of both kinds and a depthwise convolution.
fn branched() -> Graph {
    let pool = Pool { kernel: [2, 2], stride: [2, 2], padding: Padding::default(), count_padding: false };
    let mut graph = image();
    graph.push("first".to_owned(), conv(1), &["input"]);
    graph.push("act".to_owned(), Op::Relu, &["first"]);
    graph.push("depthwise".to_owned(), conv(4), &["act"]);
    graph.push("sum".to_owned(), Op::Add, &["depthwise", "act"]);
    graph.push("gate".to_owned(), Op::Sigmoid, &["sum"]);
    graph.push("gated".to_owned(), Op::Mul, &["sum", "gate"]);
    graph.push("pool".to_owned(), Op::MaxPool(pool), &["gated"]);
    graph.push("last".to_owned(), conv(1), &["pool"]);
    graph.push("drop".to_owned(), Op::Dropout { rate: 0.5 }, &["last"]);
    graph.push("mean".to_owned(), Op::GlobalAveragePool, &["drop"]);
    graph.push("flat".to_owned(), Op::Flatten, &["mean"]);
    graph.push("dense".to_owned(), dense(), &["flat"]);
    graph
}

/// A plan that searches all of the points that have names for which `keep` holds.
fn planned(graph: Graph, keep: impl Fn(&str) -> bool) -> Plan {
    let mut points = graph.points().unwrap();
    points.retain(|point| keep(&point.name));
    let all = (0..points.len() as u32).map(PointIndex).collect();
    let stages = vec![StagePlan::Prepare, StagePlan::singles(all)];
    Plan { graph, points, stages, ..plan(1) }
}

fn config(plan: &Plan, widths: &[(&str, u8)]) -> BitConfig {
    let point = |name: &str| plan.points.iter().position(|point| point.name == name).unwrap();
    let change =
        |(name, bits): &(&str, u8)| (PointIndex(point(name) as u32), Choice::Bits(Bits::new(*bits).unwrap()));
    BitConfig::against(Choice::Bits(plan.candidates.baseline), widths.iter().map(change))
}

/// Configs with a width for every point, drawn from the candidates and the baseline's.
fn drawn(plan: &Plan, count: u64) -> Vec<BitConfig> {
    let baseline = plan.candidates.baseline;
    let config = |seed| {
        let mut rng = rng(seed, 0);
        let choices = (0..).map(PointIndex).zip(&plan.points).map(|(index, point)| {
            let mut widths = plan.candidates.bits(point.kind).to_vec();
            widths.push(baseline);
            let drawn = rng.next_u64() % widths.len() as u64;
            (index, Choice::Bits(widths[drawn as usize]))
        });
        BitConfig::against(Choice::Bits(baseline), choices.collect::<Vec<_>>())
    };
    (0..count).map(config).collect()
}

#[test]
fn a_configs_energy_is_the_models_for_a_network_with_its_quantizers() {
    let plan = planned(chain(), |name| {
        ["input.output", "conv.weight", "act.output", "dense.weight"].contains(&name)
    });
    let energy = ModelledEnergy::new(&plan, 1).unwrap();
    let kernel = |text: &str| {
        QuantizerEntry::Fields(BTreeMap::from([("kernel_quantizer".to_owned(), Some(text.to_owned()))]))
    };
    let entries = BTreeMap::from([
        ("conv".to_owned(), kernel("quantized_bits(3,0,1)")),
        ("act".to_owned(), QuantizerEntry::Activation("quantized_relu(6)".to_owned())),
        ("dense".to_owned(), kernel("quantized_bits(2,0,1)")),
    ]);
    let network = Network::of_graph(&plan.graph).unwrap();
    let network = network.quantized(&QuantizerDictionary { entries }, 4, Grammar::Strict).unwrap();
    let source = "quantized_bits(4,keep_negative=False)".parse().unwrap();
    let goal =
        EnergyGoal { source_quantizers: vec![SourceNumber::Quantizer(source)], ..EnergyGoal::default() };

    let joules = energy.joules(&config(
        &plan,
        &[("input.output", 4), ("conv.weight", 3), ("act.output", 6), ("dense.weight", 2)],
    ));

    let expected = trial_profile(&goal, &network, &ValueCounts::new(), false).unwrap().energy_sum;
    // The model's sum is cut off to whole picojoules.
    let over = joules / JOULES_PER_PICOJOULE - expected as f64;
    assert!((-1e-3..1.0).contains(&over), "{joules} {expected}");
    assert!(joules < energy.joules(&BitConfig::baseline()));
}

#[test]
fn prices_of_layers_by_themselves_come_to_that_of_the_whole_network() {
    // With all points, and with a sum and a pool that take what is on no grid.
    for missing in [&[] as &[&str], &["depthwise.output", "sum.output", "last.output"]] {
        let plan = planned(branched(), |name| !missing.contains(&name));
        let energy = ModelledEnergy::new(&plan, 1).unwrap();
        for config in drawn(&plan, 20) {
            let choice = |point| config.choice(point, energy.baseline);

            let whole = energy.profile(&energy.network, &choice).unwrap();

            let sum: f64 = whole.layers.iter().map(|layer| layer.total).sum();
            let joules = energy.joules(&config);
            assert!((joules / JOULES_PER_PICOJOULE / sum - 1.0).abs() < 1e-9, "{joules} {sum} {config:?}");
        }
    }
}

#[test]
fn solvers_take_the_same_energy_in_the_costs_unit() {
    let plan = planned(branched(), |_| true);
    let (energy, searched) = (ModelledEnergy::new(&plan, 1).unwrap(), Searched::new(&plan));

    let cost = energy.cost(&searched, ("energy_mj".to_owned(), 1e-3));

    assert!(energy.layers.iter().any(|layer| layer.points.len() == 2));
    assert!(energy.layers.iter().all(|layer| layer.points.len() <= 2), "{:?}", energy.layers);
    for config in drawn(&plan, 20) {
        let (value, joules) =
            (cost.value(&searched.space, &searched.levels(&config).unwrap()), energy.joules(&config));
        assert!((value / (joules * 1e3) - 1.0).abs() < 1e-9, "{value} {joules}");
    }
}

#[test]
fn a_layer_that_many_points_decide_counts_with_what_each_changes_by_itself() {
    let plan = planned(branched(), |name| !["depthwise.output", "sum.output"].contains(&name));
    let (energy, searched) = (ModelledEnergy::new(&plan, 1).unwrap(), Searched::new(&plan));
    assert!(energy.layers.iter().any(|layer| layer.points.len() > 2));

    let cost = energy.cost(&searched, ("energy_mj".to_owned(), 1e-3));

    for (index, _) in plan.points.iter().enumerate() {
        let point = [(PointIndex(index as u32), Choice::Bits(Bits::new(4).unwrap()))];
        let config = BitConfig::against(energy.baseline, point);
        let levels = searched.levels(&config).unwrap();
        assert!((cost.value(&searched.space, &levels) / (energy.joules(&config) * 1e3) - 1.0).abs() < 1e-9);
    }
}

#[test]
fn an_inference_of_several_images_takes_as_often_the_energy() {
    let plan = planned(chain(), |_| true);

    let [one, four] =
        [1, 4].map(|images| ModelledEnergy::new(&plan, images).unwrap().joules(&BitConfig::baseline()));

    assert!((four / one - 4.0).abs() < 1e-12);
}

#[test]
fn what_has_no_quantizer_is_priced_as_floats() {
    let codes = planned(chain(), |_| true);
    let floats = planned(chain(), |name| name.ends_with(".output"));

    let [codes, floats] =
        [codes, floats].map(|plan| ModelledEnergy::new(&plan, 1).unwrap().joules(&BitConfig::baseline()));

    assert!(floats > 1.2 * codes, "{floats} {codes}");
}

#[test]
fn a_long_chain_without_points_on_what_is_passed_on_is_refused() {
    let mut graph = image();
    let mut last = graph.push("flat".to_owned(), Op::Flatten, &["input"]);
    for layer in 0..400 {
        last = graph.push(format!("dense_{layer}"), dense(), &[&last]);
    }
    let [with, without] = [".output", "none"]
        .map(|also| planned(graph.clone(), |name| name.ends_with(".weight") || name.ends_with(also)));

    assert!(ModelledEnergy::new(&with, 1).is_ok());
    assert!(matches!(ModelledEnergy::new(&without, 1), Err(ModelledError::FewPoints)));
}
