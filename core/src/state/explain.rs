//! Why something is measured or not, in sentences.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::device::{ProbeNeed, Requirements};
use crate::digest::Digest;
use crate::plan::ExperimentId;
use crate::trial::{Company, Numerics, TrialKey, TrialResult};

use super::dispatch::{Worker, WorkerId};
use super::ledger::{Claim, Experiment, Status, Trial, TrialState};
use super::placement::{Moment, bar, bar_lane, numerics};
use super::queue::{Group, Lane};
use super::rests::RestFrom;
use super::troubles::Loss;
use super::{LOSS_DOUBT_MS, QUARANTINE_LOSSES, State, UnixMillis};

/// Workers that are named in one sentence.
const NAMED_MAX: usize = 3;

/// Trials before another one that are counted: whoever asks must not hold up everyone else.
const AHEAD_MAX: usize = 10_000;

/// Where something stands and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// An experiment's id or a trial's key.
    pub subject: String,
    /// One word: `waiting`, `withheld`, `measuring`, `measured`, `thinking`, or an experiment's status.
    pub standing: String,
    /// Why, in sentences.
    pub reasons: Vec<String>,
}

/// What the trials of a stage have in common that decides who can measure them: whom they are for, and the device that they are
/// to be measured on, if any. A search that is limited on devices has trials of several such parts.
type Part = (Claim, Option<Digest>);

/// Parts of stages, each with one of its lanes and the number of its trials.
type Parts = BTreeMap<Part, (Lane, usize)>;

/// The trials of an experiment that wait in another one's name, as far as they have been looked for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Elsewhere {
    parts: Parts,
    looked_at: usize,
    is_done: bool,
}

impl Elsewhere {
    /// Whether there is nothing more to look for.
    pub fn is_done(&self) -> bool {
        self.is_done
    }
}

impl State {
    /// Says where a trial stands; none if no experiment has proposed it.
    pub fn explain_trial(&self, key: &TrialKey, now: UnixMillis) -> Option<Explanation> {
        let trial = self.ledger.trial(key)?;
        let (standing, mut reasons) = match &trial.state {
            TrialState::Done(outcome) => match &outcome.result {
                TrialResult::Failed { reason } => ("failed", vec![format!("it cannot be done: {reason}")]),
                TrialResult::Prepared { .. }
                | TrialResult::Evaluated(_)
                | TrialResult::Trained(_)
                | TrialResult::Measured(_) => {
                    ("measured", vec![format!("it was measured on {}", outcome.provenance.device)])
                }
            },
            TrialState::Quarantined { losses } => {
                let why = format!("{losses} workers were lost while they ran it; it is not tried again");
                ("quarantined", vec![why])
            }
            TrialState::Open => {
                let (standing, mut reasons) = self.explain_open(key, trial, now);
                reasons.extend(self.explain_trouble(key, now));
                let lacking = self.dispatch.rests().of(RestFrom::trial(trial), now).take(NAMED_MAX);
                reasons.extend(lacking.map(|(place, rest)| rest.text(place)));
                (standing, reasons)
            }
        };
        let without = self.ledger.experiments().iter().filter(|experiment| experiment.has_given_up(key));
        reasons.extend(without.map(|experiment| {
            format!("nobody could measure it for experiment `{}`, which goes on without it", experiment.id)
        }));
        let subject = key.0.hex();
        Some(Explanation { subject, standing: standing.to_owned(), reasons })
    }

    fn explain_open(&self, key: &TrialKey, trial: &Trial, now: UnixMillis) -> (&'static str, Vec<String>) {
        let held = self.dispatch.holders(key).map(|lease| {
            let seconds = now.0.saturating_sub(lease.since.0) / 1_000;
            let busy = if lease.running.contains(key) { "measures" } else { "will measure" };
            format!("worker `{}` {busy} it; it was leased {seconds} s ago", lease.worker.0)
        });
        let held: Vec<String> = held.collect();
        if !held.is_empty() {
            return ("measuring", held);
        }
        let claims = self.ledger.claims(trial);
        if claims.is_empty() {
            let wanted = self.ledger.experiments_of(trial);
            let why = wanted.map(|one| format!("experiment `{}` is {}", one.id, one.status.as_str()));
            let mut why: Vec<String> = why.collect();
            if why.is_empty() {
                why.push(
                    "what it starts from was lost and made again otherwise; nobody wants it any more"
                        .to_owned(),
                );
            }
            return ("unwanted", why);
        }
        if self.dispatch.troubles().is_withheld(key) {
            return ("withheld", Vec::new());
        }
        let ahead = self.dispatch.queue(&self.ledger).take_while(|queued| *queued != key);
        let ahead = ahead.take(AHEAD_MAX + 1).count();
        let glance = Glance::new(self, now);
        let mut reasons = Vec::new();
        for claim in claims {
            let lane = Lane::of(claim, trial);
            reasons.push(format!("{} asks for: {}", claim_text(self, &lane), self.asked(&lane)));
            reasons.extend(self.unprobed(&lane));
            reasons.extend(
                glance.hindrances(&lane, |worker| bar(&self.ledger, &self.dispatch, (worker, now), trial)),
            );
        }
        match ahead {
            0 => {}
            1..=AHEAD_MAX => reasons.push(format!("{ahead} trials were proposed before it")),
            _ => reasons.push(format!("more than {AHEAD_MAX} trials were proposed before it")),
        }
        ("waiting", reasons)
    }

    /// Says where an experiment stands; none if there is none. `elsewhere` is what [`State::look_elsewhere`] has found.
    pub fn explain_experiment(
        &self,
        id: &ExperimentId,
        (elsewhere, now): (&Elsewhere, UnixMillis),
    ) -> Option<Explanation> {
        let experiment = self.ledger.experiment(id)?;
        let (standing, reasons) = match &experiment.status {
            Status::Active => self.explain_active(experiment, (elsewhere, now)),
            Status::Paused => ("paused", vec![format!("`bitloop resume {id}` goes on with it")]),
            Status::Cancelled => {
                let revive =
                    format!("`bitloop resume {id}` goes on with it, and so does submitting it again");
                ("cancelled", vec![revive])
            }
            Status::Finished => ("finished", vec!["everything is measured".to_owned()]),
            Status::Failed { reason } => ("failed", vec![reason.clone()]),
        };
        Some(Explanation { subject: id.to_string(), standing: standing.to_owned(), reasons })
    }

    fn explain_active(
        &self,
        experiment: &Experiment,
        (elsewhere, now): (&Elsewhere, UnixMillis),
    ) -> (&'static str, Vec<String>) {
        let leased = self.leased_of(|known| known.id == experiment.id);
        let mut parts = self.own_parts(experiment);
        for (part, (lane, count)) in &elsewhere.parts {
            parts.entry(*part).or_insert((*lane, 0)).1 += count;
        }
        let glance = Glance::new(self, now);
        let mut reasons = Vec::new();
        if leased > 0 {
            reasons.push(format!("{leased} trials are leased"));
        }
        for (lane, waiting) in parts.values() {
            let asked = self.asked(lane);
            reasons.push(format!("{waiting} trials of {} wait and ask for: {asked}", claim_text(self, lane)));
            reasons.extend(self.unprobed(lane));
            let bar = |worker: &Worker| bar_lane(&self.ledger, &self.dispatch, (worker, now), lane);
            reasons.extend(glance.hindrances(lane, bar));
        }
        let troubles = self.troubles_of(experiment, now);
        let is_troubled = !troubles.is_empty();
        reasons.extend(troubles);
        match (leased, parts.is_empty()) {
            (0, true) if is_troubled => ("waiting", reasons),
            (0, true) => ("thinking", vec!["its searcher has not said yet what is next".to_owned()]),
            (0, false) => ("waiting", reasons),
            (_, _) => ("measuring", reasons),
        }
    }

    /// The parts of an experiment's stages whose trials wait, each with one of its lanes and their number.
    fn own_parts(&self, experiment: &Experiment) -> Parts {
        let mut parts = Parts::new();
        for (lane, group) in self.own_lanes(experiment) {
            parts.entry(self.part(lane)).or_insert((*lane, 0)).1 += group.len();
        }
        parts
    }

    fn part(&self, lane: &Lane) -> Part {
        let target = lane.company.map(|company| company.context);
        (lane.claim, target.filter(|digest| self.ledger.is_target(digest)))
    }

    fn own_lanes(&self, experiment: &Experiment) -> impl Iterator<Item = (&Lane, &Group)> {
        let is_own = |lane: &Lane| self.ledger.claimant(lane.claim).id == experiment.id;
        self.dispatch.lanes().filter(move |(lane, _)| is_own(lane))
    }

    /// Looks for trials of an experiment that wait for a stage of another one alone, which asks for the same. Where its own
    /// stages and leases do not make up what is open, that is a look at every trial: at these many a time.
    pub fn look_elsewhere(&self, id: &ExperimentId, so_far: &mut Elsewhere, trials: usize) {
        let known = self.ledger.experiment(id).filter(|known| known.status == Status::Active);
        let Some(experiment) = known else {
            so_far.is_done = true;
            return;
        };
        if so_far.looked_at == 0 && self.is_all_its_own(experiment) {
            so_far.is_done = true;
            return;
        }
        let keys = experiment.stages.iter().flat_map(|stage| &stage.trials);
        let mut looked_at = 0;
        for key in keys.skip(so_far.looked_at).take(trials) {
            looked_at += 1;
            let Some(trial) = self.ledger.trial(key).filter(|trial| self.dispatch.is_queued(trial)) else {
                continue;
            };
            let claims = self.ledger.claims(trial);
            let is_own = |claim: &Claim| self.ledger.claimant(*claim).id == experiment.id;
            if let Some(first) = claims.first().filter(|_| !claims.iter().any(is_own)) {
                let lane = Lane::of(*first, trial);
                so_far.parts.entry(self.part(&lane)).or_insert((lane, 0)).1 += 1;
            }
        }
        so_far.looked_at += looked_at;
        so_far.is_done = looked_at < trials;
    }

    fn is_all_its_own(&self, experiment: &Experiment) -> bool {
        let own: usize = self.own_parts(experiment).values().map(|(_, count)| count).sum();
        let leased = self.leased_of(|known| known.id == experiment.id);
        let stages = experiment.stages.iter();
        let open: u64 = stages.map(|stage| stage.trials.len() as u64 - stage.settled).sum();
        own as u64 + leased >= open
    }

    /// What attempts at an open trial came to, and what follows from it.
    fn explain_trouble(&self, key: &TrialKey, now: UnixMillis) -> Vec<String> {
        let Some(trouble) = self.dispatch.troubles().of(key) else { return Vec::new() };
        let mut reasons: Vec<String> =
            trouble.losses.iter().map(|(worker, loss)| lost_text(worker, *loss, now)).collect();
        if self.dispatch.troubles().is_withheld(key) {
            let doubt_s = LOSS_DOUBT_MS / 1_000;
            reasons.push(format!(
                "nobody gets it now: it is given up when {QUARANTINE_LOSSES} workers have been away for {doubt_s} s each, and \
                 goes on when one of them comes back before"
            ));
        }
        reasons.extend(trouble.refusals.iter().map(|(place, refusal)| refusal.text(place)));
        if self.dispatch.troubles().goes_alone(key) {
            reasons.push("it is measured without others, to tell whether it was the reason".to_owned());
        }
        reasons
    }

    /// What attempts at an experiment's trials came to, counted.
    fn troubles_of(&self, experiment: &Experiment, now: UnixMillis) -> Vec<String> {
        let troubles = self.dispatch.troubles();
        let own = troubles
            .all()
            .filter(|(key, _)| self.ledger.trial(key).is_some_and(|trial| self.is_of(trial, experiment)));
        let (mut withheld, mut lost, mut given_back) = (0, 0, 0);
        let mut last = None;
        for (key, trouble) in own {
            withheld += u32::from(troubles.is_withheld(key));
            lost += u32::from(!trouble.losses.is_empty());
            given_back += u32::from(!trouble.refusals.is_empty());
            last = trouble.refusals.iter().next().or(last);
        }
        let mut reasons = Vec::new();
        if withheld > 0 {
            reasons.push(format!(
                "{withheld} trials are withheld until it is certain that the {QUARANTINE_LOSSES} or more workers that ran them are gone"
            ));
        }
        if lost > 0 {
            reasons
                .push(format!("workers were lost with {lost} of its open trials, which are measured alone"));
        }
        if let Some((place, refusal)) = last {
            reasons.push(format!("{given_back} of its open trials were given back; {}", refusal.text(place)));
        }
        reasons.extend(self.lacks(experiment, now));
        reasons
    }

    /// What trials of an experiment need that did not come, as one worker says it.
    fn lacks(&self, experiment: &Experiment, now: UnixMillis) -> Option<String> {
        let companies: BTreeSet<Company> =
            self.own_lanes(experiment).filter_map(|(lane, _)| lane.company).collect();
        let is_own = |from: &RestFrom| match from {
            RestFrom::Together(company) => companies.contains(company),
            RestFrom::Trial(key) => {
                let trial = self.ledger.trial(key).filter(|trial| self.dispatch.is_queued(trial));
                trial.is_some_and(|trial| self.is_of(trial, experiment))
            }
            RestFrom::Everything | RestFrom::Alone => false,
        };
        let (place, _, rest) = self.dispatch.rests().all(now).find(|(_, from, _)| is_own(from))?;
        Some(format!("what its trials need does not come; {}", rest.text(place)))
    }

    fn is_of(&self, trial: &Trial, experiment: &Experiment) -> bool {
        self.ledger.experiments_of(trial).any(|one| one.id == experiment.id)
    }

    /// Why no connected worker can measure a lane's trials on their device; none if one can, or they need none.
    fn unprobed(&self, lane: &Lane) -> Option<String> {
        let requirements = self.ledger.requirements(lane);
        let need = requirements.probe.as_ref()?;
        if self.able(requirements, numerics(&self.ledger, lane)) > 0 {
            return None;
        }
        let any_class = ProbeNeed { class: None, ..need.clone() };
        let of_any_class = Requirements { probe: Some(any_class.clone()), ..requirements.clone() };
        let there = self.dispatch.workers().map(|worker| &worker.info);
        let there = there.filter(|info| info.unmet(&of_any_class, Numerics::Float).is_none());
        let offers = there.flat_map(|info| info.probes.iter().filter(|offer| any_class.is_met(offer)));
        let classes: BTreeSet<&str> = offers.map(|offer| offer.class.as_str()).collect();
        Some(unprobed_text(need, &requirements.labels, &classes))
    }

    fn asked(&self, lane: &Lane) -> String {
        asked_text(self.ledger.requirements(lane), numerics(&self.ledger, lane))
    }

    fn leased_of(&self, is_meant: impl Fn(&Experiment) -> bool) -> u64 {
        let keys = self.dispatch.leases().flat_map(|(_, lease)| &lease.trials);
        let trials = keys.filter_map(|key| self.ledger.trial(key));
        trials.filter(|trial| self.ledger.experiments_of(trial).any(&is_meant)).count() as u64
    }
}

/// What one explanation needs to know of all workers and leases, found once for all workers.
struct Glance<'a> {
    state: &'a State,
    moment: Moment<'a>,
    /// One lane for each part of a stage that has trials waiting and each arithmetic: what keeps a worker from the others is the
    /// same.
    waiting: Vec<&'a Lane>,
    /// Trials of each worker's first lease.
    busy: HashMap<&'a WorkerId, usize>,
}

impl<'a> Glance<'a> {
    fn new(state: &'a State, now: UnixMillis) -> Self {
        let kind = |lane: &Lane| (state.part(lane), numerics(&state.ledger, lane) == Numerics::Exact);
        let waiting: BTreeMap<(Part, bool), &Lane> =
            state.dispatch.lanes().map(|(lane, _)| (kind(lane), lane)).collect();
        let mut busy = HashMap::new();
        for (_, lease) in state.dispatch.leases() {
            busy.entry(&lease.worker).or_insert(lease.trials.len());
        }
        let moment = Moment::new((&state.ledger, &state.dispatch), now);
        Self { state, moment, waiting: waiting.into_values().collect(), busy }
    }

    /// Whom trials of a lane wait for, worker by worker, those with the same reason together.
    fn hindrances(&self, lane: &Lane, bar: impl Fn(&Worker) -> Option<&'static str>) -> Vec<String> {
        let priority = |lane: &Lane| self.state.ledger.claimant(lane.claim).priority;
        let before = self.waiting.iter().filter(|other| priority(other) > priority(lane));
        let before: Vec<&Lane> = before.copied().collect();
        let mut by_reason: BTreeMap<String, Vec<&str>> = BTreeMap::new();
        for worker in self.state.dispatch.workers() {
            let reason = bar(worker).map_or_else(|| self.hindrance(worker, lane, &before), str::to_owned);
            by_reason.entry(reason).or_default().push(&worker.info.id.0);
        }
        if by_reason.is_empty() {
            return vec!["no worker is connected".to_owned()];
        }
        by_reason.into_iter().map(|(reason, workers)| format!("{}: {reason}", named(&workers))).collect()
    }

    fn hindrance(&self, worker: &Worker, lane: &Lane, before: &[&Lane]) -> String {
        if let Some(hindrance) = self.moment.hindrance(worker, lane) {
            return hindrance.to_string();
        }
        if let Some(before) = before.iter().find(|other| self.moment.hindrance(worker, other).is_none()) {
            let experiment = self.state.ledger.claimant(before.claim);
            return format!("experiment `{}` has a higher priority", experiment.id);
        }
        match self.busy.get(&worker.info.id) {
            Some(trials) => format!("is busy with {trials} other trials"),
            None => "takes trials of it next".to_owned(),
        }
    }
}

/// What workers must have, in words.
pub fn asked_text(requirements: &Requirements, numerics: Numerics) -> String {
    match numerics {
        Numerics::Exact if requirements.is_none() => "exact arithmetic".to_owned(),
        Numerics::Exact => format!("{requirements}, exact arithmetic"),
        Numerics::Float => requirements.to_string(),
    }
}

/// That nobody offers a probe, or on which classes of device it is offered instead.
fn unprobed_text(need: &ProbeNeed, labels: &BTreeMap<String, String>, classes: &BTreeSet<&str>) -> String {
    let pairs: Vec<String> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let (with, options) = match pairs.is_empty() {
        true => (String::new(), String::new()),
        false => {
            let options = pairs.iter().map(|pair| format!(" --label {pair}")).collect();
            (format!(" with {}", pairs.join(", ")), options)
        }
    };
    let name = &need.name;
    match (&need.class, classes.is_empty()) {
        (Some(class), false) => {
            let there: Vec<&str> = classes.iter().take(NAMED_MAX).copied().collect();
            format!(
                "its stage measures on `{class}`, and mixes it with no other class of device; workers{with} offer the probe \
                 `{name}` on `{}`",
                there.join("`, `")
            )
        }
        (Some(_) | None, _) => format!(
            "no connected worker{with} offers the probe `{name}`; one that is started there with `--probe {name}{options}` does"
        ),
    }
}

fn claim_text(state: &State, lane: &Lane) -> String {
    let experiment = state.ledger.claimant(lane.claim);
    let stage = experiment.plan.stages.get(lane.claim.stage as usize).map_or("", |stage| stage.as_str());
    format!("stage `{stage}` of `{}`", experiment.id)
}

fn lost_text(worker: &WorkerId, loss: Loss, now: UnixMillis) -> String {
    let worker = &worker.0;
    match loss {
        Loss::Suspected => format!("worker `{worker}` was lost while it held it and others"),
        Loss::Silent { doubtful_until } if doubtful_until > now => {
            let left_s = (doubtful_until.0 - now.0).div_ceil(1_000);
            format!("worker `{worker}` was lost while it ran it; it may come back, for {left_s} s")
        }
        Loss::Silent { .. } => format!("worker `{worker}` was lost while it ran it"),
        Loss::Hung => format!("worker `{worker}` got nowhere with it"),
    }
}

fn named(workers: &[&str]) -> String {
    let shown: Vec<String> = workers.iter().take(NAMED_MAX).map(|worker| format!("`{worker}`")).collect();
    match workers.len() - shown.len() {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}
