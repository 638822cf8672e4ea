//! Which probes a worker has: what `--probe` says, and the worker's own file of external ones.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use bitloop_core::spec::{ExternalProbe, PROBE_KINDS, ProbesSpec, SpecError, is_probe_name};

use super::command::{Limits, ProbeCommand};

/// Most probes of a worker.
const PROBES_MAX: usize = 64;

/// The kind that stands for programs of a file.
const EXTERNAL: &str = "external";

/// The kind that programs without the feature `cuda` lack.
const CUDA: &str = "candle-cuda";

/// Before the name that experiments call one of several probes of a kind.
const NAME: &str = "name=";

/// One `--probe NAME[=OPTIONS]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProbeOption {
    /// An adapter of this program, which reads its options itself.
    Adapter {
        /// Which.
        adapter: &'static str,
        /// What experiments call the probe, if not as the adapter.
        name: Option<String>,
        /// What else stands behind the `=`.
        options: Option<String>,
    },
    /// The programs of a file.
    External(PathBuf),
}

/// Why an option is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProbeOptionError {
    /// There is no such probe.
    #[error("there is no probe `{0}`; there are {kinds}; programs of your own stand in the file of `external=FILE`", kinds = offered().join(", "))]
    Unknown(String),
    /// Another build of this program has it.
    #[error("this bitloop was built without the probe `{0}`; build it with `cargo build --release --features cuda`, or give {kinds}", kinds = offered().join(", "))]
    NotBuilt(String),
    /// Experiments cannot call it so.
    #[error(
        "`{0}` is no name for a probe; give one name of 1 to 32 letters, digits, `-` and `_` that is no probe's of bitloop's own, \
         such as name=second"
    )]
    Name(String),
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
        let known = offered().into_iter().find(|known| *known == name);
        let name = known.ok_or_else(|| match PROBE_KINDS.contains(&name) {
            true => ProbeOptionError::NotBuilt(name.to_owned()),
            false => ProbeOptionError::Unknown(name.to_owned()),
        })?;
        match (name, options) {
            (EXTERNAL, None | Some("")) => Err(ProbeOptionError::NoFile),
            (EXTERNAL, Some(file)) => Ok(Self::External(PathBuf::from(file))),
            (adapter, options) => {
                let (name, options) = named(options)?;
                Ok(Self::Adapter { adapter, name, options })
            }
        }
    }
}

/// The kinds that this program has.
fn offered() -> Vec<&'static str> {
    PROBE_KINDS.into_iter().filter(|kind| *kind != CUDA || cfg!(feature = "cuda")).collect()
}

/// What a probe is to be called, which is for the worker, and the other options, which are for the adapter.
fn named(options: Option<&str>) -> Result<(Option<String>, Option<String>), ProbeOptionError> {
    let parts = options.into_iter().flat_map(|options| options.split(','));
    let (names, others): (Vec<&str>, Vec<&str>) = parts.partition(|part| part.starts_with(NAME));
    if names.is_empty() {
        return Ok((None, options.map(str::to_owned)));
    }
    let name = names.join(",").split_off(NAME.len());
    if !is_probe_name(&name) || PROBE_KINDS.contains(&name.as_str()) {
        return Err(ProbeOptionError::Name(name));
    }
    Ok((Some(name), (!others.is_empty()).then(|| others.join(","))))
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
    #[error("two probes are called `{0}`; give one of them another name, one of bitloop's own by name=NAME")]
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
            ProbeOption::Adapter { adapter, name, options } => {
                let name = name.clone().unwrap_or_else(|| (*adapter).to_owned());
                found.push((name, of_adapter(adapter, options.as_deref(), program)));
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

fn of_adapter(adapter: &str, options: Option<&str>, program: &Path) -> ProbeCommand {
    let what = options.map_or_else(|| adapter.to_owned(), |options| format!("{adapter}={options}"));
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
    let usual = Limits::default();
    // Whoever gives a device seconds does not want to wait minutes for one that hangs.
    let load = usual.load.min(time_limit);
    let limits = Limits { start: start_limit, request: time_limit, load, ..usual };
    let folder = Some(folder.to_owned());
    (name, ProbeCommand { program, arguments: words.collect(), environment, folder, limits })
}

#[cfg(test)]
mod tests {
    use bitloop_core::probe::Patience;

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
    fn two_probes_of_a_kind_have_names_of_their_own() {
        let options =
            [parsed("integer=name=first,cpus=0"), parsed("integer=cpus=1,name=second"), parsed("integer")];

        let found = registered(&options, Path::new(PROGRAM)).unwrap();

        let found: Vec<_> =
            found.iter().map(|(name, command)| (name.as_str(), command.arguments[1].as_str())).collect();
        assert_eq!(
            found,
            [("first", "integer=cpus=0"), ("second", "integer=cpus=1"), ("integer", "integer")]
        );
        for wrong in ["name=", "name=a b", "name=onnxruntime", "name=a,name=b"] {
            let error = format!("integer={wrong}").parse::<ProbeOption>().unwrap_err();
            assert!(matches!(error, ProbeOptionError::Name(_)), "{wrong}: {error}");
        }
    }

    #[test]
    fn the_adapters_of_this_program_can_be_named_and_no_others() {
        let adapters: BTreeSet<&str> = crate::adapter::ADAPTERS.iter().map(|adapter| adapter.name).collect();
        let named: BTreeSet<&str> = offered().into_iter().filter(|kind| *kind != EXTERNAL).collect();

        assert_eq!(named, adapters);
        for adapter in PROBE_KINDS.into_iter().filter(|kind| *kind != EXTERNAL) {
            let parsed = adapter.parse::<ProbeOption>();
            match adapters.contains(adapter) {
                true => assert!(parsed.is_ok(), "{adapter}"),
                false => assert_eq!(parsed, Err(ProbeOptionError::NotBuilt(adapter.to_owned()))),
            }
        }
        let said = ProbeOptionError::NotBuilt(CUDA.to_owned()).to_string();
        assert!(said.contains("--features cuda") && said.contains("integer, onnxruntime"), "{said}");
    }

    #[test]
    fn what_is_no_probe_says_what_is() {
        assert_eq!("pi5".parse::<ProbeOption>(), Err(ProbeOptionError::Unknown("pi5".to_owned())));
        assert_eq!("external".parse::<ProbeOption>(), Err(ProbeOptionError::NoFile));
        assert_eq!("external=".parse::<ProbeOption>(), Err(ProbeOptionError::NoFile));
        let said = ProbeOptionError::Unknown("pi5".to_owned()).to_string();
        assert!(said.contains(&format!("there are {};", offered().join(", "))), "{said}");
        assert_eq!(said.contains("candle-cuda"), cfg!(feature = "cuda"), "{said}");
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
        let asked = Patience { at_most_ns: 2e9, ..Patience::default() };
        let limits = found.iter().map(|(_, command)| command.limits.of_timing(&asked).as_secs());
        assert_eq!(
            limits.collect::<Vec<_>>(),
            [2 * 2 + 7, 5 * 60, 5 * 60],
            "a short limit binds what is timed, too"
        );
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
