//! Memory and NUMA nodes.
//! <https://docs.kernel.org/filesystems/proc.html#meminfo>
//! <https://docs.kernel.org/admin-guide/mm/hugetlbpage.html>

use nabi_domain::hardware::{HugePages, Memory, NumaNode, TransparentHugePages};

use crate::control_group;
use crate::list;
use crate::tree::Tree;

const INFO: &str = "proc/meminfo";
const NODES: &str = "sys/devices/system/node";
const HUGE: &str = "sys/kernel/mm/hugepages";
const TRANSPARENT: &str = "sys/kernel/mm/transparent_hugepage/enabled";

pub(crate) fn read(tree: &Tree) -> Memory {
    let text = tree.text(INFO).unwrap_or_default();
    let total_bytes = info_bytes(&text, "MemTotal").unwrap_or(0);
    if total_bytes == 0 {
        tree.problem(INFO, "it does not tell the size of the memory".into());
    }
    // Kernels before 3.14 do not say what is available.
    let available = info_bytes(&text, "MemAvailable").or_else(|| info_bytes(&text, "MemFree"));
    Memory {
        total_bytes,
        available_bytes: available.unwrap_or(0),
        swap_bytes: info_bytes(&text, "SwapTotal").unwrap_or(0),
        limit_bytes: limit(tree).filter(|&limit| limit < total_bytes),
        huge_pages: huge_pages(tree),
        transparent_huge_pages: tree.text(TRANSPARENT).as_deref().and_then(transparent),
    }
}

/// A line such as `MemTotal:  2012812 kB`, of a node as `Node 0 MemTotal:  2012812 kB`.
fn info_bytes(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        (name.rsplit(' ').next() == Some(key)).then_some(())?;
        value.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
    })
}

/// The least of our control group and of those above it; `max` is none.
fn limit(tree: &Tree) -> Option<u64> {
    control_group::texts(tree, "memory.max").iter().filter_map(|text| text.parse().ok()).min()
}

fn huge_pages(tree: &Tree) -> Vec<HugePages> {
    let names = tree.names(HUGE);
    let kib = |name: &str| name.strip_prefix("hugepages-")?.strip_suffix("kB")?.parse::<u64>().ok();
    let mut sizes: Vec<(u64, String)> =
        names.into_iter().filter_map(|name| Some((kib(&name)?, name))).collect();
    sizes.sort();
    let pages = |(kib, name): (u64, String)| {
        let number = |file: &str| tree.number(&format!("{HUGE}/{name}/{file}"));
        Some(HugePages {
            page_bytes: kib.checked_mul(1024)?,
            pages: number("nr_hugepages")?,
            free_pages: number("free_hugepages")?,
        })
    };
    sizes.into_iter().filter_map(pages).collect()
}

/// `always [madvise] never`.
fn transparent(text: &str) -> Option<TransparentHugePages> {
    match text.split_once('[')?.1.split_once(']')?.0 {
        "always" => Some(TransparentHugePages::Always),
        "madvise" => Some(TransparentHugePages::Madvise),
        "never" => Some(TransparentHugePages::Never),
        _ => None,
    }
}

/// None where the kernel knows no nodes; one on most machines.
pub(crate) fn nodes(tree: &Tree) -> Vec<NumaNode> {
    let node = |id: u32| {
        let file = |name: &str| tree.text(&format!("{NODES}/node{id}/{name}"));
        let distances = file("distance").unwrap_or_default();
        let cpus = file("cpulist").unwrap_or_default();
        if list::numbers(&cpus).is_none() {
            tree.problem(&format!("{NODES}/node{id}/cpulist"), format!("{cpus:?} is no list of processors"));
        }
        NumaNode {
            id,
            cpus,
            memory_bytes: file("meminfo").and_then(|text| info_bytes(&text, "MemTotal")).unwrap_or(0),
            distances: distances.split_ascii_whitespace().filter_map(|text| text.parse().ok()).collect(),
        }
    };
    tree.numbered(NODES, "node").into_iter().map(node).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_a_node_has_its_name_before() {
        assert_eq!(info_bytes("MemTotal:       4 kB\nMemFree: 1 kB", "MemTotal"), Some(4096));
        assert_eq!(info_bytes("Node 1 MemTotal:       4 kB", "MemTotal"), Some(4096));
        assert_eq!(info_bytes("MemTotal: 18446744073709551615 kB", "MemTotal"), None);
        assert_eq!(info_bytes("MemTotal: many\n", "MemTotal"), None);
    }

    #[test]
    fn the_choice_of_transparent_huge_pages_is_in_brackets() {
        assert_eq!(transparent("always [madvise] never"), Some(TransparentHugePages::Madvise));
        assert_eq!(transparent("always madvise never"), None);
    }
}
