//! Finding and loading ONNX Runtime's library.

use std::env;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use ort::environment::Environment;

use super::super::AdapterError;

/// Names the library for all programs that use it by way of the same crate.
const LIBRARY_VARIABLE: &str = "ORT_DYLIB_PATH";

/// Names the Python environment that is active.
const ENVIRONMENT_VARIABLES: [&str; 2] = ["VIRTUAL_ENV", "CONDA_PREFIX"];

/// File names of the library; what stands for the star may be anything.
const NAMES: [&str; 4] =
    ["libonnxruntime.so*", "libonnxruntime.dylib", "libonnxruntime.1*", "onnxruntime.dll"];

/// Where it lies in a folder: that of the library itself, of the packages of Python and Node.js, of a Python environment, of a
/// Node.js project.
const PLACES: [&str; 9] = [
    "",
    "lib",
    "capi",
    "onnxruntime/capi",
    "lib/python3*/site-packages/onnxruntime/capi",
    "Lib/site-packages/onnxruntime/capi",
    "bin/napi-v*/{platform}",
    "onnxruntime-node/bin/napi-v*/{platform}",
    "node_modules/onnxruntime-node/bin/napi-v*/{platform}",
];

/// How to get a library, for error messages.
const HINT: &str =
    "name the library or a Python environment that has it by lib=PATH; `pip install onnxruntime` gets it";

/// The library that this process has loaded; it can load no other one.
static LOADED: Mutex<Option<(PathBuf, Environment)>> = Mutex::new(None);

/// Loads the library, unless it is loaded already, and returns its environment and version.
///
/// It is looked for at `lib`, a file or a folder, otherwise at ORT_DYLIB_PATH, in the Python environment that is active, and
/// where the system has libraries.
///
/// Errors: `Unable`, saying where there was none, or what is wrong with it.
pub(super) fn loaded(lib: Option<PathBuf>) -> Result<(Environment, String), AdapterError> {
    let library = found(lib)?;
    let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
    let environment = match &*loaded {
        Some((other, _)) if *other != library => {
            return Err(unable(format!(
                "this process has loaded onnxruntime from {} and cannot load {} too; start another one",
                other.display(),
                library.display()
            )));
        }
        Some((_, environment)) => environment.clone(),
        None => {
            let environment = load(&library)?;
            *loaded = Some((library.clone(), environment.clone()));
            environment
        }
    };
    Ok((environment, version(&library)))
}

fn load(library: &Path) -> Result<Environment, AdapterError> {
    let builder = ort::init_from(library).map_err(|error| {
        unable(format!("onnxruntime cannot be loaded: {error}; {HINT}", error = one_line(&error.to_string())))
    })?;
    let environment = builder.with_name("bitloop").with_telemetry(false).build();
    environment
        .map_err(|error| unable(format!("onnxruntime at {} does not start: {error}", library.display())))
}

/// The file to load.
fn found(lib: Option<PathBuf>) -> Result<PathBuf, AdapterError> {
    let variable = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(named) = lib.or_else(|| variable(LIBRARY_VARIABLE)) {
        return within(&named).ok_or_else(|| {
            unable(format!("there is no library of onnxruntime at {}; {HINT}", named.display()))
        });
    }
    let environments = ENVIRONMENT_VARIABLES.iter().filter_map(|name| variable(name));
    let system = ["/usr/local/lib", "/usr/lib", "/opt/homebrew/lib"].map(PathBuf::from);
    let multiarch = PathBuf::from(format!("/usr/lib/{}-linux-gnu", env::consts::ARCH));
    let places: Vec<PathBuf> = environments.chain(system).chain([multiarch]).collect();
    places.iter().find_map(|place| within(place)).ok_or_else(|| {
        let places: Vec<String> = places.iter().map(|place| place.display().to_string()).collect();
        unable(format!("there is no library of onnxruntime in {}; {HINT}", places.join(", ")))
    })
}

/// A library at a path, which is its file or a folder around it, with every link followed.
fn within(path: &Path) -> Option<PathBuf> {
    if path.is_file() {
        return path.canonicalize().ok();
    }
    let platform = match (env::consts::OS, env::consts::ARCH) {
        (system, "x86_64") => format!("{}/x64", node_system(system)),
        (system, _) => format!("{}/arm64", node_system(system)),
    };
    let places = PLACES.iter().map(|place| place.replace("{platform}", &platform));
    let mut files =
        places.flat_map(|place| NAMES.map(|name| matching(path, &format!("{place}/{name}")))).flatten();
    files.find(|file| file.is_file()).and_then(|file| file.canonicalize().ok())
}

/// What Node.js calls a system.
fn node_system(system: &str) -> &str {
    match system {
        "macos" => "darwin",
        "windows" => "win32",
        system => system,
    }
}

/// Paths below a folder whose names are those of a pattern, a star standing for any text at the end of a name; the last ones
/// first, as later versions are.
fn matching(folder: &Path, pattern: &str) -> Vec<PathBuf> {
    let mut paths = vec![folder.to_path_buf()];
    for part in pattern.split('/').filter(|part| !part.is_empty()) {
        paths = match part.strip_suffix('*') {
            None => paths.into_iter().map(|path| path.join(part)).collect(),
            Some(start) => paths.iter().flat_map(|path| beginning(path, start)).collect(),
        };
    }
    paths
}

fn beginning(folder: &Path, start: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
    let fits = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(start));
    let mut paths: Vec<PathBuf> = fits.map(|entry| entry.path()).collect();
    paths.sort_unstable_by(|a, b| b.cmp(a));
    paths
}

/// The version, as the file's name or what the library says of its build has it; the commit where neither does.
fn version(library: &Path) -> String {
    let of_name =
        library.file_name().and_then(|name| name.to_str()?.split_once(".so.").map(|(_, version)| version));
    let of_build = |key: &str| ort::info().split_once(key)?.1.split([',', ' ']).next();
    let full = of_name.filter(|version| version.contains('.'));
    let branch = || of_build("git-branch=").and_then(|branch| branch.strip_prefix("rel-"));
    match full.or_else(branch) {
        Some(version) => version.to_owned(),
        None => format!("of commit {}", of_build("git-commit-id=").unwrap_or("unknown")),
    }
}

pub(super) fn one_line(text: &str) -> String {
    text.lines().collect::<Vec<_>>().join(" ")
}

fn unable(reason: String) -> AdapterError {
    AdapterError::Unable(reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn touch(folder: &Path, path: &str) -> PathBuf {
        let path = folder.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, "none").unwrap();
        path.canonicalize().unwrap()
    }

    #[test]
    fn a_library_is_found_as_packages_ship_it() {
        let folder = tempfile::tempdir().unwrap();
        let wheel = "venv/lib/python3.11/site-packages/onnxruntime/capi";
        let python = touch(folder.path(), &format!("{wheel}/libonnxruntime.so.1.32.0"));
        touch(folder.path(), &format!("{wheel}/libonnxruntime_providers_shared.so"));

        for named in ["venv", "venv/lib/python3.11/site-packages", wheel] {
            assert_eq!(within(&folder.path().join(named)), Some(python.clone()), "{named}");
        }
        assert_eq!(within(&python), Some(python.clone()));
        assert_eq!(within(folder.path()), None);
        assert_eq!(version(&python), "1.32.0");
    }

    #[cfg(all(target_os = "linux", target_arch = "x86_64"))]
    #[test]
    fn a_library_is_found_in_a_project_of_node() {
        let folder = tempfile::tempdir().unwrap();
        let package = "node_modules/onnxruntime-node";
        let node = touch(folder.path(), &format!("{package}/bin/napi-v6/linux/x64/libonnxruntime.so.1"));

        assert_eq!(within(folder.path()), Some(node.clone()));
        assert_eq!(within(&folder.path().join(package)), Some(node));
    }

    #[test]
    fn where_nothing_is_the_way_to_get_it_is_said() {
        let folder = tempfile::tempdir().unwrap();

        let error = found(Some(folder.path().join("missing"))).unwrap_err().to_string();

        assert!(error.contains("missing") && error.contains("lib=PATH"), "{error}");
        assert!(error.contains("pip install onnxruntime"), "{error}");
    }

    #[test]
    fn a_file_that_is_no_library_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let garbage = touch(folder.path(), "libonnxruntime.so.1.32.0");

        let error = loaded(Some(garbage)).map(|(_, version)| version).unwrap_err().to_string();

        assert!(error.contains("cannot be loaded") && error.contains("libonnxruntime.so.1.32.0"), "{error}");
        assert!(!error.contains('\n') && error.contains("lib=PATH"), "{error}");
    }
}
