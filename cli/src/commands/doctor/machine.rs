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

/// Whose cards workers can use, and which of what is on the bus is a display controller or computes like one.
const NVIDIA: &str = "0x10de";
const DISPLAY_CLASS: &str = "0x03";

/// GPUs that workers of this program can use, or could.
pub(super) fn gpus(root: &Path) -> Finding {
    let visible = std::env::var("CUDA_VISIBLE_DEVICES");
    let hidden = visible.map(|visible| format!(", CUDA_VISIBLE_DEVICES is `{visible}`")).unwrap_or_default();
    let found = device::gpus().map_err(|error| error.to_string());
    judge_gpus(&Gpus::look(root, &hidden), cfg!(feature = "cuda").then_some(found))
}

/// GPUs as the system shows them.
struct Gpus<'a> {
    /// Those that NVIDIA's driver has taken up.
    driven: usize,
    /// NVIDIA's cards, with or without a driver.
    cards: usize,
    /// What hides some of them.
    hidden: &'a str,
}

impl<'a> Gpus<'a> {
    fn look(root: &Path, hidden: &'a str) -> Self {
        let entries = |folder: &str| fs::read_dir(root.join(folder)).into_iter().flatten().flatten();
        let is_card = |card: &fs::DirEntry| {
            let says = |file: &str, start: &str| {
                fs::read_to_string(card.path().join(file)).is_ok_and(|text| text.starts_with(start))
            };
            says("vendor", NVIDIA) && says("class", DISPLAY_CLASS)
        };
        let driven = entries("proc/driver/nvidia/gpus").count();
        Self { driven, cards: entries("sys/bus/pci/devices").filter(is_card).count(), hidden }
    }
}

/// `found` is what CUDA says, for programs that ask it.
fn judge_gpus(gpus: &Gpus<'_>, found: Option<Result<Vec<String>, String>>) -> Finding {
    let Gpus { driven, cards, hidden } = *gpus;
    let said = match driven.max(cards) {
        0 => format!("the machine has none{hidden}"),
        there => format!("the machine has {there}{hidden}"),
    };
    let build = "build it with `cargo build --release --features cuda` to use them";
    let driver =
        "install NVIDIA's driver until `nvidia-smi` shows them; a container has to be started with them";
    match (found, driven) {
        (Some(Ok(found)), _) if !found.is_empty() => {
            Finding::ok("gpu", format!("{said}; workers see {}", found.join(" ")))
        }
        (None, 0) if cards > 0 => Finding::warn(
            "gpu",
            format!("{said}, NVIDIA's driver is not there, and this bitloop was built without CUDA"),
        )
        .advise(format!("{driver}; {build}")),
        (Some(_), 0) if cards > 0 => {
            Finding::warn("gpu", format!("{said}, and NVIDIA's driver is not there")).advise(driver)
        }
        (None | Some(Ok(_)), 0) => Finding::ok("gpu", said),
        (None, _) => {
            Finding::warn("gpu", format!("{said}, and this bitloop was built without CUDA")).advise(build)
        }
        (Some(Ok(_)), _) => Finding::warn("gpu", format!("{said}, and CUDA sees none"))
            .advise("CUDA_VISIBLE_DEVICES hides GPUs"),
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
        let gpus = |driven| Gpus { driven, cards: driven, hidden: "" };
        let judged = |driven, found| judge_gpus(&gpus(driven), found).verdict;
        assert_eq!(judged(0, None), Verdict::Ok);
        assert_eq!(judged(2, None), Verdict::Warn);
        assert_eq!(judged(2, names(0)), Verdict::Warn);
        assert_eq!(judged(2, Some(Err("driver too old".to_owned()))), Verdict::Fail);
        let hidden = Gpus { hidden: ", CUDA_VISIBLE_DEVICES is `1`", ..gpus(2) };
        let used = judge_gpus(&hidden, names(1));
        assert_eq!(used.said, "the machine has 2, CUDA_VISIBLE_DEVICES is `1`; workers see cuda:0");
    }

    #[test]
    fn gpus_without_a_driver_are_seen_on_the_bus() {
        let bus = machine(&[
            ("sys/bus/pci/devices/0000:01:00.0/vendor", "0x10de\n"),
            ("sys/bus/pci/devices/0000:01:00.0/class", "0x030200\n"),
            // Its sound, a bridge between such cards, and another maker's display.
            ("sys/bus/pci/devices/0000:01:00.1/vendor", "0x10de\n"),
            ("sys/bus/pci/devices/0000:01:00.1/class", "0x040300\n"),
            ("sys/bus/pci/devices/0000:02:00.0/vendor", "0x10de\n"),
            ("sys/bus/pci/devices/0000:02:00.0/class", "0x068000\n"),
            ("sys/bus/pci/devices/0000:03:00.0/vendor", "0x1002\n"),
            ("sys/bus/pci/devices/0000:03:00.0/class", "0x030000\n"),
        ]);
        let gpus = Gpus::look(bus.path(), "");

        let no_driver = Some(Err("libcuda is not there".to_owned()));
        for (found, is_built) in [(None, false), (no_driver, true), (Some(Ok(Vec::new())), true)] {
            let told = judge_gpus(&gpus, found);
            let advice = told.advice.unwrap();
            assert_eq!(told.verdict, Verdict::Warn, "{}", told.said);
            assert!(
                told.said.starts_with("the machine has 1, ") && told.said.contains("driver"),
                "{}",
                told.said
            );
            assert!(advice.contains("install NVIDIA's driver"), "{advice}");
            assert_eq!(advice.contains("--features cuda"), !is_built, "{advice}");
        }
        // Where a driver is, its own word counts.
        let driven = machine(&[("proc/driver/nvidia/gpus/0000:01:00.0/information", "Model: NVIDIA\n")]);
        let gpus = Gpus::look(driven.path(), "");
        assert_eq!((gpus.driven, gpus.cards), (1, 0));
        assert!(!judge_gpus(&gpus, None).said.contains("driver"));
        assert_eq!(judge_gpus(&Gpus::look(machine(&[]).path(), ""), None).verdict, Verdict::Ok);
    }

    #[test]
    fn this_machine_says_what_it_has() {
        for finding in look(Path::new("/")) {
            assert_ne!(finding.verdict, Verdict::Fail, "{}", finding.line());
        }
    }
}
