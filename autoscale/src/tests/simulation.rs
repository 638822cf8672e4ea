//! An engine that refuses, forgets, answers late and kills, over many turns.

use std::collections::BTreeMap;

use bitloop_core::rng::{Rng, rng};
use bitloop_core::spec::WorkerClass;

use super::*;

const SEEDS: u64 = 300;
const TURNS: usize = 120;

/// A submission as it really is.
#[derive(Clone, Debug)]
struct Real {
    class: String,
    workers: u32,
    phase: Phase,
    /// Turns for which the engine's list will not show it.
    hidden: u32,
    /// Turns that it runs.
    life: u32,
}

struct World {
    rng: Rng,
    story: Story,
    real: BTreeMap<u64, Real>,
    backlog: f64,
    last: u64,
    trace: Vec<String>,
}

impl World {
    fn new(seed: u64) -> Self {
        let (rng, real) = (rng(seed, 0), BTreeMap::new());
        Self { rng, story: Story::new(), real, backlog: 0.0, last: 0, trace: Vec::new() }
    }

    fn chance(&mut self, percent: usize) -> bool {
        self.rng.below(100) < percent
    }

    /// What happens by itself between two turns.
    fn pass(&mut self) {
        if self.chance(10) {
            self.backlog = self.rng.uniform() * 1_500.0;
        }
        if self.chance(10) {
            self.backlog = 0.0;
        }
        for number in self.real.keys().copied().collect::<Vec<_>>() {
            let (starts, dies) = (self.chance(40), self.chance(2));
            let real = self.real.get_mut(&number).unwrap();
            match real.phase {
                Phase::Waiting if starts => real.phase = Phase::Running,
                Phase::Running => {
                    real.life = real.life.saturating_sub(1);
                    if real.life == 0 || dies {
                        real.phase = Phase::Ended;
                    }
                }
                Phase::Waiting | Phase::Ended => {}
            }
        }
    }

    /// The list has holes, but none of them for as long as it takes to be taken for gone.
    fn hide(&mut self) {
        for number in self.real.keys().copied().collect::<Vec<_>>() {
            let (hides, looks) = (self.chance(5), 1 + self.rng.below(2) as u32);
            let real = self.real.get_mut(&number).unwrap();
            real.hidden = match real.hidden {
                0 if hides => looks,
                hidden => hidden.saturating_sub(1),
            };
        }
    }

    fn list(&mut self, has_holes: bool) -> Option<Vec<Seen>> {
        match has_holes {
            true if self.chance(5) => return None,
            true => self.hide(),
            false => self.real.values_mut().for_each(|real| real.hidden = 0),
        }
        let shown = self.real.iter().filter(|(_, real)| real.hidden == 0);
        let list = shown.map(|(number, real)| seen(*number, &real.class, real.workers, real.phase)).collect();
        // Engines show what has ended for a while, or not at all.
        self.real.retain(|_, real| real.phase != Phase::Ended);
        Some(list)
    }

    fn turn(&mut self) {
        self.pass();
        // A restart forgets everything; the list of that moment has no holes.
        let is_restart = self.chance(3);
        if is_restart {
            self.story.memory = Memory::default();
            self.trace.push("restart".to_owned());
        }
        let demands = (!self.chance(5)).then(|| vec![work(self.backlog), on_gpu(self.backlog / 4.0)]);
        let work = demands.map(|demands| Work { demands, ..Work::default() });
        let seen = self.list(!is_restart);
        self.story.now += self.story.spec.every;
        let observation = Observation { work, seen };
        let decision = decide(&observation, &self.story.memory, &self.story.spec, self.story.now);
        let again = decide(&observation, &self.story.memory, &self.story.spec, self.story.now);
        assert_eq!(decision, again, "the same arguments give the same answer");
        self.story.memory = decision.memory;
        for action in decision.actions {
            self.trace.push(format!("{action:?}"));
            let happened = self.perform(&action);
            self.story.memory.note(&happened, &self.story.spec, self.story.now);
        }
        self.check();
    }

    fn perform(&mut self, action: &Action) -> Happened {
        let reason = "no".to_owned();
        let (fails, is_unclear) = (self.chance(15), self.chance(50));
        match action.clone() {
            Action::Submit { class, workers } => {
                if !fails || is_unclear {
                    self.last += 1;
                    let life = 1 + self.rng.below(40) as u32;
                    let real = Real { class: class.clone(), workers, phase: Phase::Waiting, hidden: 0, life };
                    self.real.insert(self.last, real);
                }
                match fails {
                    true => Happened::Refused { class, workers, unclear: is_unclear, reason },
                    false => Happened::Submitted { class, id: id(self.last), workers },
                }
            }
            Action::Cancel { class, id } => {
                let number: u64 = id.0.parse().unwrap();
                let real = self.real.get_mut(&number);
                assert!(real.as_ref().is_none_or(|real| real.class == class), "a class cancels its own");
                if fails {
                    return Happened::NotCancelled { id, reason };
                }
                // As `scancel --state=PENDING`: what runs goes on.
                if let Some(real) = real.filter(|real| real.phase == Phase::Waiting) {
                    real.phase = Phase::Ended;
                }
                Happened::Cancelled { class, id }
            }
        }
    }

    fn check(&self) {
        for class in &self.story.spec.classes {
            let WorkerClass { name, workers_max, waiting_max, .. } = class;
            let own = || self.real.values().filter(|real| real.class == *name && real.phase != Phase::Ended);
            let workers: u32 = own().map(|real| real.workers).sum();
            assert!(
                workers <= *workers_max,
                "{workers} workers of {name}, at most {workers_max} are allowed"
            );
            let counts = self.story.memory.counts(name);
            assert!(counts.waiting_submissions <= *waiting_max, "{name}: {counts:?}");
            assert!(counts.workers() <= *workers_max, "{name}: {counts:?}");
        }
    }
}

/// Goal: whatever the engine does, no class ever has more workers than it may; and once the engine behaves and there is work,
/// workers come, and without work nothing waits.
#[test]
fn limits_hold_and_workers_come_whatever_the_engine_does() {
    for seed in 0..SEEDS {
        let mut world = World::new(seed);
        let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            (0..TURNS).for_each(|_| world.turn());
            recover(&mut world);
        }));
        if let Err(panic) = ended {
            eprintln!("seed {seed}: {:#?}", world.trace);
            std::panic::resume_unwind(panic);
        }
    }
}

fn recover(world: &mut World) {
    let calm = |world: &mut World, backlog: f64| {
        world.real.values_mut().for_each(|real| (real.hidden, real.life) = (0, u32::MAX));
        let list: Vec<Seen> = world
            .real
            .iter_mut()
            .map(|(number, real)| {
                if backlog > 0.0 && real.phase == Phase::Waiting {
                    real.phase = Phase::Running;
                }
                seen(*number, &real.class, real.workers, real.phase)
            })
            .collect();
        let decision =
            world.story.look(Some(vec![work(backlog)]).filter(|_| backlog > 0.0).or(Some(vec![])), &list);
        for action in decision.actions {
            let happened = match action {
                Action::Submit { class, workers } => {
                    world.last += 1;
                    let phase = Phase::Waiting;
                    world.real.insert(
                        world.last,
                        Real { class: class.clone(), workers, phase, hidden: 0, life: 9 },
                    );
                    Happened::Submitted { class, id: id(world.last), workers }
                }
                Action::Cancel { class, id } => {
                    world.real.remove(&id.0.parse().unwrap());
                    Happened::Cancelled { class, id }
                }
            };
            world.story.memory.note(&happened, &world.story.spec, world.story.now);
        }
    };
    world.real.retain(|_, real| real.phase != Phase::Ended);
    // Longer than the longest pause.
    (0..60).for_each(|_| calm(world, 1e6));
    let workers: u32 = world.real.values().filter(|real| real.class == "cpu").map(|real| real.workers).sum();
    assert_eq!(workers, 6, "all workers that the class may have");
    (0..4).for_each(|_| calm(world, 0.0));
    assert!(world.real.values().all(|real| real.phase == Phase::Running), "nothing waits for nothing");
}
