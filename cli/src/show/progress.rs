use std::io::{IsTerminal, stderr};
use std::time::Duration;

use bitloop_proto::v1::ExperimentSummary;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

use super::note;
use crate::clock::Stopwatch;

/// Seconds between two lines of one stage where no bar can be drawn.
const LINE_SECONDS: f64 = 10.0;

/// How far an experiment is: a live bar on a terminal, a line now and then elsewhere.
pub(crate) struct Progress {
    bar: ProgressBar,
    drawn: bool,
    started: Stopwatch,
    /// Trials settled before this process looked, which say nothing of the rate.
    before: u64,
    /// When the last line was written, and of which stage.
    last_line: Option<(Stopwatch, String)>,
}

impl Progress {
    pub(crate) fn new(first: &ExperimentSummary) -> Self {
        let drawn = stderr().is_terminal();
        let target = if drawn { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(Some(first.total), target);
        let started = Stopwatch::start();
        let before = first.settled;
        let template = "{msg} [{bar:32}] {pos}/{len} trials, {pace}, {left}";
        let style = ProgressStyle::with_template(template).expect("the template is a constant");
        let pace = move |state: &ProgressState, out: &mut dyn std::fmt::Write| {
            let _ = out.write_str(&Pace::new(state.pos(), state.len().unwrap_or(0), before, started).rate());
        };
        let left = move |state: &ProgressState, out: &mut dyn std::fmt::Write| {
            let _ = out.write_str(&Pace::new(state.pos(), state.len().unwrap_or(0), before, started).eta());
        };
        bar.set_style(style.progress_chars("=> ").with_key("pace", pace).with_key("left", left));
        bar.set_position(before);
        if drawn {
            bar.enable_steady_tick(Duration::from_millis(500));
        }
        Self { bar, drawn, started, before, last_line: None }
    }

    /// Shows the newest state.
    pub(crate) fn update(&mut self, summary: &ExperimentSummary) {
        if self.drawn {
            self.bar.set_length(summary.total);
            self.bar.set_position(summary.settled);
            self.bar.set_message(message(summary));
            return;
        }
        let due = |(written, stage): &(Stopwatch, String)| {
            written.seconds() >= LINE_SECONDS || *stage != summary.stage
        };
        if self.last_line.as_ref().is_none_or(due) {
            let pace = Pace::new(summary.settled, summary.total, self.before, self.started);
            let (settled, total) = (summary.settled, summary.total);
            note(&format!("{} {settled}/{total} trials, {}, {}", message(summary), pace.rate(), pace.eta()));
            self.last_line = Some((Stopwatch::start(), summary.stage.clone()));
        }
    }

    /// Takes the bar away.
    pub(crate) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

fn message(summary: &ExperimentSummary) -> String {
    let what = if summary.stage.is_empty() { summary.id.as_str() } else { summary.stage.as_str() };
    let workers = match summary.workers {
        0 => ", waiting for a worker".to_owned(),
        1 => ", 1 worker".to_owned(),
        many => format!(", {many} workers"),
    };
    format!("{what}{workers}")
}

/// How fast trials are measured, and how many are left.
pub(crate) struct Pace {
    pub(crate) per_second: f64,
    pub(crate) left: u64,
}

impl Pace {
    fn new(settled: u64, total: u64, before: u64, started: Stopwatch) -> Self {
        let done = settled.saturating_sub(before) as f64;
        Self { per_second: done / started.seconds().max(1e-3), left: total.saturating_sub(settled) }
    }

    pub(crate) fn rate(&self) -> String {
        if self.per_second >= 0.1 {
            format!("{:.1}/s", self.per_second)
        } else {
            format!("{:.1}/min", self.per_second * 60.0)
        }
    }

    fn eta(&self) -> String {
        let seconds = self.seconds_left();
        format!("ETA {}", seconds.map_or_else(|| "unknown".to_owned(), span))
    }

    /// When nothing is left at this pace; none while nothing happens.
    pub(crate) fn seconds_left(&self) -> Option<f64> {
        (self.per_second > 0.0).then(|| self.left as f64 / self.per_second)
    }
}

/// A time as people say it.
pub(crate) fn span(seconds: f64) -> String {
    let seconds = seconds.ceil() as u64;
    match seconds {
        0..=119 => format!("{seconds} s"),
        120..=7199 => format!("{} min", seconds / 60),
        7200..=172_799 => format!("{:.1} h", seconds as f64 / 3600.0),
        _ => format!("{:.1} d", seconds as f64 / 86_400.0),
    }
}
