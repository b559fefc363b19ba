//! A machine as text.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use nabi_domain::hardware::{
    Accelerator, Architecture, Cache, CacheKind, Cpu, Disk, DiskKind, Driver, Ecc, Inventory, Maker, Memory,
    NetworkCard, NumaNode, Nvidia, PowerSupply,
};

use super::{bytes, plain};

/// Extensions that change which kernels are fast, from the oldest; all others go with one of them.
const TELLING_EXTENSIONS: [(&str, &str); 14] = [
    ("avx", "AVX"),
    ("avx2", "AVX2"),
    ("avx_vnni", "AVX-VNNI"),
    ("avx512f", "AVX-512"),
    ("avx512_vnni", "VNNI"),
    ("avx512_bf16", "BF16"),
    ("avx512_fp16", "FP16"),
    ("amx_int8", "AMX"),
    ("asimddp", "dot product"),
    ("i8mm", "I8MM"),
    ("sve", "SVE"),
    ("sve2", "SVE2"),
    ("sme", "SME"),
    ("sme2", "SME2"),
];

/// A paragraph for each kind of thing.
pub(super) fn hardware(machine: &Inventory) -> String {
    let Inventory { board, cpu, memory, numa_nodes, disks, network_cards, power, accelerators, problems } =
        machine;
    let board: Vec<_> =
        [&board.vendor, &board.product].into_iter().flatten().map(|name| plain(name)).collect();
    let mut text = String::new();
    line(&mut text, "machine", &if board.is_empty() { "unknown".into() } else { board.join(" ") });
    line(&mut text, "processor", &self::cpu(cpu));
    line(&mut text, "memory", &self::memory(memory));
    if numa_nodes.len() > 1 {
        list(&mut text, "NUMA", numa_nodes.iter().map(numa_node));
    }
    if accelerators.is_empty() {
        line(&mut text, "accelerator", "none");
    }
    list(&mut text, "accelerator", accelerators.iter().map(accelerator));
    list(&mut text, "disk", disks.iter().map(disk));
    list(&mut text, "network", network_cards.iter().map(network_card));
    list(&mut text, "power", power.supplies.iter().map(supply));
    if !power.rapl.is_empty() {
        let readable = power.rapl.iter().all(|domain| domain.is_readable);
        let names: Vec<_> = power.rapl.iter().map(|domain| plain(&domain.name)).collect();
        let but = if readable { "" } else { ", which only root may read" };
        line(&mut text, "energy", &format!("counters for {}{but}", names.join(", ")));
    }
    let problems = problems.iter();
    list(
        &mut text,
        "PROBLEM",
        problems.map(|problem| format!("{}: {}", plain(&problem.path), plain(&problem.reason))),
    );
    text
}

/// What was read of a machine, without what a terminal would obey.
pub(super) fn recording(recording: &str) -> String {
    recording.replace(|c: char| c.is_control() && c != '\n' && c != '\t', "\u{fffd}")
}

fn line(text: &mut String, title: &str, words: &str) {
    let _ = writeln!(text, "{title:13}{words}");
}

fn list(text: &mut String, title: &str, items: impl Iterator<Item = String>) {
    for (number, item) in items.enumerate() {
        line(text, if number == 0 { title } else { "" }, &item);
    }
}

fn cpu(cpu: &Cpu) -> String {
    let name = match (&cpu.name, &cpu.vendor) {
        (Some(name), _) | (None, Some(name)) => plain(name),
        (None, None) => architecture(cpu.architecture).into(),
    };
    let sockets = if cpu.sockets > 1 { format!("{} x ", cpu.sockets) } else { String::new() };
    let mut text =
        format!("{sockets}{name}, {} and {}", many(cpu.cores, "core"), many(cpu.threads, "thread"));
    if let Some(quota) = cpu.quota_millicores {
        let _ = write!(text, ", limited to {}.{} of them", quota / 1000, quota % 1000 / 100);
    }
    let telling = extensions(&cpu.extensions);
    if !telling.is_empty() {
        let _ = write!(text, "; {}", telling.join(", "));
    }
    if let Some(last) = cpu.caches.iter().rfind(|cache| cache.kind != CacheKind::Instruction) {
        let _ = write!(text, "; {}", cache(last));
    }
    text
}

fn extensions(has: &BTreeSet<String>) -> Vec<&'static str> {
    TELLING_EXTENSIONS.iter().filter(|(flag, _)| has.contains(*flag)).map(|(_, name)| *name).collect()
}

fn architecture(architecture: Architecture) -> &'static str {
    match architecture {
        Architecture::X86_64 => "x86-64",
        Architecture::Aarch64 => "ARM, 64 bits",
        Architecture::Powerpc64 => "POWER, 64 bits",
        Architecture::Riscv64 => "RISC-V, 64 bits",
        Architecture::Loongarch64 => "LoongArch, 64 bits",
        Architecture::Unknown => "unknown",
    }
}

/// Caches and memory are made in powers of two, and sold so.
fn binary(bytes: u64) -> String {
    let units = [(1_u64 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    match units.into_iter().find(|(size, _)| bytes >= *size) {
        Some((size, unit)) if bytes.is_multiple_of(size) => format!("{} {unit}", bytes / size),
        Some((size, unit)) => format!("{:.1} {unit}", bytes as f64 / size as f64),
        None => format!("{bytes} B"),
    }
}

fn many(count: u32, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

fn cache(cache: &Cache) -> String {
    format!("{} x {} of level {} cache", cache.count, binary(cache.bytes), cache.level)
}

fn memory(memory: &Memory) -> String {
    let mut text = format!("{}, {} available", binary(memory.total_bytes), binary(memory.available_bytes));
    if let Some(limit) = memory.limit_bytes {
        let _ = write!(text, ", limited to {}", binary(limit));
    }
    if memory.swap_bytes > 0 {
        let _ = write!(text, ", {} of swap", binary(memory.swap_bytes));
    }
    for pages in memory.huge_pages.iter().filter(|pages| pages.pages > 0) {
        let _ = write!(
            text,
            ", {} huge pages of {}, {} of them free",
            pages.pages,
            binary(pages.page_bytes),
            pages.free_pages
        );
    }
    text
}

fn numa_node(node: &NumaNode) -> String {
    let cpus = if node.cpus.is_empty() { "no processors".into() } else { plain(&node.cpus) };
    format!("node {}: {cpus}; {}", node.id, binary(node.memory_bytes))
}

fn accelerator(accelerator: &Accelerator) -> String {
    let maker = maker(accelerator.maker);
    let name = match (&accelerator.name, accelerator.id) {
        // Some drivers put their maker's name in front.
        (Some(name), _) if name.to_lowercase().starts_with(&maker.to_lowercase()) => plain(name),
        (Some(name), _) => format!("{maker} {}", plain(name)),
        (None, Some(id)) => format!("{maker} device {id}"),
        (None, None) => format!("{maker} device"),
    };
    let mut text = match accelerator.address {
        Some(address) => format!("{address} {name}"),
        None => name,
    };
    if let Some(chip) = &accelerator.chip {
        let _ = write!(text, " ({})", plain(chip));
    }
    if let Some(memory) = accelerator.memory_bytes {
        let _ = write!(text, ", {}", binary(memory));
    }
    if accelerator.is_integrated {
        text += ", in the machine's memory";
    }
    if let Some(node) = accelerator.numa_node {
        let _ = write!(text, ", NUMA node {node}");
    }
    if !accelerator.links.is_empty() {
        let to: BTreeSet<_> = accelerator.links.iter().map(|link| link.to).collect();
        let _ = write!(text, ", linked to {}", many(to.len() as u32, "other"));
    }
    if let Some(nvidia) = &accelerator.nvidia {
        text += &self::nvidia(nvidia);
    }
    text + ": " + &driver(&accelerator.driver)
}

fn nvidia(nvidia: &Nvidia) -> String {
    let mut text = String::new();
    if nvidia.nvlinks > 0 {
        let _ = write!(text, ", {}", many(nvidia.nvlinks, "NVLink"));
    }
    match nvidia.ecc {
        Some(Ecc { is_on: true, uncorrected_errors: Some(errors @ 1..) }) => {
            let _ = write!(text, ", {errors} memory errors that ECC could not correct");
        }
        Some(Ecc { is_on: true, .. }) => text += ", ECC on",
        Some(Ecc { is_on: false, .. }) => text += ", ECC off",
        None => {}
    }
    if let Some(mig) = nvidia.mig.as_ref().filter(|mig| mig.is_on) {
        let _ = write!(text, ", divided into {}", many(mig.parts.len() as u32, "part"));
    }
    if let Some(wanted) = &nvidia.wanted {
        let _ = write!(text, ", SOON: {}", plain(wanted));
    }
    text
}

fn driver(driver: &Driver) -> String {
    match driver {
        Driver::Works { name, version: Some(version) } => {
            format!("has its driver {}, {}", plain(name), plain(version))
        }
        Driver::Works { name, version: None } => format!("has its driver {}", plain(name)),
        Driver::Missing { wanted } => format!("CANNOT BE USED: its driver {} is missing", plain(wanted)),
        Driver::Other { name, wanted } => {
            format!("CANNOT BE USED: the driver {} has it, not {}", plain(name), plain(wanted))
        }
        Driver::Failed { name, reason } => {
            format!("CANNOT BE USED: driver {}: {}", plain(name), plain(reason))
        }
    }
}

fn maker(maker: Maker) -> &'static str {
    match maker {
        Maker::Amd => "AMD",
        Maker::Biren => "Biren",
        Maker::Cambricon => "Cambricon",
        Maker::Enflame => "Enflame",
        Maker::Huawei => "Huawei",
        Maker::Hygon => "Hygon",
        Maker::Iluvatar => "Iluvatar",
        Maker::Intel => "Intel",
        Maker::Kunlunxin => "Kunlunxin",
        Maker::Metax => "MetaX",
        Maker::MooreThreads => "Moore Threads",
        Maker::Nvidia => "NVIDIA",
    }
}

fn disk(disk: &Disk) -> String {
    let kind = match disk.kind {
        DiskKind::Nvme => "NVMe",
        DiskKind::SolidState => "solid state",
        DiskKind::Rotating => "rotating",
        DiskKind::Virtual => "virtual",
    };
    let mut text = format!("{}: {}, {kind}", plain(&disk.name), bytes(disk.bytes));
    if let Some(model) = &disk.model {
        let _ = write!(text, ", {}", plain(model));
    }
    for (is_so, words) in [(disk.is_removable, ", removable"), (disk.is_read_only, ", read-only")] {
        text += if is_so { words } else { "" };
    }
    text
}

fn network_card(card: &NetworkCard) -> String {
    let mut text = plain(&card.name);
    if let Some(driver) = &card.driver {
        let _ = write!(text, " ({})", plain(driver));
    }
    match (card.has_link, card.mbit_per_s) {
        (false, _) => text + ": no cable, or nobody at its other end",
        (true, None) => text + ": connected",
        (true, Some(speed)) => format!("{text}: connected with {speed} Mbit/s"),
    }
}

fn supply(supply: &PowerSupply) -> String {
    let mut text = format!("{} ({})", plain(&supply.name), plain(&supply.kind));
    match supply.is_online {
        Some(true) => text += ", gives power",
        Some(false) => text += ", gives no power",
        None => {}
    }
    if let Some(status) = &supply.status {
        let _ = write!(text, ", {}", plain(status).to_lowercase());
    }
    if let Some(percent) = supply.percent {
        let _ = write!(text, ", {percent} %");
    }
    text
}

#[cfg(test)]
mod tests {
    use nabi_domain::hardware::Problem;

    use super::*;

    fn card(name: Option<&str>, driver: Driver) -> Accelerator {
        Accelerator {
            maker: Maker::Nvidia,
            address: Some("0000:c1:00.0".parse().expect("an address")),
            id: Some("10de:2330".parse().expect("an id")),
            name: name.map(str::to_owned),
            chip: None,
            memory_bytes: None,
            is_integrated: false,
            numa_node: None,
            driver,
            nodes: Vec::new(),
            links: Vec::new(),
            nvidia: None,
        }
    }

    #[test]
    fn what_cannot_be_used_says_why() {
        let missing = card(None, Driver::Missing { wanted: "nvidia".into() });
        assert_eq!(
            accelerator(&missing),
            "0000:c1:00.0 NVIDIA device 10de:2330: CANNOT BE USED: its driver nvidia is missing"
        );
        let works = Driver::Works { name: "nvidia".into(), version: Some("570.1".into()) };
        let works = Accelerator {
            chip: Some("sm_90".into()),
            memory_bytes: Some(80 << 30),
            numa_node: Some(1),
            ..card(Some("NVIDIA H100"), works)
        };
        assert_eq!(
            accelerator(&works),
            "0000:c1:00.0 NVIDIA H100 (sm_90), 80 GiB, NUMA node 1: has its driver nvidia, 570.1"
        );
    }

    #[test]
    fn a_machine_of_which_nothing_is_known_is_shown() {
        let text = hardware(&Inventory::default());
        assert!(
            text.starts_with("machine      unknown\nprocessor    unknown, 0 cores and 0 threads\n"),
            "{text}"
        );
        assert!(text.contains("accelerator  none\n"), "{text}");
    }

    #[test]
    fn a_device_cannot_write_to_the_terminal() {
        let disk = Disk {
            name: "sda".into(),
            model: Some("\u{1b}[2Jgood\nnetwork      eth0: connected".into()),
            kind: DiskKind::SolidState,
            bytes: 1_000_000_000,
            logical_block_bytes: 512,
            is_removable: true,
            is_read_only: false,
        };
        let problems = vec![Problem { path: "sys/\u{7}".into(), reason: "no".into() }];
        let text = hardware(&Inventory { disks: vec![disk], problems, ..Inventory::default() });
        assert!(text.lines().all(|line| !line.contains(char::is_control)), "{text:?}");
        assert!(
            text.contains("disk         sda: 1.0 GB, solid state, \u{fffd}[2Jgood\u{fffd}network"),
            "{text:?}"
        );
        assert_eq!(recording("a\tb\n\u{1b}c"), "a\tb\n\u{fffd}c");
    }
}
