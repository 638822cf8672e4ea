//! Decisions, alone and over many turns against an engine that misbehaves.

mod simulation;

use std::collections::BTreeMap;
use std::time::Duration;

use bitloop_core::device::{DeviceKind, ProbeNeed, ProbeOffer};
use bitloop_core::spec::{AutoscaleSpec, Offers};

use crate::engine::{Phase, Seen, SubmissionId};
use crate::*;

pub(super) fn spec() -> AutoscaleSpec {
    AutoscaleSpec::parse(
        "version: 1\nname: lab\nengine: slurm\nevery: 10s\npause: { after: 3, first: 1m, longest: 4m }\n\
         classes:\n  \
         cpu: { offers: { device: cpu }, workers: { max: 6, per_submission: 2 }, waiting: 2, target: 100s, \
         idle_exit: 2m, slurm: {} }\n  \
         gpu: { offers: { device: cuda, gpu_memory: 16GiB, labels: { site: lab } }, workers: { max: 4 }, target: 100s, \
         idle_exit: 2m, slurm: {} }\n",
    )
    .unwrap()
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn work(seconds: f64) -> Demand {
    Demand { trials: 1_000, seconds, ..Demand::default() }
}

fn on_gpu(seconds: f64) -> Demand {
    Demand { device: Some("cuda".to_owned()), gpu_memory_bytes: 8 << 30, ..work(seconds) }
}

fn id(number: u64) -> SubmissionId {
    SubmissionId(number.to_string())
}

fn seen(number: u64, class: &str, workers: u32, phase: Phase) -> Seen {
    Seen { id: id(number), name: format!("bitloop.lab.{class}.{workers}"), phase }
}

/// A file's memory, and what the engine shows of it.
struct Story {
    spec: AutoscaleSpec,
    memory: Memory,
    now: Duration,
}

impl Story {
    fn new() -> Self {
        Self { spec: spec(), memory: Memory::default(), now: Duration::ZERO }
    }

    fn look(&mut self, demands: Option<Vec<Demand>>, seen: &[Seen]) -> Decision {
        self.look_beside(Vec::new(), demands, seen)
    }

    /// With workers that others started.
    fn look_beside(&mut self, others: Vec<Other>, demands: Option<Vec<Demand>>, seen: &[Seen]) -> Decision {
        self.now += self.spec.every;
        let work = demands.map(|demands| Work { demands, others });
        let observation = Observation { work, seen: Some(seen.to_vec()) };
        let decision = decide(&observation, &self.memory, &self.spec, self.now);
        self.memory = decision.memory.clone();
        decision
    }

    fn submitted(&mut self, number: u64, class: &str, workers: u32) {
        let happened = Happened::Submitted { class: class.to_owned(), id: id(number), workers };
        assert_eq!(self.memory.note(&happened, &self.spec, self.now), []);
    }

    fn refused(&mut self, unclear: bool) -> Vec<Notice> {
        let (class, reason) = ("cpu".to_owned(), "no".to_owned());
        let happened = Happened::Refused { class, workers: 2, unclear, reason };
        self.memory.note(&happened, &self.spec, self.now)
    }
}

fn submit(class: &str, workers: u32) -> Action {
    Action::Submit { class: class.to_owned(), workers }
}

#[test]
fn work_goes_to_the_first_class_that_can_do_it_and_what_is_too_much_to_the_next() {
    let spec = spec();
    let shares = |backlog: &[Demand]| {
        let work = Work { demands: backlog.to_vec(), ..Work::default() };
        let (shares, strange) = shares(&spec.classes, &work);
        (shares.iter().map(|share| share.workers).collect::<Vec<_>>(), strange.len())
    };

    assert_eq!(shares(&[]), (vec![0, 0], 0));
    assert_eq!(shares(&[work(0.5)]), (vec![1, 0], 0), "a little work is worth a worker");
    assert_eq!(shares(&[work(250.0)]), (vec![3, 0], 0));
    assert_eq!(shares(&[work(750.0)]), (vec![6, 2], 0));
    assert_eq!(shares(&[on_gpu(250.0), work(100.0)]), (vec![1, 3], 0));
    assert_eq!(shares(&[Demand { exact: true, ..work(1e9) }]), (vec![6, 0], 0), "GPUs are not exact");
    assert_eq!(shares(&[Demand { trials: 2, ..work(1e9) }]), (vec![2, 0], 0), "no worker without a trial");
    let labels = [("site".to_owned(), "elsewhere".to_owned())].into();
    assert_eq!(shares(&[Demand { labels, ..on_gpu(9.0) }]), (vec![0, 0], 1));
    assert_eq!(shares(&[Demand { gpu_memory_bytes: 32 << 30, ..on_gpu(9.0) }]), (vec![0, 0], 1));
}

fn cpu_of_others() -> Other {
    let offers = Offers {
        device: DeviceKind::Cpu,
        gpu_memory_bytes: 0,
        labels: BTreeMap::new(),
        probes: BTreeMap::new(),
    };
    Other { offers, exact: true, probes: Vec::new() }
}

fn gpu_of_others(gpu_memory_bytes: u64) -> Other {
    let (labels, probes) = (BTreeMap::new(), BTreeMap::new());
    let offers = Offers { device: DeviceKind::Cuda, gpu_memory_bytes, labels, probes };
    Other { offers, exact: false, probes: Vec::new() }
}

fn on_probe(class: Option<&str>, seconds: f64) -> Demand {
    let probe = Some(ProbeNeed { name: "snpe".to_owned(), class: class.map(str::to_owned) });
    Demand { probe, trials: 10, ..work(seconds) }
}

/// Of a device that only a probe on a board measures, no other worker could measure anything, however many there were.
#[test]
fn no_worker_is_asked_for_to_measure_a_device_that_no_class_offers() {
    let mut spec = spec();
    let shares = |spec: &AutoscaleSpec, others: &[Other], demands: &[Demand]| {
        let work = Work { demands: demands.to_vec(), others: others.to_vec() };
        let (shares, strange) = shares(&spec.classes, &work);
        let said = strange.into_iter().map(|demand| Notice::NoClass { demand: demand.clone() }.to_string());
        (shares.iter().map(|share| share.workers).collect::<Vec<_>>(), said.collect::<Vec<_>>())
    };
    let demands = [on_probe(Some("Orin"), 1e6), work(150.0)];
    let nobody =
        "10 trials need a worker that no class of the file offers: device any, probe snpe on Orin".to_owned();

    assert_eq!(shares(&spec, &[], &demands), (vec![2, 0], vec![nobody.clone()]));
    // A worker of others that has it on a device of another class can do none of it either.
    let offer = |class: &str| ProbeOffer {
        name: "snpe".to_owned(),
        class: class.to_owned(),
        ..ProbeOffer::default()
    };
    let beside = |class: &str| Other { probes: vec![offer(class)], ..cpu_of_others() };
    assert_eq!(shares(&spec, &[beside("Nano")], &demands[..1]), (vec![0, 0], vec![nobody]));
    assert_eq!(shares(&spec, &[beside("Orin")], &demands[..1]), (vec![0, 0], vec![]));

    spec.classes[1].offers.probes =
        BTreeMap::from([("snpe".to_owned(), "external=/opt/lab/probes.yaml".to_owned())]);

    assert_eq!(shares(&spec, &[], &demands), (vec![2, 4], vec![]), "four are the most");
    assert_eq!(shares(&spec, &[], &[on_probe(None, 150.0)]), (vec![0, 2], vec![]));
    assert_eq!(shares(&spec, &[beside("Orin")], &[on_probe(None, 150.0)]), (vec![0, 1], vec![]));
    // A worker with the probe is kept for what needs it.
    let both = [work(50.0), on_probe(None, 50.0)];
    for others in [[beside("Orin"), cpu_of_others()], [cpu_of_others(), beside("Orin")]] {
        assert_eq!(shares(&spec, &others, &both), (vec![0, 0], vec![]));
    }
}

#[test]
fn what_workers_of_others_can_do_is_not_asked_for_again() {
    let spec = spec();
    let shares = |others: &[Other], demands: &[Demand]| {
        let work = Work { demands: demands.to_vec(), others: others.to_vec() };
        let (shares, strange) = shares(&spec.classes, &work);
        (shares.iter().map(|share| share.workers).collect::<Vec<_>>(), strange.len())
    };
    let (cpu, gpu) = (cpu_of_others(), gpu_of_others(16 << 30));
    let two = [cpu.clone(), cpu.clone()];

    assert_eq!(shares(&two, &[work(450.0)]), (vec![3, 0], 0), "5 are worth having, 2 are there");
    assert_eq!(shares(&two, &[work(150.0)]), (vec![0, 0], 0));
    assert_eq!(shares(&two, &[on_gpu(250.0)]), (vec![0, 3], 0), "a CPU is no GPU");
    assert_eq!(shares(&[gpu_of_others(4 << 30)], &[on_gpu(250.0)]), (vec![0, 3], 0), "too small");
    assert_eq!(shares(std::slice::from_ref(&gpu), &[Demand { exact: true, ..work(250.0) }]), (vec![3, 0], 0));
    let inexact = Other { exact: false, ..cpu.clone() };
    assert_eq!(shares(&[inexact], &[Demand { exact: true, ..work(250.0) }]), (vec![3, 0], 0));
    // The CPU takes what any device may do, whichever is named first, so that the GPU is there for what needs one.
    for others in [[cpu.clone(), gpu.clone()], [gpu.clone(), cpu.clone()]] {
        assert_eq!(shares(&others, &[work(50.0), on_gpu(250.0)]), (vec![0, 2], 0));
    }
    // One that has taken a part has no time for another.
    assert_eq!(
        shares(&[gpu], &[on_gpu(250.0), on_gpu(250.0)]),
        (vec![0, 4], 0),
        "5 of 6, of which 4 are the most"
    );
    // What no class offers, somebody else's worker may do.
    let labels = BTreeMap::from([("site".to_owned(), "elsewhere".to_owned())]);
    let far = Other { offers: Offers { labels: labels.clone(), ..cpu.offers.clone() }, ..cpu };
    let only_there = [Demand { labels, ..work(250.0) }];
    assert_eq!((shares(&two, &only_there).1, shares(&[far], &only_there).1), (1, 0));
}

#[test]
fn workers_that_others_start_make_waiting_submissions_superfluous() {
    let mut story = Story::new();
    let waiting = [seen(1, "cpu", 2, Phase::Waiting)];
    story.look(Some(vec![work(150.0)]), &waiting);
    let others = || vec![cpu_of_others(), cpu_of_others()];

    let first = story.look_beside(others(), Some(vec![work(150.0)]), &waiting);
    let second = story.look_beside(others(), Some(vec![work(150.0)]), &waiting);

    assert_eq!(
        (first.actions, second.actions),
        (vec![], vec![Action::Cancel { class: "cpu".to_owned(), id: id(1) }])
    );
    assert_eq!(second.shares[0], Share::default());
}

#[test]
fn submissions_keep_to_workers_wanted_and_to_places_in_the_queue() {
    let mut story = Story::new();

    let first = story.look(Some(vec![work(450.0)]), &[]);
    assert_eq!(first.actions, [submit("cpu", 2), submit("cpu", 2)], "two may wait, a fifth worker has to");
    story.submitted(1, "cpu", 2);
    story.submitted(2, "cpu", 2);
    let waiting = [seen(1, "cpu", 2, Phase::Waiting), seen(2, "cpu", 2, Phase::Waiting)];
    assert_eq!(story.look(Some(vec![work(450.0)]), &waiting).actions, []);
    let one_runs = [seen(1, "cpu", 2, Phase::Running), seen(2, "cpu", 2, Phase::Waiting)];
    assert_eq!(story.look(Some(vec![work(450.0)]), &one_runs).actions, [submit("cpu", 1)]);
    let counts = story.memory.counts("cpu");
    assert_eq!((counts.running, counts.waiting, counts.waiting_submissions), (2, 2, 1));
}

#[test]
fn nothing_is_done_while_coordinator_or_engine_do_not_answer() {
    let mut story = Story::new();
    story.submitted(1, "cpu", 2);

    let no_backlog = story.look(None, &[seen(1, "cpu", 2, Phase::Waiting)]);
    let observation =
        Observation { work: Some(Work { demands: vec![work(1e6)], ..Work::default() }), seen: None };
    let no_list = decide(&observation, &story.memory, &story.spec, seconds(1_000));

    assert_eq!((no_backlog.actions, no_list.actions), (vec![], vec![]));
    assert_eq!(no_list.memory, story.memory, "a list that did not come misses nothing");
}

#[test]
fn what_waits_without_work_is_cancelled_and_what_runs_is_not() {
    let mut story = Story::new();
    let list = [
        seen(1, "cpu", 2, Phase::Running),
        seen(2, "cpu", 2, Phase::Waiting),
        seen(3, "cpu", 1, Phase::Waiting),
    ];
    story.look(Some(vec![work(450.0)]), &list);

    let pause_in_work = story.look(Some(vec![]), &list);
    let work_again = story.look(Some(vec![work(450.0)]), &list);
    story.look(Some(vec![work(150.0)]), &list);
    let less_work = story.look(Some(vec![work(150.0)]), &list);

    assert_eq!((pause_in_work.actions, work_again.actions), (vec![], vec![]), "work may come back at once");
    let newest = Action::Cancel { class: "cpu".to_owned(), id: id(3) };
    assert_eq!(less_work.actions[0], newest, "2 workers are wanted, of 5");
    let cancelled = Happened::Cancelled { class: "cpu".to_owned(), id: id(3) };
    story.memory.note(&cancelled, &story.spec, story.now);
    let still_there = story.look(Some(vec![work(150.0)]), &list);
    assert!(still_there.actions.contains(&newest), "{:?}", still_there.actions);
    let gone = story.look(Some(vec![work(150.0)]), &list[..1]);
    assert_eq!(gone.actions, [], "what is not in the list is not cancelled twice");
}

#[test]
fn an_engine_that_forgets_is_given_three_looks() {
    let mut story = Story::new();
    story.submitted(1, "cpu", 2);
    let running = [seen(1, "cpu", 2, Phase::Running)];
    story.look(Some(vec![work(150.0)]), &running);

    for _ in 0..2 {
        assert_eq!(story.look(Some(vec![work(150.0)]), &[]).actions, []);
    }
    assert_eq!(story.look(Some(vec![work(150.0)]), &running).notices, [], "it was a hole in the list");
    let looks: Vec<_> = (0..3).map(|_| story.look(Some(vec![work(150.0)]), &[])).collect();

    assert!(looks[..2].iter().all(|look| look.actions.is_empty() && look.notices.is_empty()));
    assert!(matches!(&looks[2].notices[0], Notice::Gone { id: gone, .. } if *gone == id(1)));
    assert_eq!(looks[2].actions, [submit("cpu", 2)]);
}

#[test]
fn after_a_restart_what_has_our_name_is_ours() {
    let mut story = Story::new();
    let list = [
        seen(1, "cpu", 2, Phase::Running),
        seen(2, "cpu", 2, Phase::Waiting),
        seen(3, "old", 1, Phase::Running),
        Seen { name: "somebody.else.9".to_owned(), ..seen(4, "cpu", 2, Phase::Running) },
    ];

    let first = story.look(Some(vec![work(400.0)]), &list);
    let second = story.look(Some(vec![work(400.0)]), &list);

    let adopted = |number| Notice::Adopted { class: "cpu".to_owned(), id: id(number), workers: 2 };
    let stranger = Notice::Stranger { id: id(3), class: "old".to_owned() };
    assert_eq!(first.notices, [adopted(1), adopted(2), stranger]);
    assert_eq!(
        (second.notices, first.actions, second.actions),
        (vec![], vec![], vec![]),
        "4 workers are there"
    );
}

#[test]
fn refusals_in_a_row_pause_a_class_ever_longer_until_the_engine_takes_one() {
    let mut story = Story::new();
    assert_eq!((story.refused(false).len(), story.refused(false).len()), (1, 1));
    let third = story.refused(false);

    let paused = Notice::Paused { class: "cpu".to_owned(), failures: 3, lasts: seconds(60) };
    assert_eq!(third[1], paused);
    assert!(paused.to_string().contains("3 failures in a row; nothing is submitted for 60 s"), "{paused}");
    assert_eq!(story.look(Some(vec![work(600.0)]), &[]).actions, []);
    assert_eq!(story.look(Some(vec![on_gpu(50.0)]), &[]).actions, [submit("gpu", 1)], "other classes go on");
    story.now += seconds(60);
    assert_eq!(
        story.look(Some(vec![work(600.0)]), &[]).actions,
        [submit("cpu", 2)],
        "one shows whether it works"
    );
    let again = story.refused(false);
    assert!(matches!(again[1], Notice::Paused { lasts, .. } if lasts == seconds(120)), "{again:?}");
    story.now += seconds(120);
    story.submitted(1, "cpu", 2);
    let recovered = story.look(Some(vec![work(600.0)]), &[seen(1, "cpu", 2, Phase::Running)]);
    assert_eq!(recovered.actions, [submit("cpu", 2), submit("cpu", 2)]);
}

#[test]
fn workers_that_die_at_once_pause_a_class_until_one_lasts() {
    let mut story = Story::new();
    let mut notices = Vec::new();
    for number in 1..=3 {
        story.submitted(number, "cpu", 1);
        notices.extend(story.look(Some(vec![work(90.0)]), &[seen(number, "cpu", 1, Phase::Running)]).notices);
        notices.extend(story.look(Some(vec![work(90.0)]), &[seen(number, "cpu", 1, Phase::Ended)]).notices);
    }
    assert!(matches!(&notices[..2], [Notice::EndedEarly { .. }, Notice::EndedEarly { .. }]), "{notices:?}");
    assert!(matches!(notices.last(), Some(Notice::Paused { failures: 3, .. })), "{notices:?}");

    story.now += seconds(60);
    assert_eq!(story.look(Some(vec![work(600.0)]), &[]).actions, [submit("cpu", 2)]);
    story.submitted(4, "cpu", 2);
    let running = [seen(4, "cpu", 2, Phase::Running)];
    assert_eq!(story.look(Some(vec![work(600.0)]), &running).actions, [], "its fate is open");
    story.now += story.spec.classes[0].idle_exit;
    assert_eq!(story.look(Some(vec![work(600.0)]), &running).actions, [submit("cpu", 2), submit("cpu", 2)]);
}

#[test]
fn a_worker_that_leaves_for_want_of_work_has_not_failed() {
    let mut story = Story::new();
    for number in 1..=5 {
        story.submitted(number, "cpu", 1);
        story.look(Some(vec![work(9.0)]), &[seen(number, "cpu", 1, Phase::Running)]);
        // It may be seen late, and gone early.
        story.now += story.spec.classes[0].idle_exit - 2 * story.spec.every;
        let left = story.look(Some(vec![work(9.0)]), &[]);
        assert_eq!(left.notices, []);
        story.look(Some(vec![work(9.0)]), &[]);
        let gone = story.look(Some(vec![work(9.0)]), &[]);
        assert!(matches!(&gone.notices[..], [Notice::Gone { .. }]), "{:?}", gone.notices);
    }
}

#[test]
fn a_submission_that_may_be_there_counts_until_it_would_have_been_seen() {
    let mut story = Story::new();
    story.refused(true);
    story.refused(true);

    let next = story.look(Some(vec![work(600.0)]), &[seen(1, "cpu", 2, Phase::Waiting)]);
    assert_eq!(
        next.actions,
        [],
        "one of two is there, and the other may be: both places in the queue are taken"
    );
    assert_eq!(story.memory.counts("cpu").waiting, 4);
    story.look(Some(vec![work(600.0)]), &[seen(1, "cpu", 2, Phase::Waiting)]);
    let later = story.look(Some(vec![work(600.0)]), &[seen(1, "cpu", 2, Phase::Waiting)]);
    assert_eq!(later.actions, [submit("cpu", 2)], "it was not taken");
}

#[test]
fn an_old_submission_that_is_well_does_not_excuse_new_ones_that_end_at_once() {
    let mut story = Story::new();
    story.submitted(1, "cpu", 1);
    let old = seen(1, "cpu", 1, Phase::Running);
    story.look(Some(vec![work(9.0)]), std::slice::from_ref(&old));
    story.now += seconds(120);
    let (mut submissions, mut ended) = (0, Vec::new());
    for _ in 0..30 {
        let list: Vec<Seen> = std::iter::once(old.clone()).chain(ended.drain(..)).collect();
        for action in story.look(Some(vec![work(600.0)]), &list).actions {
            if let Action::Submit { workers, .. } = action {
                submissions += 1;
                story.submitted(1 + submissions, "cpu", workers);
                ended.push(seen(1 + submissions, "cpu", workers, Phase::Ended));
            }
        }
    }

    // Five minutes: two at once until three have failed, then one after pauses of a minute and two.
    assert!((3..=7).contains(&submissions), "{submissions}");
}

#[test]
fn what_is_written_down_is_what_the_next_start_knows() {
    let mut story = Story::new();
    story.submitted(1, "cpu", 1);
    story.submitted(2, "gpu", 1);
    story.look(Some(vec![work(9.0)]), &[seen(1, "cpu", 1, Phase::Running)]);
    for _ in 0..3 {
        story.refused(true);
    }
    let notes = story.memory.to_notes(&story.spec);
    // What format 1 looks like: a change of this text is a new format.
    assert_eq!(String::from_utf8(notes.clone()).unwrap(), include_str!("golden/notes_1.json"));

    let read = Memory::from_notes(&notes, &story.spec, story.now).unwrap();

    assert_eq!(read, story.memory);
    assert!(read.paused("cpu", story.now).is_some());
    // A clock that was set back by days meanwhile.
    let back = Memory::from_notes(&notes, &story.spec, Duration::ZERO).unwrap();
    assert!(back.paused("cpu", Duration::ZERO).unwrap() <= story.spec.pause.longest);
}

#[test]
fn notes_of_others_and_of_other_versions_are_refused() {
    let (spec, notes) = (spec(), String::from_utf8(Memory::default().to_notes(&spec())).unwrap());
    let refused =
        |text: &str| Memory::from_notes(text.as_bytes(), &spec, Duration::ZERO).unwrap_err().to_string();

    assert!(refused(&notes.replace("\"format\":1", "\"format\":2")).starts_with("has format 2"));
    let newer = refused("{\"format\":2,\"of\":\"another form\"}");
    assert!(newer.starts_with("has format 2, and this bitloop knows 1"), "{newer}");
    assert!(refused(&notes.replace("\"lab\"", "\"moon\"")).contains("of the autoscale file `moon`"));
    for end in 0..notes.len() {
        assert!(refused(&notes[..end]).contains("remove it"), "{end}");
    }
}
