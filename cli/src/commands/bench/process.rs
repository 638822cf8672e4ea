//! A coordinator in a process of its own, so that its time and memory are measured apart from those of its clients.
//!
//! It is what `bitloop coordinator` starts: loopback, HTTP/2, journal and index on disk.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use anyhow::{Context, anyhow};
use bitloop_coordinator::store::bytes_below;
use bitloop_proto::transport::Connection;

use crate::client::Client;
use crate::clock;
use crate::failure::Failure;
use crate::show;

/// How the line begins in which a coordinator says where it listens.
const LISTENING: &str = "listening on ";

/// How the line begins in which it says where its metrics are.
const METRICS: &str = "metrics on http://";

/// How long a coordinator on an empty folder may take to start, and to answer for its metrics.
const PATIENCE: Duration = Duration::from_secs(30);

/// A coordinator that ends with this value.
pub(super) struct CoordinatorProcess {
    child: Child,
    url: String,
    /// Host and port of its metrics.
    monitored: String,
    data_dir: PathBuf,
}

/// What a coordinator has used so far.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Usage {
    /// Processor time in seconds, user's and system's, all threads together.
    pub(super) cpu_seconds: f64,
    /// Memory that it has now.
    pub(super) memory_bytes: u64,
    /// The most that it has had at a time.
    pub(super) memory_max_bytes: u64,
}

/// What a coordinator counts about itself, by the names of its metrics with their labels.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Metrics(BTreeMap<String, f64>);

impl CoordinatorProcess {
    /// Starts this very program as a coordinator with `data_dir`, which it makes.
    pub(super) fn start(data_dir: &Path) -> Result<Self, Failure> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(["coordinator", "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0", "--data-dir"])
            .arg(data_dir)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("a coordinator cannot be started")?;
        let (out, messages) = (child.stdout.take(), child.stderr.take());
        let (out, messages) = out.zip(messages).context("a coordinator was started without pipes")?;
        // From here on it ends if this does.
        let mut process =
            Self { child, url: String::new(), monitored: String::new(), data_dir: data_dir.to_owned() };
        let (sender, monitored) = sync_channel(1);
        // Nobody joins it: it ends with the coordinator.
        thread::spawn(move || pass_on(BufReader::new(messages), &sender));
        let mut line = String::new();
        BufReader::new(out).read_line(&mut line)?;
        let url = line.trim().strip_prefix(LISTENING);
        process.url = url.context("the coordinator did not start; its message says why")?.to_owned();
        process.monitored = first(&monitored)?;
        Ok(process)
    }

    /// A user's connection.
    pub(super) async fn client(&self) -> Result<Client, Failure> {
        let channel = self.connection()?.connect().await;
        Ok(Client::over(channel.map_err(|refused| anyhow!(refused.reason))?, &self.url))
    }

    /// A worker's way to it.
    pub(super) fn connection(&self) -> Result<Connection, Failure> {
        Ok(Connection::parse(&self.url)?)
    }

    /// What it has used so far.
    pub(super) fn usage(&self) -> Result<Usage, Failure> {
        let id = self.child.id();
        let usage = || {
            let status = fs::read_to_string(format!("/proc/{id}/status")).ok()?;
            Some(Usage {
                cpu_seconds: clock::cpu_seconds_of(id)?,
                memory_bytes: bytes_in(&status, "VmRSS:")?,
                memory_max_bytes: bytes_in(&status, "VmHWM:")?,
            })
        };
        Ok(usage().context("this system does not tell what another process uses; run this on Linux")?)
    }

    /// What it counts about itself.
    pub(super) fn metrics(&self) -> Result<Metrics, Failure> {
        let mut stream = TcpStream::connect(&self.monitored)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let (_, text) = answer.split_once("\r\n\r\n").context("the coordinator gives no metrics")?;
        Ok(Metrics::parse(text))
    }

    /// Bytes of its journal and of the index beside it.
    pub(super) fn stored_bytes(&self) -> u64 {
        ["journal", "store"].map(|part| bytes_below(&self.data_dir.join(part))).iter().sum()
    }
}

impl Drop for CoordinatorProcess {
    fn drop(&mut self) {
        // What it acknowledged is on disk, and nobody reads that any more. It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Metrics {
    fn parse(text: &str) -> Self {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let values = lines.filter_map(|line| {
            let (name, value) = line.rsplit_once(' ')?;
            Some((name.to_owned(), value.parse().ok()?))
        });
        Self(values.collect())
    }

    /// A value by its name with its labels; 0 if there is none.
    pub(super) fn value(&self, name: &str) -> f64 {
        self.0.get(name).copied().unwrap_or(0.0)
    }

    /// The smallest bound of a histogram that a share of what it counted does not exceed; infinite above all bounds, and
    /// none if it counted nothing.
    pub(super) fn quantile(&self, name: &str, share: f64) -> Option<f64> {
        let all = self.value(&format!("{name}_count"));
        if all == 0.0 {
            return None;
        }
        let start = format!("{name}_bucket{{le=\"");
        let buckets = self.0.iter().filter_map(|(label, count)| {
            let bound = label.strip_prefix(&start)?.strip_suffix("\"}")?;
            Some((if bound == "+Inf" { f64::INFINITY } else { bound.parse().ok()? }, *count))
        });
        buckets.filter(|(_, count)| *count >= share * all).map(|(bound, _)| bound).min_by(f64::total_cmp)
    }
}

/// Passes on what a coordinator has to say, but for where its metrics are.
fn pass_on(messages: impl BufRead, monitored: &SyncSender<String>) {
    for line in messages.lines().map_while(Result::ok) {
        match line.strip_prefix(METRICS) {
            // Whoever waited for it may have gone.
            Some(place) => drop(monitored.send(place.trim_end_matches("/metrics").to_owned())),
            None => show::note(&line),
        }
    }
}

fn first(monitored: &Receiver<String>) -> Result<String, Failure> {
    Ok(monitored.recv_timeout(PATIENCE).context("the coordinator does not say where its metrics are")?)
}

/// A value of `/proc/PID/status`, which counts in KiB.
fn bytes_in(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_and_quantiles_are_read_from_metrics() {
        let text = "# TYPE a histogram\na_bucket{le=\"0.5\"} 5\na_bucket{le=\"1\"} 9\na_bucket{le=\"+Inf\"} 10\na_count 10\n\
                    b{kind=\"x y\"} 7\n";
        let metrics = Metrics::parse(text);

        assert_eq!((metrics.value("b{kind=\"x y\"}"), metrics.value("c")), (7.0, 0.0));
        assert_eq!((metrics.quantile("a", 0.5), metrics.quantile("a", 0.9)), (Some(0.5), Some(1.0)));
        assert_eq!((metrics.quantile("a", 1.0), metrics.quantile("c", 0.5)), (Some(f64::INFINITY), None));
    }

    #[test]
    fn memory_is_read_in_bytes() {
        assert_eq!(bytes_in("VmHWM:\t    1000 kB\nVmRSS:\t     12 kB\n", "VmRSS:"), Some(12 * 1024));
        assert_eq!(bytes_in("Threads:\t3\n", "VmRSS:"), None);
    }
}
