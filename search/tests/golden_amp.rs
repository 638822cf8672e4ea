//! Automatic mixed precision against recorded searches of the tool (`../shared/reference/aimet/net_*/amp.json`): the
//! logic of the search, with the recorded scores as what measuring gives.

#[path = "common/reference.rs"]
mod reference;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bitloop_core::bits::Bits;
use bitloop_core::graph::PointKind;
use bitloop_search::amp::{
    Amp, Candidate, End, Entry, Mixed, Order, Problem, Rule, Skipped, Walk, group_bit_operations,
};
use bitloop_search::cost::Cost;
use bitloop_search::set_search::{FLOAT, Group, Score, SetSearch, Step};
use bitloop_search::space::{Space, Variable};
use serde_json::Value;

use reference::{array, folder, json, number};

/// Of relative bit operations.
const COST_TOLERANCE: f64 = 1e-9;

fn text(value: &Value) -> &str {
    value.as_str().expect("the field is a text")
}

/// The folders with recorded searches.
fn folders() -> Vec<PathBuf> {
    let Some(root) = folder("aimet") else { return Vec::new() };
    let entries = root.read_dir().expect("the folder can be listed");
    let folders = entries.map(|entry| entry.expect("the folder can be listed").path());
    let mut folders: Vec<PathBuf> = folders.filter(|folder| folder.join("amp.json").exists()).collect();
    folders.sort();
    assert!(!folders.is_empty(), "{} has no amp.json", root.display());
    folders
}

/// `((8, <..int: 1>), (4, <..int: 1>))` to 8 and 4.
fn candidate(text: &str) -> Candidate {
    assert_eq!(text.matches(".int: 1>").count(), 2, "{text} is not of integers");
    let widths: Vec<u8> = text.split(['(', ',']).filter_map(|part| part.trim().parse().ok()).collect();
    let [activation, weight] = widths[..] else { panic!("{text} has not two widths") };
    let [activation, weight] = [activation, weight].map(|bits| Bits::new(bits).expect("a width"));
    Candidate { activation, weight }
}

/// `(act, param) bits: 16/16, 16/8 (all int)` to the pairs.
fn candidates(text: &str) -> Vec<Candidate> {
    let pairs = text.split([' ', ',']).filter_map(|part| part.split_once('/'));
    let bits = |text: &str| text.parse().ok().and_then(|bits| Bits::new(bits).ok()).expect("a width");
    pairs
        .map(|(activation, weight)| Candidate { activation: bits(activation), weight: bits(weight) })
        .collect()
}

/// The quantizers of a recorded group, such as `output relu1` and `weight dw`.
fn slots(group: &Value) -> Vec<(String, String)> {
    array(group).iter().map(|slot| (text(&slot[0]).to_owned(), text(&slot[1]).to_owned())).collect()
}

/// The recorded network: nodes in order, with the MACs of each.
struct Network {
    nodes: Vec<String>,
    macs: BTreeMap<String, f64>,
}

impl Network {
    fn read(folder: &Path) -> Self {
        let json = json(&folder.join("net.json"));
        let structure = &json["structure"];
        let shape = |value: &Value| array(value).iter().map(number).collect::<Vec<f64>>();
        let mut shapes = BTreeMap::from([("input".to_owned(), shape(&structure["input"]))]);
        let (mut nodes, mut macs) = (Vec::new(), BTreeMap::new());
        for node in array(&structure["nodes"]) {
            let name = text(&node["name"]).to_owned();
            let input = shapes[text(&node["inputs"][0])].clone();
            let (output, count) = infer(node, &input);
            macs.insert(name.clone(), count);
            shapes.insert(name.clone(), output);
            nodes.push(name);
        }
        Self { nodes, macs }
    }

    /// The node of a slot; the input's quantizer is called after the layer that reads it.
    fn node(&self, (kind, name): &(String, String)) -> usize {
        let node = name.split("_input_quantizer").next().filter(|_| kind == "input").unwrap_or(name);
        self.nodes.iter().position(|known| known == node).expect("the slot is of a node")
    }
}

/// The shape that a node gives, and its MACs.
fn infer(node: &Value, input: &[f64]) -> (Vec<f64>, f64) {
    let field = |name: &str| number(&node[name]);
    match text(&node["op"]) {
        "Conv2d" => {
            let kernel = field("kernel");
            let side = |size: f64| ((size + 2.0 * field("padding") - kernel) / field("stride")).floor() + 1.0;
            let output = vec![field("out_channels"), side(input[1]), side(input[2])];
            let per_output = field("in_channels") / field("groups") * kernel * kernel;
            let macs = output.iter().product::<f64>() * per_output;
            (output, macs)
        }
        "Linear" => (vec![field("out_features")], field("in_features") * field("out_features")),
        "AdaptiveAvgPool2d" => (vec![input[0], field("output"), field("output")], 0.0),
        "Flatten" => (vec![input.iter().product()], 0.0),
        "BatchNorm2d" | "ReLU" | "ReLU6" | "Add" => (input.to_vec(), 0.0),
        other => panic!("a node is {other}, which this test does not know"),
    }
}

/// A search on recorded scores.
struct Replay {
    mixed: Mixed,
    /// The scores of all that was looked at, in order.
    calls: Vec<f64>,
    measured: usize,
    rounds: usize,
}

/// A recorded search.
struct Recorded<'a> {
    run: &'a Value,
    context: String,
    groups: Vec<Vec<(String, String)>>,
    slots: Vec<(String, String)>,
    problem: Problem,
    cost: Cost,
}

impl<'a> Recorded<'a> {
    fn new(folder: &Path, network: &Network, run: &'a Value) -> Self {
        let mut groups: Vec<Vec<(String, String)>> = Vec::new();
        for entry in array(&run["accuracy_list"]) {
            let group = slots(&entry[0]);
            if !groups.contains(&group) {
                groups.push(group);
            }
        }
        // By the first node that a group touches; a weight stands before the output of its layer.
        groups.sort_by_key(|group| {
            let places = group.iter().map(|slot| (network.node(slot), slot.0 == "output"));
            places.min().expect("a group has quantizers")
        });
        let candidates = candidates(text(&run["candidates"]));
        let slots: Vec<(String, String)> = groups.iter().flatten().cloned().collect();
        let space = Space { variables: slots.iter().map(|slot| variable(slot, &candidates)).collect() };
        let place = |slot| slots.iter().position(|known| known == slot).expect("it is one of them");
        let bound = groups.iter().map(|group| Group {
            name: group.iter().map(|(kind, name)| format!("{kind}:{name}")).collect::<Vec<_>>().join("+"),
            variables: group.iter().map(place).collect(),
        });
        let bound: Vec<Group> = bound.collect();
        let macs = slots.iter().map(|slot| if slot.0 == "weight" { network.macs[&slot.1] } else { 0.0 });
        let macs: Vec<f64> = macs.collect();
        let alone = candidates[0].activation;
        let cost = group_bit_operations(&space, &bound, &macs, alone);
        let problem =
            Problem::new(space, bound, candidates, cost.clone()).expect("every group has every candidate");
        let context = format!(
            "{} {} {}",
            folder.file_name().expect("a folder").display(),
            text(&run["search"]),
            run["allowed_drop"]
        );
        Self { run, context, groups, slots, problem, cost }
    }

    fn rule(&self) -> Rule {
        let walk = match text(&self.run["search"]) {
            "Binary" => Walk::Binary,
            "BruteForce" => Walk::BruteForce,
            "Interpolation" => Walk::Interpolation,
            other => panic!("{} searches by {other}, which this test does not know", self.context),
        };
        let order = if self.run["phase1_optimize"] == true { Order::ByCandidate } else { Order::ByGroup };
        Rule { walk, allowed_drop: self.run["allowed_drop"].as_f64(), order }
    }

    fn entry(&self, group: &Value, bits: &Value) -> (usize, usize) {
        let group = slots(group);
        let group = self.groups.iter().position(|known| *known == group).expect("the group is known");
        let bits = candidate(text(bits));
        let at =
            self.problem.candidates().iter().position(|known| *known == bits).expect("it is a candidate");
        (group, at)
    }

    fn levels(&self, base: &[u8], group: usize, candidate: usize) -> Vec<u8> {
        let mut levels = base.to_vec();
        let Candidate { activation, weight } = self.problem.candidates()[candidate];
        for variable in &self.problem.groups()[group].variables {
            let Variable { kind, widths, .. } = &self.problem.space().variables[*variable];
            let wanted = if *kind == PointKind::Weight { weight } else { activation };
            let level = widths.iter().position(|width| *width == wanted).expect("a width of the variable");
            levels[*variable] = level as u8;
        }
        levels
    }

    /// The recorded scores: float and uniform assignments from the calls, groups alone from the list, points from the
    /// curve.
    fn scores(&self) -> BTreeMap<Vec<u8>, f64> {
        let float = vec![FLOAT; self.slots.len()];
        let calls: Vec<f64> = array(&self.run["eval_calls"]).iter().map(number).collect();
        let mut scores = BTreeMap::from([(float.clone(), calls[0])]);
        let uniform =
            |at| (0..self.groups.len()).fold(float.clone(), |levels, group| self.levels(&levels, group, at));
        let uniforms: Vec<Vec<u8>> = (0..self.problem.candidates().len()).map(uniform).collect();
        scores.extend(uniforms.iter().cloned().zip(calls[1..].iter().copied()));
        let mut levels = uniforms[0].clone();
        let curve: BTreeMap<(usize, usize), f64> = array(&self.run["pareto_list"])
            .iter()
            .map(|p| (self.entry(&p[2], &p[3]), number(&p[1])))
            .collect();
        for entry in array(&self.run["accuracy_list"]) {
            let (group, at) = self.entry(&entry[0], &entry[1]);
            scores.insert(self.levels(&float, group, at), number(&entry[2]));
            levels = self.levels(&levels, group, at);
            if let Some(score) = curve.get(&(group, at)) {
                scores.insert(levels.clone(), *score);
            }
        }
        scores
    }

    /// Runs a search on the recorded scores.
    fn replay(&self, rule: Rule) -> Replay {
        let scores = self.scores();
        let known: RefCell<BTreeMap<Vec<u8>, f64>> = RefCell::default();
        let mut rounds = 0;
        let mut search = Amp::new(self.problem.clone(), rule);
        loop {
            match search.next(&|levels| known.borrow().get(levels).copied().map(Score::of)) {
                Step::Done(mixed) => {
                    let calls = search.looked_at().iter().map(|levels| scores[levels]).collect();
                    return Replay { mixed, calls, measured: known.into_inner().len(), rounds };
                }
                Step::Measure(sets) => {
                    rounds += 1;
                    for levels in sets {
                        let score = scores.get(&levels).copied();
                        let score = score.unwrap_or_else(|| panic!("{}: not recorded", self.context));
                        assert_eq!(known.borrow_mut().insert(levels, score), None, "asked for twice");
                    }
                }
            }
        }
    }

    fn check(&self) {
        let Replay { mixed, mut calls, measured, rounds } = self.replay(self.rule());
        self.check_array(&mixed);
        self.check_curve(&mixed);
        let levels = mixed.levels.as_ref().expect("there was an allowed drop");
        self.check_bits(levels);
        // The tool evaluates its result once more.
        let info = |name: &str| {
            let entry = array(&self.run["info"]).iter().find(|entry| entry[0] == name);
            number(&entry.expect("it was recorded")[1])
        };
        let last = mixed.chosen.and_then(|point| mixed.curve[point].score).expect("a point was chosen");
        assert_eq!(last.value, info("final score"), "{}", self.context);
        assert_eq!(mixed.float.value, info("fp32 accuray"), "{}", self.context);
        assert_eq!(mixed.probed.len() as f64, info("phase2 eval count"), "{}", self.context);
        calls.push(last.value);
        let recorded: Vec<f64> = array(&self.run["eval_calls"]).iter().map(number).collect();
        assert_eq!(calls, recorded, "{}: evaluations", self.context);
        eprintln!(
            "{}: {} evaluations recorded, {measured} here, as each is measured once, in {rounds} rounds",
            self.context,
            recorded.len(),
        );
    }

    fn check_array(&self, mixed: &Mixed) {
        let recorded = array(&self.run["accuracy_list"]);
        assert_eq!(mixed.list.len(), recorded.len(), "{}", self.context);
        for (ours, theirs) in mixed.list.iter().zip(recorded) {
            let entry = self.entry(&theirs[0], &theirs[1]);
            assert_eq!((ours.group, ours.candidate), entry, "{}: {theirs}", self.context);
            assert_eq!(Some(ours.score.value), theirs[2].as_f64(), "{}: {theirs}", self.context);
            assert_eq!(
                self.reduction_of_the_tool(mixed, ours),
                number(&theirs[3]),
                "{}: {theirs}",
                self.context
            );
        }
    }

    /// The reduction as the tool has it in its list, though not in its curve: where a group holds the quantizer of a
    /// model's input, it counts what each quantizer would save by itself.
    fn reduction_of_the_tool(&self, mixed: &Mixed, entry: &Entry) -> f64 {
        if self.groups[entry.group].iter().all(|slot| slot.0 != "input") {
            return entry.reduction;
        }
        let nothing = vec![FLOAT; self.slots.len()];
        let groups = 0..self.groups.len();
        let baseline = groups.fold(nothing, |levels, group| self.levels(&levels, group, mixed.baseline));
        let lowered = self.levels(&baseline, entry.group, entry.candidate);
        let alone = self.problem.groups()[entry.group].variables.iter().map(|variable| {
            let mut levels = baseline.clone();
            levels[*variable] = lowered[*variable];
            self.cost.value(self.problem.space(), &baseline) - self.cost.value(self.problem.space(), &levels)
        });
        alone.sum()
    }

    fn check_curve(&self, mixed: &Mixed) {
        let mut probed = mixed.probed.clone();
        probed.sort_unstable();
        let recorded = array(&self.run["pareto_list"]);
        assert_eq!(probed.len(), recorded.len(), "{}: points", self.context);
        for (place, theirs) in probed.into_iter().zip(recorded) {
            let ours = &mixed.curve[place];
            let entry = &mixed.list[ours.entry];
            assert_eq!(
                (entry.group, entry.candidate),
                self.entry(&theirs[2], &theirs[3]),
                "{}",
                self.context
            );
            assert_eq!(ours.score.map(|score| score.value), theirs[1].as_f64(), "{}", self.context);
            let difference = (ours.relative_cost - number(&theirs[0])).abs();
            assert!(difference <= COST_TOLERANCE, "{}: {theirs}, not {}", self.context, ours.relative_cost);
        }
    }

    fn check_bits(&self, levels: &[u8]) {
        let bits = &self.run["final_bits"];
        for (place, (kind, name)) in self.slots.iter().enumerate() {
            let ours = self.problem.space().width(place, levels).get();
            let theirs = match kind.as_str() {
                "weight" => &bits[name]["param"]["weight"],
                "output" => &bits[name]["output"][0],
                "input" => &bits[name.split("_input_quantizer").next().expect("a name")]["input"][0],
                other => panic!("a slot is {other}, which this test does not know"),
            };
            assert_eq!(theirs.as_u64(), Some(u64::from(ours)), "{}: {kind} {name}", self.context);
        }
    }
}

/// A quantizer as a variable with the widths that candidates have for it.
fn variable((kind, name): &(String, String), candidates: &[Candidate]) -> Variable {
    let is_weight = kind == "weight";
    let widths =
        candidates.iter().map(|candidate| if is_weight { candidate.weight } else { candidate.activation });
    let mut widths: Vec<Bits> = widths.collect();
    widths.sort_unstable();
    widths.dedup();
    let kind = if is_weight { PointKind::Weight } else { PointKind::Activation };
    Variable { name: name.clone(), kind, widths }
}

#[test]
fn golden_searches_take_the_recorded_way() {
    for folder in folders() {
        let network = Network::read(&folder);
        let json = json(&folder.join("amp.json"));
        let runs = array(&json["runs"]);
        assert!(!runs.is_empty());
        for run in runs {
            Recorded::new(&folder, &network, run).check();
        }
    }
}

#[test]
fn golden_the_whole_curve_takes_three_rounds() {
    for folder in folders() {
        let network = Network::read(&folder);
        let json = json(&folder.join("amp.json"));
        let recorded: Vec<Recorded<'_>> =
            array(&json["runs"]).iter().map(|run| Recorded::new(&folder, &network, run)).collect();
        for one in &recorded {
            // What any search of the same problem measured.
            let same = recorded.iter().filter(|other| other.problem == one.problem);
            let scores = same.flat_map(|other| other.scores()).collect();
            check_whole_curve(one, &scores);
        }
    }
}

/// The whole curve; a point that no search measured has the score of the point before it.
fn check_whole_curve(recorded: &Recorded<'_>, scores: &BTreeMap<Vec<u8>, f64>) {
    let Replay { mixed: published, measured, rounds: published_rounds, .. } =
        recorded.replay(recorded.rule());
    let known: RefCell<BTreeMap<Vec<u8>, f64>> = RefCell::default();
    let rule = Rule { walk: Walk::Complete, ..recorded.rule() };
    let mut search = Amp::new(recorded.problem.clone(), rule);
    let (mut rounds, mut made_up) = (0, 0);
    let mixed = loop {
        match search.next(&|levels| known.borrow().get(levels).copied().map(Score::of)) {
            Step::Done(mixed) => break mixed,
            Step::Measure(sets) => {
                rounds += 1;
                let mut before = f64::NAN;
                for levels in sets {
                    let score = scores.get(&levels).copied();
                    made_up += usize::from(score.is_none());
                    before = score.unwrap_or(before);
                    known.borrow_mut().insert(levels, before);
                }
            }
        }
    };
    assert_eq!((mixed.end, rounds), (End::Walked, 3), "{}", recorded.context);
    assert!(rounds < published_rounds);
    let costs: Vec<f64> = mixed.curve.iter().map(|point| point.relative_cost).collect();
    assert!(costs.windows(2).all(|pair| pair[1] <= pair[0]), "{}: the cost rises", recorded.context);
    assert_eq!(mixed.curve.len() + mixed.skipped.len(), mixed.list.len());
    let raises = mixed.skipped.iter().filter(|skipped| matches!(skipped, Skipped::Raises(_))).count();
    let rises = mixed.curve.iter().filter(|point| point.rises).count();
    let chosen = |mixed: &Mixed| mixed.chosen.map(|point| mixed.curve[point].relative_cost);
    eprintln!(
        "{}: {} evaluations in {rounds} rounds (published {} in {published_rounds}), {made_up} scores made up; {} points, \
         {raises} entries raise a width again, {} change nothing, the score rises at {rises}; cost {:?}, published {:?}",
        recorded.context,
        known.borrow().len(),
        measured,
        mixed.curve.len(),
        mixed.skipped.len() - raises,
        chosen(&mixed),
        chosen(&published),
    );
    assert!(chosen(&mixed) <= chosen(&published), "{}", recorded.context);
}
