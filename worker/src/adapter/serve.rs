//! The probe's side of the protocol, over any adapter: requests in, answers out, until the input ends.

use std::any::Any;
use std::fs::File;
use std::io::{self, BufRead, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tracing::warn;

use super::environment::Surroundings;
use super::measure::Measuring;
use super::memory::Memory;
use super::{AdapterError, Answer, OpenError, Reply, Request, Variable};

/// A request names some files, and a width for each point of two networks: far less than this.
const LINE_BYTES_MAX: u64 = 16 << 20;

/// Requests that may wait; a worker sends one and waits for its answer.
const WAITING_MAX: usize = 16;

/// From so many bytes on the C library asks the system for memory, and gives it back as soon as it is free. Left to itself it
/// keeps more and more, so that a network's memory would be that of all networks before it.
const GIVEN_BACK: (&str, &str) = ("MALLOC_MMAP_THRESHOLD_", "65536");

/// How long opening an adapter may take when the input has ended already: so that it is said why it cannot be opened, and a
/// driver that hangs outlives nobody for long.
const OPENING: Duration = Duration::from_secs(10);

/// Why a probe ends before its input does.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The adapter cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// What it loads needs variables that the process cannot be started anew with.
    #[error("cannot start this program again with {variables}: {error}")]
    Variables {
        /// Which, and what they have to be.
        variables: String,
        /// Why not.
        error: io::Error,
    },
    /// Nobody reads its answers, or they cannot be sent.
    #[error("cannot answer on standard output: {0}")]
    Output(io::Error),
}

/// Makes this process the probe that a text such as `integer=cpus=0-1` names. It ends with its standard input, also in the
/// middle of a measurement.
///
/// Errors: [`ServeError`].
pub fn serve_process(text: &str) -> Result<(), ServeError> {
    begin_anew(super::variables(text))?;
    // Before a library is loaded that prints something.
    let mut output = own_output().map_err(ServeError::Output)?;
    let (told, opened) = sync_channel(1);
    let requests = requests(io::BufReader::new(io::stdin()), move || match opened.recv_timeout(OPENING) {
        Ok(()) | Err(RecvTimeoutError::Timeout) => std::process::exit(0),
        // Nothing was opened: the process is about to end with the reason.
        Err(RecvTimeoutError::Disconnected) => {}
    });
    let mut adapter = super::open(text)?;
    told.send(()).expect("there is room for one word");
    let surroundings = Surroundings::default();
    let memory = Memory::new(surroundings.process());
    let measuring = Measuring { adapter: adapter.as_mut(), surroundings, memory };
    serve(measuring, &requests, &mut output).map_err(ServeError::Output)
}

/// Becomes the same program with variables that it lacks, and with [`GIVEN_BACK`], which the C library reads once, at the start; goes
/// on without that one if need be.
///
/// Errors: `Variables`.
fn begin_anew(lacking: Vec<Variable>) -> Result<(), ServeError> {
    let (variable, bytes) = GIVEN_BACK;
    let mut set = lacking.clone();
    if std::env::var_os(variable).is_none() {
        set.push((variable, bytes.to_owned()));
    }
    if set.is_empty() {
        return Ok(());
    }
    let begin = |program: PathBuf| Command::new(program).args(std::env::args_os().skip(1)).envs(set).exec();
    let error = this_program().map_or_else(|error| error, begin);
    if lacking.is_empty() {
        warn!(%error, "memory of networks before stays counted");
        return Ok(());
    }
    let variables: Vec<String> = lacking.iter().map(|(name, value)| format!("{name}={value}")).collect();
    Err(ServeError::Variables { variables: variables.join(", "), error })
}

/// This very program, also when another one has its name by now, as after an upgrade: the name of its file says less.
///
/// Errors: those of [`std::env::current_exe`].
pub fn this_program() -> io::Result<PathBuf> {
    const THIS: &str = "/proc/self/exe";
    match Path::new(THIS).exists() {
        true => Ok(PathBuf::from(THIS)),
        false => std::env::current_exe(),
    }
}

/// Takes standard output away from everything else in this process: what is printed goes to standard error from now on.
fn own_output() -> io::Result<File> {
    let own = io::stdout().as_fd().try_clone_to_owned()?;
    rustix::stdio::dup2_stdout(io::stderr())?;
    Ok(File::from(own))
}

/// Lines that came in.
pub(super) type Requests = Receiver<Vec<u8>>;

/// Reads lines on a thread of its own and calls `at_end` behind the last one, whatever the process does meanwhile.
pub(super) fn requests(
    input: impl BufRead + Send + 'static,
    at_end: impl FnOnce() + Send + 'static,
) -> Requests {
    let (lines, requests) = sync_channel(WAITING_MAX);
    thread::spawn(move || {
        if let Err(mistake) = read_lines(input, &lines) {
            warn!(mistake, "the probe ends");
        }
        drop(lines);
        at_end();
    });
    requests
}

fn read_lines(mut input: impl BufRead, lines: &SyncSender<Vec<u8>>) -> Result<(), String> {
    loop {
        let mut line = Vec::new();
        let read = input.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut line);
        read.map_err(|error| format!("cannot read standard input: {error}"))?;
        if line.is_empty() {
            return Ok(());
        }
        if line.len() as u64 == LINE_BYTES_MAX {
            return Err(format!("a line is longer than {LINE_BYTES_MAX} bytes"));
        }
        match lines.try_send(line) {
            Ok(()) => {}
            // Waiting here would hide the end of the input.
            Err(TrySendError::Full(_)) => return Err(format!("more than {WAITING_MAX} requests wait")),
            Err(TrySendError::Disconnected(_)) => return Ok(()),
        }
    }
}

/// Says what the probe is, then answers one request after another.
///
/// Errors: the answers cannot be written.
pub(super) fn serve(
    mut measuring: Measuring<'_>,
    requests: &Requests,
    output: &mut dyn Write,
) -> io::Result<()> {
    send(output, &measuring.adapter.hello())?;
    for line in requests.iter().filter(|line| !line.trim_ascii().is_empty()) {
        send(output, &answer(&mut measuring, &line))?;
    }
    Ok(())
}

fn send(output: &mut dyn Write, message: &impl Serialize) -> io::Result<()> {
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    output.write_all(&line)?;
    output.flush()
}

fn answer(measuring: &mut Measuring<'_>, line: &[u8]) -> Answer {
    let request: Request = match serde_json::from_slice(line) {
        Ok(request) => request,
        Err(error) => {
            let reason = format!("the request cannot be read: {error}");
            return Answer { id: id_of(line), reply: Reply::Failed { reason } };
        }
    };
    // A network that makes an adapter panic costs its own request.
    let reply = catch_unwind(AssertUnwindSafe(|| measuring.reply(&request.ask)));
    let reply = match reply {
        Ok(Ok(reply)) => reply,
        Ok(Err(AdapterError::Failed(reason))) => Reply::Failed { reason },
        Ok(Err(AdapterError::Unable(reason))) => Reply::Unable { reason },
        Err(panic) => Reply::Failed { reason: format!("the adapter panicked: {}", text_of(&*panic)) },
    };
    Answer { id: request.id, reply }
}

/// The number of a request that makes no sense otherwise, or 0.
fn id_of(line: &[u8]) -> u64 {
    #[derive(Deserialize)]
    struct Numbered {
        id: u64,
    }
    serde_json::from_slice::<Numbered>(line).map_or(0, |numbered| numbered.id)
}

fn text_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("it does not say why")
        .to_owned()
}
