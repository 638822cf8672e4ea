use super::session::Round;

/// The baseline's quick turns are this part of all.
const QUICK: f64 = 0.1;

/// Where the baseline took longer than in its quick turns by more than this part, something disturbed the round.
const DISTURBED: f64 = 0.05;

/// Where a smaller part of the rounds is quiet, nothing disturbs the device now and then: it is like that.
const QUIET_MIN: f64 = 0.25;

/// The rounds that count, in their order: those in which the baseline took about what it takes while nothing disturbs the device.
///
/// On machines that others use too, caches and memory are theirs now and then, for seconds, and everything takes a third longer.
/// A median over such a time says how busy the others were. Only the baseline decides which rounds count, so that what varies in the
/// config itself stays in.
pub(super) fn quiet(rounds: &[Round]) -> Vec<Round> {
    let mut baselines: Vec<f64> = rounds.iter().map(|round| round.baseline).collect();
    baselines.sort_by(f64::total_cmp);
    let Some(quick) = baselines.get((QUICK * baselines.len() as f64) as usize) else { return Vec::new() };
    let is_quiet = |round: &&Round| round.baseline <= quick * (1.0 + DISTURBED);
    let quiet: Vec<Round> = rounds.iter().filter(is_quiet).copied().collect();
    if (quiet.len() as f64) < QUIET_MIN * rounds.len() as f64 { rounds.to_vec() } else { quiet }
}
