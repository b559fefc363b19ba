//! Processors: /proc/cpuinfo for what they are, /sys/devices/system/cpu for how they hang together.
//! <https://docs.kernel.org/admin-guide/cputopology.html>

mod arm;

use std::collections::{BTreeMap, BTreeSet};

use nabi_domain::hardware::{Architecture, Cache, CacheKind, Cpu};

use crate::control_group;
use crate::list;
use crate::tree::Tree;

const INFO: &str = "proc/cpuinfo";
const CPUS: &str = "sys/devices/system/cpu";
/// Largest level of a cache.
const CACHES_MAX: u32 = 8;
/// Of what the kernel lists, what kernels of ggml, vLLM or ours ask for.
const EXTENSIONS: [&str; 41] = [
    // x86
    "sse4_2",
    "avx",
    "f16c",
    "fma",
    "avx2",
    "bmi2",
    "avx_vnni",
    "avx512f",
    "avx512cd",
    "avx512bw",
    "avx512dq",
    "avx512vl",
    "avx512_vnni",
    "avx512_bf16",
    "avx512_fp16",
    "avx512vbmi",
    "avx512_vbmi2",
    "amx_tile",
    "amx_int8",
    "amx_bf16",
    "amx_fp16",
    "avx10_1",
    "avx10_2",
    // ARM
    "asimd",
    "asimdhp",
    "asimddp",
    "fphp",
    "i8mm",
    "bf16",
    "sve",
    "sve2",
    "svei8mm",
    "svebf16",
    "sme",
    "sme2",
    "smei8i32",
    // RISC-V, LoongArch
    "v",
    "zvfh",
    "zvfbfmin",
    "lsx",
    "lasx",
];

pub(crate) fn read(tree: &Tree) -> Cpu {
    let text = tree.text(INFO).unwrap_or_default();
    let entries = entries(&text);
    let first = entries.first().cloned().unwrap_or_default();
    let mut cpu = Cpu { extensions: extensions(&entries), name: names(&entries), ..identity(&first) };
    let online = online(tree, entries.len());
    let topology = Topology::of_files(tree, &online).or(Topology::of_entries(&entries));
    cpu.threads = u32::try_from(online.len()).unwrap_or(u32::MAX);
    cpu.cores = topology.cores.unwrap_or(cpu.threads);
    cpu.sockets = topology.sockets.unwrap_or(u32::from(cpu.threads > 0));
    cpu.caches = caches(tree, &online);
    cpu.quota_millicores = quota_millicores(tree);
    cpu
}

type Entry<'a> = BTreeMap<&'a str, &'a str>;

/// One for each processor that is online.
fn entries(text: &str) -> Vec<Entry<'_>> {
    fn entry(block: &str) -> Entry<'_> {
        let pairs = block.lines().filter_map(|line| line.split_once(':'));
        let pairs = pairs.map(|(key, value)| (key.trim(), value.trim()));
        pairs.filter(|(_, value)| !value.is_empty()).collect()
    }
    text.split("\n\n").map(entry).filter(|entry| entry.contains_key("processor")).collect()
}

fn identity(entry: &Entry<'_>) -> Cpu {
    let word = |key: &str| entry.get(key).map(|&word| word.to_owned());
    let number = |key: &str| entry.get(key).and_then(|text| crate::tree::number(text)?.try_into().ok());
    if entry.contains_key("CPU implementer") {
        return Cpu {
            architecture: Architecture::Aarch64,
            vendor: number("CPU implementer").and_then(arm::implementer).map(str::to_owned),
            model: number("CPU part"),
            stepping: number("CPU revision"),
            ..Cpu::default()
        };
    }
    let architecture = if entry.contains_key("vendor_id") || entry.contains_key("cpu family") {
        Architecture::X86_64
    } else if entry.contains_key("CPU Family") {
        Architecture::Loongarch64
    } else if entry.contains_key("isa") {
        Architecture::Riscv64
    } else if entry.get("cpu").is_some_and(|cpu| cpu.starts_with("POWER")) {
        Architecture::Powerpc64
    } else {
        Architecture::Unknown
    };
    Cpu {
        architecture,
        vendor: word("vendor_id"),
        family: number("cpu family"),
        model: number("model"),
        stepping: number("stepping"),
        ..Cpu::default()
    }
}

/// Each kind of core is named once: machines have fast ones and small ones.
fn names(entries: &[Entry<'_>]) -> Option<String> {
    let mut names: Vec<&str> = Vec::new();
    for entry in entries {
        let number = |key: &str| entry.get(key).and_then(|text| crate::tree::number(text)?.try_into().ok());
        let part = || arm::part(number("CPU implementer")?, number("CPU part")?);
        let keys = ["model name", "Model Name", "uarch", "cpu"];
        let name = keys.iter().find_map(|&key| entry.get(key).copied()).or_else(part);
        names.extend(name.filter(|name| !names.contains(name)));
    }
    (!names.is_empty()).then(|| names.join(" + "))
}

/// What all of them have: cores of several kinds run the same program.
fn extensions(entries: &[Entry<'_>]) -> BTreeSet<String> {
    let of = |entry: &Entry<'_>| -> BTreeSet<String> {
        let lists = ["flags", "Features", "features"].iter().filter_map(|key| entry.get(key));
        let isa = entry.get("isa").into_iter().flat_map(|isa| isa.split('_').flat_map(riscv_letters));
        let words = lists.flat_map(|list| list.split_ascii_whitespace()).map(str::to_owned).chain(isa);
        words.filter(|word| EXTENSIONS.contains(&word.as_str())).collect()
    };
    let mut all = entries.iter().map(of);
    let first = all.next().unwrap_or_default();
    all.fold(first, |common, next| common.intersection(&next).cloned().collect())
}

/// `rv64imafdcv` is each of its letters, and what follows after `_` is a word.
fn riscv_letters(word: &str) -> Vec<String> {
    match word.strip_prefix("rv64") {
        Some(letters) => letters.chars().map(String::from).collect(),
        None => vec![word.to_owned()],
    }
}

fn online(tree: &Tree, entries: usize) -> Vec<u32> {
    let path = format!("{CPUS}/online");
    match tree.text(&path) {
        Some(text) => list::numbers(&text).unwrap_or_else(|| {
            tree.problem(&path, format!("{text:?} is no list of processors"));
            Vec::new()
        }),
        // Without /sys there is /proc.
        None => (0..u32::try_from(entries).unwrap_or(0)).collect(),
    }
}

/// How many of each there are; none where the kernel does not tell.
struct Topology {
    cores: Option<u32>,
    sockets: Option<u32>,
}

impl Topology {
    fn of_files(tree: &Tree, online: &[u32]) -> Self {
        let (mut cores, mut sockets) = (BTreeSet::new(), BTreeSet::new());
        for cpu in online {
            let topology = format!("{CPUS}/cpu{cpu}/topology");
            cores.extend(tree.text(&format!("{topology}/thread_siblings_list")));
            // Arbitrary numbers, and -1 on virtual ARM machines.
            sockets.extend(tree.text(&format!("{topology}/physical_package_id")));
        }
        Self { cores: count(&cores), sockets: count(&sockets) }
    }

    fn of_entries(entries: &[Entry<'_>]) -> Self {
        let socket = |entry: &Entry<'_>| Some(entry.get("physical id")?.to_string());
        let core = |entry: &Entry<'_>| Some((socket(entry)?, entry.get("core id")?.to_string()));
        let (cores, sockets) = (entries.iter().filter_map(core), entries.iter().filter_map(socket));
        Self { cores: count(&cores.collect()), sockets: count(&sockets.collect()) }
    }

    fn or(self, other: Self) -> Self {
        Self { cores: self.cores.or(other.cores), sockets: self.sockets.or(other.sockets) }
    }
}

fn count<T: Ord>(set: &BTreeSet<T>) -> Option<u32> {
    u32::try_from(set.len()).ok().filter(|&count| count > 0)
}

/// Each cache is listed by all processors that share it.
fn caches(tree: &Tree, online: &[u32]) -> Vec<Cache> {
    let mut found: BTreeMap<(u8, CacheKind, u64), BTreeSet<String>> = BTreeMap::new();
    for cpu in online {
        for index in 0..CACHES_MAX {
            let file = |name: &str| tree.text(&format!("{CPUS}/cpu{cpu}/cache/index{index}/{name}"));
            let Some(level) = file("level").and_then(|level| level.parse().ok()) else { break };
            let kind = match file("type").as_deref() {
                Some("Data") => CacheKind::Data,
                Some("Instruction") => CacheKind::Instruction,
                _ => CacheKind::Unified,
            };
            let Some(bytes) = file("size").as_deref().and_then(size) else { continue };
            // Old kernels have the mask alone. Whichever it is, it names the cache.
            let shared = file("shared_cpu_list").or_else(|| file("shared_cpu_map"));
            let shared = shared.unwrap_or_else(|| cpu.to_string());
            found.entry((level, kind, bytes)).or_default().insert(shared);
        }
    }
    let cache = |((level, kind, bytes), shared): ((u8, CacheKind, u64), BTreeSet<String>)| Cache {
        level,
        kind,
        bytes,
        count: u32::try_from(shared.len()).unwrap_or(u32::MAX),
    };
    found.into_iter().map(cache).collect()
}

/// `512K`, `32M`.
fn size(text: &str) -> Option<u64> {
    let digits = text.trim_end_matches(char::is_alphabetic);
    let shift = match &text[digits.len()..] {
        "" => 0,
        "K" => 10,
        "M" => 20,
        "G" => 30,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(1 << shift)
}

/// `cpu.max` of our control group and of those above it: `200000 100000` is two processors.
fn quota_millicores(tree: &Tree) -> Option<u64> {
    let quotas = control_group::texts(tree, "cpu.max").into_iter().filter_map(|text| {
        let (quota, period) = text.split_once(' ')?;
        let (quota, period): (u64, u64) = (quota.parse().ok()?, period.parse().ok()?);
        quota.checked_mul(1000)?.checked_div(period)
    });
    quotas.min()
}
