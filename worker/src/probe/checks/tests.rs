use serde_json::json;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn millis(number: f64) -> f64 {
    number * 1e6
}

/// Ten rounds of 5 ms and 6 ms, which took a second.
fn good() -> Timed {
    let rounds = vec![[millis(5.0), millis(6.0)]; 10];
    Timed { rounds, peak_memory_bytes: Some(1 << 20), energy: None, environment: Environment::default() }
}

fn with_time(time_ns: f64) -> Timed {
    let mut timed = good();
    timed.rounds[7][1] = time_ns;
    timed
}

fn said(change: impl FnOnce(&mut Timed)) -> String {
    let mut changed = good();
    change(&mut changed);
    timed(&changed, 0, SECOND).expect_err("it is a lie")
}

#[test]
fn times_that_can_be_are_believed() {
    assert_eq!(timed(&good(), 0, SECOND), Ok(()));
    assert_eq!(timed(&good(), 0, Duration::from_millis(110)), Ok(()), "all the time was spent on inferences");
    assert_eq!(timed(&with_time(75.0), 0, SECOND), Ok(()), "an FPGA is as fast");
}

#[test]
fn times_that_no_inference_takes_are_no_times() {
    for wrong in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 0.0, -0.0, -5e6, 5.0, 1e-300] {
        let said = timed(&with_time(wrong), 0, SECOND).expect_err("it is a lie");
        assert!(said.contains("is it nanoseconds?"), "{wrong}: {said}");
    }
}

/// Of networks at 224x224, one image.
const MOBILENET_V2: u64 = 300_774_272;
const RESNET18: u64 = 1_814_073_344;

#[test]
fn other_units_are_found_where_no_device_computes_as_much_in_so_many_nanoseconds() {
    let rounds = |time_ns: f64| Timed { rounds: vec![[time_ns, time_ns]; 10], ..good() };
    let of = |macs: u64, time_ns: f64| timed(&rounds(time_ns), macs, SECOND);
    // 30 ms told in milliseconds; then these, 180 us told in microseconds, and 11 ms of a batch of 64.
    assert_eq!(
        of(MOBILENET_V2, 30.0).unwrap_err(),
        "it says that an inference of 300774272 multiply-adds takes 30 ns, which no device can: is it nanoseconds?"
    );
    for (macs, time_ns) in [(RESNET18, 30.0), (RESNET18, 180.0), (64 * RESNET18, 11_000.0)] {
        assert!(of(macs, time_ns).is_err(), "{macs} in {time_ns} ns");
    }

    // Which a device might do: docs/probes.md says so.
    for (macs, time_ns) in [(MOBILENET_V2, 31.0), (RESNET18, 182.0), (RESNET18, 30_000.0)] {
        assert_eq!(of(macs, time_ns), Ok(()), "{macs} in {time_ns} ns");
    }
    assert_eq!(of(2_569_408, 75.0), Ok(()), "an FPGA is as fast");
    assert!(of(u64::MAX, 1e9).is_err());

    let names = BTreeSet::from(["conv".to_owned()]);
    let whole = Layered { whole: vec![millis(6.0); 5], ..layered(&[("conv", 6.0)], 0.0) };
    assert_eq!(layers(&whole, &names, (RESNET18, SECOND)), Ok(()));
    assert!(
        layers(&whole, &names, (100_000 * RESNET18, SECOND)).unwrap_err().contains("which no device can")
    );
}

#[test]
fn inferences_do_not_take_longer_than_one_waited_for_all_of_them() {
    let said = said(|timed| timed.rounds.iter_mut().flatten().for_each(|time| *time *= 1e3));

    assert_eq!(said, "it says 110.000000 s of inferences within 1.000000 s: is it nanoseconds?");
    assert!(timed(&with_time(f64::MAX), 0, SECOND).is_err());
}

#[test]
fn there_is_at_least_one_round_and_no_more_than_are_taken() {
    assert_eq!(said(|timed| timed.rounds.clear()), "it gives no rounds");
    let said = said(|timed| timed.rounds = vec![[20.0, 20.0]; VALUES_MAX + 1]);
    assert_eq!(said, "it gives 100001 rounds, at most 100000 are taken");
}

#[test]
fn memory_and_energy_are_what_machines_have() {
    assert!(said(|timed| timed.peak_memory_bytes = Some(u64::MAX)).contains("bytes of memory"));
    let reading = |joules: f64| EnergyReading { source: "rapl".to_owned(), joules: vec![[0.01, joules]] };

    let mut with_energy = good();
    with_energy.energy = Some(reading(0.012));
    assert_eq!(timed(&with_energy, 0, SECOND), Ok(()), "2 W");
    for wrong in [f64::NAN, f64::INFINITY, -0.01] {
        assert!(said(|timed| timed.energy = Some(reading(wrong))).contains("an inference took"), "{wrong}");
    }
    assert!(said(|timed| timed.energy = Some(reading(12_000.0))).ends_with("W: is it joules?"));
    let none = EnergyReading { source: "rapl".to_owned(), joules: Vec::new() };
    assert_eq!(said(|timed| timed.energy = Some(none)), "it gives no stretches of energy");
    let nameless = EnergyReading { source: " ".to_owned(), joules: vec![[0.01, 0.01]] };
    assert_eq!(said(|timed| timed.energy = Some(nameless)), "field `energy.source` is empty");
}

#[test]
fn what_is_said_of_the_environment_is_short_printable_and_possible() {
    let of = |environment| Timed { environment, ..good() };
    let possible = Environment {
        governor: Some("performance".to_owned()),
        affinity: vec![0, 1],
        mhz: Some([1_800.0, 2_400.0]),
        celsius: Some([41.5, 63.0]),
        load: Some([0.1, 1.2]),
        others: Some(0.02),
        more: BTreeMap::from([("power mode".to_owned(), "MAXN".to_owned())]),
    };
    assert_eq!(timed(&of(possible.clone()), 0, SECOND), Ok(()));

    let long = "x".repeat(1_000);
    let wrong = [
        Environment { governor: Some("two\nlines".to_owned()), ..possible.clone() },
        Environment { governor: Some(long.clone()), ..possible.clone() },
        Environment { affinity: vec![0; PROCESSORS_MAX + 1], ..possible.clone() },
        Environment { mhz: Some([1.8e9, 1.8e9]), ..possible.clone() },
        Environment { celsius: Some([-300.0, 20.0]), ..possible.clone() },
        Environment { load: Some([0.0, f64::NAN]), ..possible.clone() },
        Environment { others: Some(40.0), ..possible.clone() },
        Environment { more: BTreeMap::from([("a".to_owned(), long)]), ..possible.clone() },
        Environment {
            more: (0..=MORE_MAX).map(|key| (key.to_string(), "x".to_owned())).collect(),
            ..possible
        },
    ];
    for wrong in wrong {
        assert!(timed(&of(wrong.clone()), 0, SECOND).is_err(), "{wrong:?}");
    }
}

fn layered(parts: &[(&str, f64)], other: f64) -> Layered {
    Layered {
        nodes: parts.iter().map(|(node, time)| ((*node).to_owned(), vec![millis(*time); 3])).collect(),
        other: vec![millis(other); 3],
        whole: vec![millis(6.0); 5],
        environment: Environment::default(),
    }
}

#[test]
fn layers_are_those_of_the_network_and_come_to_about_the_whole() {
    let names = ["conv", "dense"].map(str::to_owned).into();
    let check = |layered: &Layered| layers(layered, &names, (0, SECOND));
    assert_eq!(check(&layered(&[("conv", 4.0), ("dense", 1.0)], 1.0)), Ok(()));
    assert_eq!(check(&Layered { other: Vec::new(), ..layered(&[("conv", 5.0)], 0.0) }), Ok(()));
    let mut interrupted = layered(&[("conv", 5.0)], 0.5);
    interrupted.nodes.get_mut("conv").unwrap()[1] = millis(500.0);
    assert_eq!(check(&interrupted), Ok(()), "others had the processor meanwhile");

    let cases = [
        (layered(&[("conv", 4.0), ("softmax", 1.0)], 1.0), "which the network does not have"),
        (layered(&[("conv", 400.0)], 1.0), "are both nanoseconds?"),
        (layered(&[("conv", 0.004)], 0.001), "are both nanoseconds?"),
        (layered(&[("conv", -1.0), ("dense", 7.0)], 0.0), "a layer takes"),
        (layered(&[("conv", f64::NAN), ("dense", 6.0)], 0.0), "a layer takes"),
        (layered(&[], 6.0), "no repetitions"),
        (Layered { other: vec![1.0], ..layered(&[("conv", 5.0)], 0.0) }, "more often than of others"),
        (Layered { whole: Vec::new(), ..layered(&[("conv", 5.0)], 0.0) }, "no whole inferences"),
        (Layered { whole: vec![millis(6.0); 500], ..layered(&[("conv", 5.0)], 0.0) }, "within 1.000000 s"),
    ];
    for (lie, expected) in cases {
        let said = check(&lie).expect_err(expected);
        assert!(said.contains(expected), "{said}\nis not about\n{expected}");
    }
}

#[test]
fn a_hello_of_another_protocol_is_told_from_one_that_is_wrong() {
    let hello_of = |value: &Value| hello(value.to_string().as_bytes());
    let good = json!({ "protocol": PROTOCOL, "class": "Cortex-A76", "runtime": "ours 1.0", "onnx": true });
    assert_eq!(hello_of(&good).map(|hello| hello.class).as_deref(), Ok("Cortex-A76"));

    let with = |field: &str, value: Value| {
        let mut changed = good.clone();
        changed[field] = value;
        hello_of(&changed).expect_err("it is wrong")
    };
    assert_eq!(with("protocol", json!(99)), "it speaks protocol 99, this bitloop speaks protocol 1");
    assert!(with("colour", json!("red")).contains("unknown field `colour`"));
    assert_eq!(with("class", json!("")), "field `class` is empty");
    assert!(with("runtime", json!("\u{1b}[2J")).contains("`runtime`"));
    assert!(with("device", json!("x".repeat(1_000))).contains("`device`"));
    assert_eq!(with("abilities", json!(["layers", "layers"])), "it has an ability twice");
    assert!(with("abilities", json!(["fly"])).contains("unknown variant"));
    assert!(hello(b"Welcome!").expect_err("no JSON").starts_with("it says `Welcome!`, which is no hello"));
}

#[test]
fn an_output_has_as_many_bytes_as_were_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("output");
    assert!(output(&file, 2).expect_err("nothing is there").contains("is not there"));

    std::fs::write(&file, [0; 8]).unwrap();
    assert_eq!(output(&file, 2), Ok(()));
    assert_eq!(output(&file, 3).unwrap_err(), "its output has 8 bytes, 12 were asked for");
    assert_eq!(output(folder.path(), 2).unwrap_err(), "what it left as its output is no file");
    let link = folder.path().join("link");
    std::os::unix::fs::symlink(&file, &link).unwrap();
    assert!(output(&link, 2).is_err(), "it may be of anything");
}

#[test]
fn a_reason_is_one_line_whatever_was_said() {
    assert_eq!(reason(" no\nspace\u{1b}[2J "), "no space\u{fffd}[2J");
    assert_eq!(reason("\n"), "it does not say why");
}
