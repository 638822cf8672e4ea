//! Which probes a worker has: what `--probe` says, and the worker's own file of external ones.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use bitloop_core::spec::{ExternalProbe, PROBE_KINDS, ProbesSpec, SpecError};

use super::command::{Limits, ProbeCommand};

/// Most probes of a worker.
const PROBES_MAX: usize = 64;

/// The kind that stands for programs of a file.
const EXTERNAL: &str = "external";

/// One `--probe NAME[=OPTIONS]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProbeOption {
    /// An adapter of this program, which reads its options itself.
    Adapter {
        /// Its name.
        name: &'static str,
        /// What stands behind the `=`.
        options: Option<String>,
    },
    /// The programs of a file.
    External(PathBuf),
}

/// Why an option is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProbeOptionError {
    /// There is no such probe.
    #[error("there is no probe `{0}`; there are {kinds}; programs of your own stand in the file of `external=FILE`", kinds = PROBE_KINDS.join(", "))]
    Unknown(String),
    /// It names no file.
    #[error("write `external=FILE`; docs/probes.md says what stands in it")]
    NoFile,
}

impl FromStr for ProbeOption {
    type Err = ProbeOptionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, options) = match text.split_once('=') {
            Some((name, options)) => (name, Some(options)),
            None => (text, None),
        };
        let known = PROBE_KINDS.into_iter().find(|known| *known == name);
        let name = known.ok_or_else(|| ProbeOptionError::Unknown(name.to_owned()))?;
        match (name, options) {
            (EXTERNAL, None | Some("")) => Err(ProbeOptionError::NoFile),
            (EXTERNAL, Some(file)) => Ok(Self::External(PathBuf::from(file))),
            (_, options) => Ok(Self::Adapter { name, options: options.map(str::to_owned) }),
        }
    }
}

/// Why nobody knows how a worker's probes are started.
#[derive(Debug, thiserror::Error)]
pub enum RegistrationError {
    /// The file cannot be read.
    #[error("{path}: {error}", path = .path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The file has mistakes.
    #[error("{path}:\n{error}", path = .path.display())]
    Mistakes {
        /// Which.
        path: PathBuf,
        /// All of them.
        error: SpecError,
    },
    /// More than a coordinator hears of.
    #[error(
        "{0} probes are more than the {PROBES_MAX} that a worker may have; start another worker for some of them"
    )]
    TooMany(usize),
    /// Experiments could not tell two probes from each other.
    #[error("two probes are called `{0}`; give one of them another name")]
    Twice(String),
}

/// The probes that options stand for, by name, in their order; `program` is this one.
///
/// Errors: [`RegistrationError`].
pub fn registered(
    options: &[ProbeOption],
    program: &Path,
) -> Result<Vec<(String, ProbeCommand)>, RegistrationError> {
    let mut found = Vec::new();
    for option in options {
        match option {
            ProbeOption::Adapter { name, options } => {
                found.push(((*name).to_owned(), adapter(name, options.as_deref(), program)));
            }
            ProbeOption::External(path) => found.extend(external(path)?),
        }
    }
    if found.len() > PROBES_MAX {
        return Err(RegistrationError::TooMany(found.len()));
    }
    let mut names = BTreeSet::new();
    match found.iter().find(|(name, _)| !names.insert(name.clone())) {
        Some((name, _)) => Err(RegistrationError::Twice(name.clone())),
        None => Ok(found),
    }
}

fn adapter(name: &str, options: Option<&str>, program: &Path) -> ProbeCommand {
    let what = options.map_or_else(|| name.to_owned(), |options| format!("{name}={options}"));
    ProbeCommand {
        program: program.to_owned(),
        arguments: vec!["probe".to_owned(), what],
        environment: Default::default(),
        folder: None,
        limits: Limits::default(),
    }
}

fn external(path: &Path) -> Result<Vec<(String, ProbeCommand)>, RegistrationError> {
    let unread = |error| RegistrationError::File { path: path.to_owned(), error };
    let text = fs::read_to_string(path).map_err(unread)?;
    let spec = ProbesSpec::parse(&text);
    let ProbesSpec { probes } =
        spec.map_err(|error| RegistrationError::Mistakes { path: path.to_owned(), error })?;
    let file = fs::canonicalize(path).map_err(unread)?;
    let folder = file.parent().unwrap_or(Path::new("/"));
    Ok(probes.into_iter().map(|probe| of_file(probe, folder)).collect())
}

fn of_file(probe: ExternalProbe, folder: &Path) -> (String, ProbeCommand) {
    let ExternalProbe { name, command, environment, start_limit, time_limit } = probe;
    let mut words = command.into_iter();
    let program = words.next().unwrap_or_default();
    // A name without a folder is looked up in `PATH`.
    let program = if program.contains('/') { folder.join(program) } else { PathBuf::from(program) };
    let limits = Limits { start: start_limit, request: time_limit, ..Limits::default() };
    let folder = Some(folder.to_owned());
    (name, ProbeCommand { program, arguments: words.collect(), environment, folder, limits })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROGRAM: &str = "/opt/bitloop";

    fn parsed(text: &str) -> ProbeOption {
        text.parse().unwrap()
    }

    #[test]
    fn adapters_are_this_program_with_their_options_as_they_are() {
        let options = [parsed("integer"), parsed("onnxruntime=lib=/opt/lib.so,provider=cpu")];

        let found = registered(&options, Path::new(PROGRAM)).unwrap();

        let arguments: Vec<String> = found.iter().map(|(_, command)| command.arguments.join(" ")).collect();
        assert_eq!(arguments, ["probe integer", "probe onnxruntime=lib=/opt/lib.so,provider=cpu"]);
        assert!(found.iter().all(|(_, command)| command.program == Path::new(PROGRAM)));
    }

    #[test]
    fn every_adapter_of_this_program_can_be_named() {
        for adapter in crate::adapter::ADAPTERS {
            assert!(adapter.name.parse::<ProbeOption>().is_ok(), "{}", adapter.name);
        }
    }

    #[test]
    fn what_is_no_probe_says_what_is() {
        assert_eq!("pi5".parse::<ProbeOption>(), Err(ProbeOptionError::Unknown("pi5".to_owned())));
        assert_eq!("external".parse::<ProbeOption>(), Err(ProbeOptionError::NoFile));
        assert_eq!("external=".parse::<ProbeOption>(), Err(ProbeOptionError::NoFile));
        let said = ProbeOptionError::Unknown("pi5".to_owned()).to_string();
        assert!(said.contains("integer, onnxruntime, candle-cuda, external"), "{said}");
    }

    #[test]
    fn programs_of_a_file_start_in_its_folder() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("probes.yaml");
        let text = "version: 1\nprobes:\n  far: { command: [python3, far.py], time_limit: 7s }\n  \
                    near: { command: [./near, x] }\n  there: { command: [/opt/there] }\n";
        fs::write(&file, text).unwrap();

        let found = registered(&[ProbeOption::External(file)], Path::new(PROGRAM)).unwrap();

        let folder = folder.path().canonicalize().unwrap();
        let programs: Vec<_> = found.iter().map(|(_, command)| command.program.clone()).collect();
        assert_eq!(programs, [PathBuf::from("python3"), folder.join("./near"), PathBuf::from("/opt/there")]);
        let (name, far) = &found[0];
        assert_eq!((name.as_str(), far.arguments.join(" ").as_str()), ("far", "far.py"));
        assert_eq!((far.folder.as_ref(), far.limits.request.as_secs()), (Some(&folder), 7));
    }

    #[test]
    fn no_two_probes_have_one_name_and_no_file_is_read_in_part() {
        let twice = registered(&[parsed("integer"), parsed("integer=threads=2")], Path::new(PROGRAM));
        assert!(matches!(twice, Err(RegistrationError::Twice(name)) if name == "integer"));

        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("probes.yaml");
        let of = |file: &Path| registered(&[ProbeOption::External(file.to_owned())], Path::new(PROGRAM));
        assert!(matches!(of(&file), Err(RegistrationError::File { .. })));
        fs::write(&file, "version: 1\nprobes: { a: { command: [x] }, b: {} }\n").unwrap();
        let Err(RegistrationError::Mistakes { error, .. }) = of(&file) else { panic!("it has a mistake") };
        assert_eq!(error.mistakes.len(), 1);
    }
}
