//! The protocol and the order of measuring, over an adapter that only plays.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::{self, BufRead, Cursor, Read};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex};

use bitloop_core::probe::Patience;
use serde_json::{Value, json};

use super::environment::Surroundings;
use super::measure::Measuring;
use super::memory::Memory;
use super::serve::{requests, serve};
use super::*;
use bitloop_quant::export::CodeTypes;

/// What a network of the fake takes, by its name.
const CONFIG_NS: f64 = 2e6;
const BASELINE_NS: f64 = 1e6;

/// Plays a device: networks are names, and times are made up.
#[derive(Clone, Default)]
struct Fake {
    /// What was done.
    seen: Rc<RefCell<Vec<String>>>,
    /// What its counter says after each reading; none if it has no counter.
    joules: Option<Rc<RefCell<Vec<Option<f64>>>>>,
    /// Waited for before anything is timed.
    gate: Option<Arc<Mutex<Receiver<()>>>>,
    is_elsewhere: bool,
}

struct Executed {
    name: String,
    fake: Fake,
    inferences: u64,
}

struct Counter(Rc<RefCell<Vec<Option<f64>>>>);

impl Meter for Counter {
    fn source(&self) -> String {
        "made up".to_owned()
    }

    fn stretch_ns(&self) -> f64 {
        10.0 * CONFIG_NS
    }

    fn joules(&mut self) -> Option<f64> {
        self.0.borrow_mut().remove(0)
    }
}

impl Adapter for Fake {
    fn hello(&self) -> Hello {
        Hello {
            protocol: PROTOCOL,
            class: "made up".to_owned(),
            device: None,
            runtime: "fake 1".to_owned(),
            onnx: false,
            codes: CodeTypes::default(),
            abilities: vec![Ability::Layers],
        }
    }

    fn load(
        &mut self,
        network: &Network,
        setting: InferenceSetting,
    ) -> Result<Box<dyn Loaded>, AdapterError> {
        let name = network.prepared.clone().unwrap_or_default().display().to_string();
        self.seen.borrow_mut().push(format!("load {name} {}x{}", setting.batch, setting.threads));
        match name.as_str() {
            "impossible" => Err(AdapterError::Failed("it has a layer of jelly".to_owned())),
            "busy" => Err(AdapterError::Unable("the device is away".to_owned())),
            "panics" => panic!("the layer of jelly"),
            _ => Ok(Box::new(Executed { name, fake: self.clone(), inferences: 0 })),
        }
    }

    fn meter(&self) -> Option<Box<dyn Meter>> {
        self.joules.clone().map(|joules| Box::new(Counter(joules)) as Box<dyn Meter>)
    }

    fn is_in_this_process(&self) -> bool {
        !self.is_elsewhere
    }
}

impl Loaded for Executed {
    fn time(&mut self, inferences: u64) -> Result<f64, AdapterError> {
        if let Some(gate) = &self.fake.gate {
            gate.lock().unwrap().recv().unwrap();
        }
        self.fake.seen.borrow_mut().push(format!("time {} {inferences}", self.name));
        let one = match self.name.as_str() {
            "baseline" => BASELINE_NS,
            "stopped" => 0.0,
            "lost" => f64::NAN,
            _ => CONFIG_NS,
        };
        Ok(one * inferences as f64)
    }

    fn layers(&mut self, inferences: usize) -> Result<Vec<BTreeMap<String, f64>>, AdapterError> {
        let inference = |_| {
            // Slow at first, as caches are.
            let warming = if self.inferences < 30 { 1e6 } else { 0.0 };
            self.inferences += 1;
            let conv = if self.name == "backwards" { -1.0 } else { 1.5e6 + warming };
            BTreeMap::from([("conv".to_owned(), conv), ("dense".to_owned(), 3e5), (String::new(), 2e5)])
        };
        Ok((0..inferences).map(inference).collect())
    }

    fn infer(&mut self, inputs: &Inputs<'_>) -> Result<(), AdapterError> {
        self.fake.seen.borrow_mut().push(format!("infer {} {:?}", inputs.count, inputs.nodes));
        Ok(())
    }
}

/// What the fake says to some lines; the second value is whether the end of the input was seen.
fn spoken(fake: &Fake, lines: &[String]) -> (Vec<Value>, bool) {
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    let (told, ended) = sync_channel(1);
    let requests = requests(Cursor::new(text.into_bytes()), move || told.send(()).unwrap());
    let mut output = Vec::new();
    let mut fake = fake.clone();
    let missing = PathBuf::from("/missing");
    let surroundings = Surroundings { proc: missing.clone(), sys: missing, mhz: || None };
    let memory = Memory::new(surroundings.process());
    serve(Measuring { adapter: &mut fake, surroundings, memory }, &requests, &mut output).unwrap();
    let output = String::from_utf8(output).unwrap();
    let said = output.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    (said, ended.recv().is_ok())
}

/// The answers alone.
fn answers(fake: &Fake, lines: &[String]) -> Vec<Answer> {
    let (said, _) = spoken(fake, lines);
    said[1..].iter().map(|value| serde_json::from_value(value.clone()).unwrap()).collect()
}

fn network(name: &str) -> Network {
    Network { prepared: Some(PathBuf::from(name)), onnx: None, bits: BTreeMap::new() }
}

fn time(id: u64, config: &str) -> Request {
    let (config, baseline) = (Box::new(network(config)), Box::new(network("baseline")));
    let setting = InferenceSetting { batch: 2, threads: 3 };
    Request { id, ask: Ask::Time { config, baseline, setting, patience: Patience::default() } }
}

fn layers(id: u64, config: &str) -> Request {
    let setting = InferenceSetting { batch: 1, threads: 1 };
    Request {
        id,
        ask: Ask::Layers { config: Box::new(network(config)), setting, patience: Patience::default() },
    }
}

fn line(request: &Request) -> String {
    serde_json::to_string(request).unwrap()
}

fn reason(answer: &Answer) -> (&'static str, &str) {
    match &answer.reply {
        Reply::Failed { reason } => ("failed", reason),
        Reply::Unable { reason } => ("unable", reason),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_probe_says_what_it_is_and_answers_by_number() {
    let lines = [line(&time(7, "config")), String::new(), line(&time(3, "config"))];

    let (said, has_ended) = spoken(&Fake::default(), &lines);

    assert!(has_ended);
    assert_eq!(
        said[0],
        json!({ "protocol": 1, "class": "made up", "runtime": "fake 1", "onnx": false, "abilities": ["layers"] })
    );
    assert_eq!(said[1..].iter().map(|answer| answer["id"].as_u64()).collect::<Vec<_>>(), [Some(7), Some(3)]);
    let rounds = said[1]["reply"]["timed"]["rounds"].as_array().unwrap();
    assert_eq!(rounds.len(), Patience::default().rounds_min);
    assert!(rounds.iter().all(|round| *round == json!([CONFIG_NS, BASELINE_NS])));
}

#[test]
fn both_sides_have_turns_in_an_order_that_alternates() {
    let fake = Fake { is_elsewhere: true, ..Fake::default() };

    answers(&fake, &[line(&time(1, "config"))]);

    let seen = fake.seen.borrow();
    assert_eq!(seen[..2], ["load config 2x3", "load baseline 2x3"]);
    // One inference before each turn is for the caches.
    let timed: Vec<&String> = seen[2..].iter().filter(|turn| !turn.ends_with(" 1")).collect();
    assert!(seen.len() - 2 >= 2 * timed.len());
    // What comes before is the warm-up.
    let turns = 2 * Patience::default().rounds_min;
    assert!(timed.len() > turns);
    for rounds in timed[timed.len() - turns..].chunks_exact(4) {
        let sides: Vec<&str> = rounds.iter().filter_map(|turn| turn.split(' ').nth(1)).collect();
        assert_eq!(sides, ["config", "baseline", "baseline", "config"]);
    }
}

#[test]
fn memory_is_that_of_the_config_alone() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("status"), "VmHWM: 5000 kB\nVmRSS: 1000 kB\n").unwrap();
    std::fs::write(folder.path().join("clear_refs"), "").unwrap();
    let surroundings = Surroundings { proc: "/missing".into(), sys: "/missing".into(), mhz: || None };
    let peak = |is_elsewhere| {
        let mut fake = Fake { is_elsewhere, ..Fake::default() };
        let adapter = fake.seen.clone();
        let memory = Memory::new(folder.path().to_path_buf());
        let mut measuring = Measuring { adapter: &mut fake, surroundings: surroundings.clone(), memory };
        let Ok(Reply::Timed(timed)) = measuring.reply(&time(1, "config").ask) else { panic!("it is timed") };
        let first: Vec<String> = adapter.borrow()[..3].to_vec();
        (timed.peak_memory_bytes, first)
    };

    let (here, order) = peak(false);
    let (elsewhere, _) = peak(true);

    assert_eq!((here, elsewhere), (Some(4000 * 1024), None));
    assert_eq!(order, ["load config 2x3", "time config 3", "load baseline 2x3"]);
}

#[test]
fn energy_is_counted_in_stretches_that_alternate() {
    // The counter before and after each stretch: config, baseline, baseline, config, and so on.
    let readings = [[0.0, 20.0], [20.0, 30.0], [30.0, 40.0], [40.0, 62.0]];
    let readings: Vec<Option<f64>> = readings.iter().chain(&readings).flatten().copied().map(Some).collect();
    let joules = Rc::new(RefCell::new(readings));
    let fake = Fake { joules: Some(joules.clone()), is_elsewhere: true, ..Fake::default() };

    let answers = answers(&fake, &[line(&time(1, "config"))]);

    let Reply::Timed(timed) = &answers[0].reply else { panic!("{answers:?}") };
    let energy = timed.energy.clone().unwrap();
    assert_eq!(energy.source, "made up");
    // Ten inferences of the config and twenty of the baseline last as long as a stretch has to.
    assert_eq!(energy.joules, [[2.0, 0.5], [2.2, 0.5], [2.0, 0.5], [2.2, 0.5]]);
    assert!(joules.borrow().is_empty());
    let seen = fake.seen.borrow();
    let stretches = &seen[seen.len() - 4..];
    assert_eq!(stretches, ["time config 10", "time baseline 20", "time baseline 20", "time config 10"]);
}

#[test]
fn a_counter_that_fails_costs_the_energy_alone() {
    let joules = Rc::new(RefCell::new(vec![Some(0.0), None]));
    let fake = Fake { joules: Some(joules), ..Fake::default() };

    let answers = answers(&fake, &[line(&time(1, "config"))]);

    let Reply::Timed(timed) = &answers[0].reply else { panic!("{answers:?}") };
    assert!(timed.energy.is_none() && !timed.rounds.is_empty());
}

#[test]
fn layers_are_told_beside_whole_inferences_and_without_the_warm_up() {
    let answers = answers(&Fake::default(), &[line(&layers(1, "config"))]);

    let Reply::Layers { nodes, other, whole, .. } = &answers[0].reply else { panic!("{answers:?}") };
    assert_eq!(nodes.keys().collect::<Vec<_>>(), ["conv", "dense"]);
    assert!(whole.len() >= Patience::default().rounds_min && other.len() == whole.len());
    assert!(
        nodes["conv"].len() == whole.len() && nodes["conv"].iter().all(|time| (time - 1.5e6).abs() < 1.0)
    );
    assert!(whole.iter().all(|time| *time == CONFIG_NS));
}

#[test]
fn what_is_inferred_is_handed_on() {
    let fake = Fake::default();
    let request = Request {
        id: 1,
        ask: Ask::Infer {
            config: Box::new(network("config")),
            images: "in".into(),
            count: 5,
            nodes: vec!["conv".to_owned()],
            output: "out".into(),
        },
    };

    let answers = answers(&fake, &[line(&request)]);

    assert_eq!(answers[0].reply, Reply::Inferred);
    assert_eq!(*fake.seen.borrow(), ["load config 1x1", "infer 5 [\"conv\"]"]);
}

#[test]
fn networks_that_cannot_be_measured_cost_their_own_request() {
    let lines =
        ["impossible", "busy", "panics", "stopped", "lost", "config"].map(|name| line(&time(1, name)));

    let answers = answers(&Fake::default(), &lines);

    assert_eq!(reason(&answers[0]), ("failed", "it has a layer of jelly"));
    assert_eq!(reason(&answers[1]), ("unable", "the device is away"));
    assert_eq!(reason(&answers[2]), ("failed", "the adapter panicked: the layer of jelly"));
    assert_eq!(reason(&answers[3]).0, "unable");
    assert!(reason(&answers[4]).1.contains("took NaN ns"), "{:?}", answers[4]);
    assert!(matches!(answers[5].reply, Reply::Timed(_)), "the probe goes on");
}

#[test]
fn times_of_layers_that_cannot_be_are_refused() {
    let answers = answers(&Fake::default(), &[line(&layers(1, "backwards"))]);

    assert_eq!(reason(&answers[0]), ("unable", "the device's clock says that node `conv` took -1 ns"));
}

#[test]
fn lines_that_make_no_sense_are_answered_and_forgotten() {
    let wrong = |change: &dyn Fn(&mut Value)| {
        let mut request = serde_json::to_value(time(9, "config")).unwrap();
        change(&mut request);
        request.to_string()
    };
    let lines = [
        "hello".to_owned(),
        "{\"id\": 4}".to_owned(),
        wrong(&|request| request["ask"] = json!({ "dance": {} })),
        wrong(&|request| request["more"] = json!(1)),
        wrong(&|request| request["ask"]["time"]["setting"]["batch"] = json!(0)),
        wrong(&|request| request["ask"]["time"]["setting"]["threads"] = json!(u32::MAX)),
        wrong(&|request| request["ask"]["time"]["patience"]["at_most_ns"] = json!(-1.0)),
        wrong(&|request| request["ask"]["time"]["patience"]["rounds_min"] = json!(0)),
        line(&time(10, "config")),
    ];
    let fake = Fake::default();

    let answers = answers(&fake, &lines);

    assert_eq!(answers.iter().map(|answer| answer.id).collect::<Vec<_>>(), [0, 4, 9, 9, 9, 9, 9, 9, 10]);
    assert!(answers[..8].iter().all(|answer| reason(answer).0 == "failed"));
    assert!(reason(&answers[2]).1.contains("dance") && reason(&answers[4]).1.contains("batch of 0"));
    assert!(matches!(answers[8].reply, Reply::Timed(_)));
    assert_eq!(fake.seen.borrow().iter().filter(|seen| seen.starts_with("load config")).count(), 1);
}

#[test]
fn the_end_of_the_input_is_seen_in_the_middle_of_a_measurement() {
    // The fake times nothing before the end was seen; then as often as it likes.
    let (open, gate) = sync_channel(1);
    let fake = Fake { gate: Some(Arc::new(Mutex::new(gate))), ..Fake::default() };
    let input = Cursor::new(format!("{}\n", line(&time(1, "config"))).into_bytes());

    let requests = requests(input, move || while open.send(()).is_ok() {});
    let mut output = Vec::new();
    {
        let mut fake = fake;
        let surroundings = Surroundings { proc: "/missing".into(), sys: "/missing".into(), mhz: || None };
        let memory = Memory::new("/missing".into());
        serve(Measuring { adapter: &mut fake, surroundings, memory }, &requests, &mut output).unwrap();
    }

    assert_eq!(output.iter().filter(|byte| **byte == b'\n').count(), 2);
}

/// An input that fails.
struct Broken;

impl Read for Broken {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::Error::other("the pipe burst"))
    }
}

#[test]
fn an_input_that_never_makes_sense_again_is_at_its_end() {
    let ends = |input: Box<dyn BufRead + Send>| {
        let (told, ended) = sync_channel(1);
        let lines = requests(input, move || told.send(()).unwrap());
        ended.recv().unwrap();
        lines.iter().count()
    };

    assert_eq!(ends(Box::new(io::BufReader::new(Broken))), 0);
    let endless = io::BufReader::new(io::repeat(b'x'));
    assert_eq!(ends(Box::new(endless)), 0, "a line without an end");
    let crowd = Cursor::new("{}\n".repeat(1000).into_bytes());
    assert_eq!(ends(Box::new(crowd)), 16, "as many requests as may wait");
}

#[test]
fn an_output_that_nobody_reads_ends_the_probe() {
    let requests = requests(Cursor::new(Vec::new()), || {});
    let mut full = [0; 4];
    let surroundings = Surroundings { proc: "/missing".into(), sys: "/missing".into(), mhz: || None };
    let memory = Memory::new("/missing".into());
    let mut fake = Fake::default();

    let served = serve(Measuring { adapter: &mut fake, surroundings, memory }, &requests, &mut &mut full[..]);

    assert!(served.is_err());
}

#[cfg(target_os = "linux")]
#[test]
fn times_on_other_processors_are_of_another_class_of_device() {
    // A thread of its own, so that the tests beside it are not moved.
    let classes = std::thread::spawn(|| {
        let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
        let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap();
        let first = super::affinity::read(list).unwrap()[0].to_string();
        let class = |options: &str| open(&format!("integer{options}")).unwrap().hello().device_class();
        let plain = class("");
        (plain, class(&format!("=cpus={first}")), class(&format!("=cpus={first}-{first}")), first)
    });

    let (plain, pinned, otherwise, first) = classes.join().unwrap();

    assert!(!plain.contains("cpus"), "{plain}");
    assert_eq!(pinned, format!("{plain} cpus {first}"), "as it was given");
    assert_ne!(otherwise, pinned);
}

#[test]
fn probes_are_opened_by_name() {
    let error = |text: &str| open(text).map(|_| ()).unwrap_err().to_string();

    assert!(error("sundial").starts_with("there is no probe `sundial` in this program; there are: integer"));
    assert_eq!(error("integer=speed=9"), "the probe `integer` has no option `speed`");
    assert!(error("integer=cpus=all").contains("the option `cpus` cannot be `all`"));
    let names: Vec<&str> = ADAPTERS.iter().map(|adapter| adapter.name).collect();
    assert!(names.contains(&"integer"));
}
