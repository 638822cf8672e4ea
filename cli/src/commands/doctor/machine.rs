//! The program and the machine: processor, memory, limits, GPUs. Files of the system are read below a root, which tests
//! make up.

use std::fs;
use std::path::Path;

use bitloop_quant::device;

use super::Finding;

/// What a worker needs for the models that come with bitloop.
const MEMORY_BYTES_MIN: u64 = 1 << 30;

/// Files that may be open; a coordinator serves fewer connections with less, and reserves some for itself.
const OPEN_FILES_FAIL: u64 = 256;
const OPEN_FILES_WARN: u64 = 1_024;

/// A file that says what limits a group of processes has, and what stands there when there is none.
const MEMORY_LIMITS: [&str; 2] = ["memory.max", "memory.limit_in_bytes"];

pub(super) fn look(root: &Path) -> Vec<Finding> {
    vec![version(), processor(), memory(root), open_files(root)]
}

fn version() -> Finding {
    let features: Vec<&str> = [("cuda", cfg!(feature = "cuda")), ("otel", cfg!(feature = "otel"))]
        .into_iter()
        .filter_map(|(name, has)| has.then_some(name))
        .collect();
    let features = if features.is_empty() { "none".to_owned() } else { features.join(", ") };
    let (arch, os) = (std::env::consts::ARCH, std::env::consts::OS);
    Finding::ok(
        "version",
        format!("bitloop {} for {arch} {os}, features: {features}", env!("CARGO_PKG_VERSION")),
    )
}

fn processor() -> Finding {
    let processor = device::processor();
    let threads = std::thread::available_parallelism().map_or(0, usize::from);
    let said = format!(
        "{}, {} cores, {threads} threads may run at once, {}",
        processor.class,
        processor.cores,
        match processor.features.is_empty() {
            true => "no vector instructions that bitloop uses".to_owned(),
            false => processor.features.join(" "),
        }
    );
    let is_slow = cfg!(target_arch = "x86_64") && !processor.features.iter().any(|feature| feature == "avx2");
    match is_slow {
        true => Finding::warn("processor", said)
            .advise("results are the same, and take several times longer; use a processor with AVX2"),
        false => Finding::ok("processor", said),
    }
}

fn memory(root: &Path) -> Finding {
    let meminfo = fs::read_to_string(root.join("proc/meminfo")).unwrap_or_default();
    let field = |name: &str| {
        let line = meminfo.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.saturating_mul(1024))
    };
    let (Some(total), Some(available)) = (field("MemTotal"), field("MemAvailable")) else {
        return Finding::warn("memory", "the system does not tell how much there is");
    };
    let limit = memory_limit(root).filter(|limit| *limit < total);
    let mut said = format!("{} of {} free", size(available), size(total));
    if let Some(limit) = limit {
        said.push_str(&format!(", and this process may have {}", size(limit)));
    }
    match available.min(limit.unwrap_or(u64::MAX)) < MEMORY_BYTES_MIN {
        true => Finding::warn("memory", said).advise(format!(
            "models and images may not fit; have {} free, or raise the limit of the container or the batch job",
            size(MEMORY_BYTES_MIN)
        )),
        false => Finding::ok("memory", said),
    }
}

/// The least limit of the groups that this process is in, as containers and batch systems set them.
fn memory_limit(root: &Path) -> Option<u64> {
    let groups = fs::read_to_string(root.join("proc/self/cgroup")).ok()?;
    let mut limits = Vec::new();
    for line in groups.lines() {
        // `0::/path`, or `4:memory:/path` where there is a hierarchy for each controller.
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else { continue };
        let hierarchy = match controllers {
            "" => root.join("sys/fs/cgroup"),
            names if names.split(',').any(|name| name == "memory") => root.join("sys/fs/cgroup/memory"),
            _ => continue,
        };
        let group = hierarchy.join(path.trim_start_matches('/'));
        let above = group.ancestors().take_while(|folder| folder.starts_with(&hierarchy));
        let files = above.flat_map(|folder| MEMORY_LIMITS.map(|name| folder.join(name)));
        limits.extend(files.filter_map(|file| fs::read_to_string(file).ok()?.trim().parse::<u64>().ok()));
    }
    limits.into_iter().min()
}

fn open_files(root: &Path) -> Finding {
    let limits = fs::read_to_string(root.join("proc/self/limits")).unwrap_or_default();
    let soft = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
    let Some(soft) = soft.and_then(|line| line.split_whitespace().next()) else {
        return Finding::warn("open files", "the system does not tell how many there may be");
    };
    // No number means that there is no limit.
    let limit = soft.parse().unwrap_or(u64::MAX);
    let said = format!("{soft} may be open");
    let advice = "raise it with `ulimit -n 65536`, or LimitNOFILE= in a systemd unit: each connection is one";
    match limit {
        0..OPEN_FILES_FAIL => Finding::fail("open files", said).advise(advice),
        OPEN_FILES_FAIL..OPEN_FILES_WARN => Finding::warn("open files", said).advise(advice),
        _ => Finding::ok("open files", said),
    }
}

/// GPUs that workers of this program can use, or could.
pub(super) fn gpus(root: &Path) -> Finding {
    let visible = std::env::var("CUDA_VISIBLE_DEVICES");
    let hidden = visible.map(|visible| format!(", CUDA_VISIBLE_DEVICES is `{visible}`")).unwrap_or_default();
    let there = fs::read_dir(root.join("proc/driver/nvidia/gpus")).map_or(0, Iterator::count);
    let found = device::gpus().map_err(|error| error.to_string());
    judge_gpus((there, &hidden), cfg!(feature = "cuda").then_some(found))
}

/// `found` is what CUDA says, for programs that ask it.
fn judge_gpus((there, hidden): (usize, &str), found: Option<Result<Vec<String>, String>>) -> Finding {
    let said = match there {
        0 => format!("the machine has none{hidden}"),
        there => format!("the machine has {there}{hidden}"),
    };
    match (found, there) {
        (None | Some(Ok(_)), 0) => Finding::ok("gpu", said),
        (None, _) => Finding::warn("gpu", format!("{said}, and this bitloop was built without CUDA"))
            .advise("build it with `cargo build --release --features cuda` to use them"),
        (Some(Ok(found)), _) if found.is_empty() => {
            Finding::warn("gpu", format!("{said}, and CUDA sees none"))
                .advise("CUDA_VISIBLE_DEVICES hides GPUs")
        }
        (Some(Ok(found)), _) => Finding::ok("gpu", format!("{said}; workers see {}", found.join(" "))),
        (Some(Err(reason)), 0) => Finding::ok("gpu", format!("{said} that CUDA can use: {reason}")),
        (Some(Err(reason)), _) => {
            Finding::fail("gpu", format!("{said}: {reason}")).advise("see what `nvidia-smi` says")
        }
    }
}

/// Bytes as people read them.
pub(super) fn size(bytes: u64) -> String {
    let units = [(1_u64 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    match units.into_iter().find(|(unit, _)| bytes >= *unit) {
        Some((unit, name)) => format!("{:.1} {name}", bytes as f64 / unit as f64),
        None => format!("{bytes} B"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::*;

    /// A machine with these files.
    fn machine(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        root
    }

    const MEMINFO: &str = "MemTotal:       33554432 kB\nMemFree: 1 kB\nMemAvailable:   16777216 kB\n";

    #[test]
    fn memory_is_what_the_group_of_processes_may_have() {
        let free = machine(&[("proc/meminfo", MEMINFO)]);
        let said = memory(free.path());
        assert_eq!((said.verdict, said.said.as_str()), (Verdict::Ok, "16.0 GiB of 32.0 GiB free"));

        for (group, file) in [
            ("0::/batch/step\n", "sys/fs/cgroup/batch/memory.max"),
            ("0::/\n", "sys/fs/cgroup/memory.max"),
            ("12:cpu:/x\n4:blkio,memory:/batch/step\n", "sys/fs/cgroup/memory/batch/memory.limit_in_bytes"),
        ] {
            let limited =
                machine(&[("proc/meminfo", MEMINFO), ("proc/self/cgroup", group), (file, "536870912\n")]);
            let said = memory(limited.path());
            assert_eq!(said.verdict, Verdict::Warn, "{file}: {}", said.said);
            assert!(said.said.ends_with("this process may have 512.0 MiB"), "{}", said.said);
        }
        let unlimited = machine(&[
            ("proc/meminfo", MEMINFO),
            ("proc/self/cgroup", "0::/a\n"),
            ("sys/fs/cgroup/a/memory.max", "max\n"),
        ]);
        assert_eq!(memory(unlimited.path()).verdict, Verdict::Ok);
        assert_eq!(memory(machine(&[]).path()).verdict, Verdict::Warn);
    }

    #[test]
    fn few_open_files_are_told() {
        let of = |limit: &str| {
            let text =
                format!("Limit  Soft Limit  Hard Limit  Units\nMax open files   {limit}   4096   files\n");
            open_files(machine(&[("proc/self/limits", &text)]).path()).verdict
        };
        assert_eq!(of("100"), Verdict::Fail);
        assert_eq!(of("512"), Verdict::Warn);
        assert_eq!(of("65536"), Verdict::Ok);
        assert_eq!(of("unlimited"), Verdict::Ok);
        assert_eq!(open_files(machine(&[]).path()).verdict, Verdict::Warn);
    }

    #[test]
    fn gpus_that_cannot_be_used_are_told() {
        let names = |count: usize| Some(Ok((0..count).map(|number| format!("cuda:{number}")).collect()));
        let judged = |there, found| judge_gpus((there, ""), found).verdict;
        assert_eq!(judged(0, None), Verdict::Ok);
        assert_eq!(judged(2, None), Verdict::Warn);
        assert_eq!(judged(2, names(0)), Verdict::Warn);
        assert_eq!(judged(2, Some(Err("driver too old".to_owned()))), Verdict::Fail);
        let used = judge_gpus((2, ", CUDA_VISIBLE_DEVICES is `1`"), names(1));
        assert_eq!(used.said, "the machine has 2, CUDA_VISIBLE_DEVICES is `1`; workers see cuda:0");
    }

    #[test]
    fn this_machine_says_what_it_has() {
        for finding in look(Path::new("/")) {
            assert_ne!(finding.verdict, Verdict::Fail, "{}", finding.line());
        }
    }
}
