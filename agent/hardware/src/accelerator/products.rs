//! Names of products by their numbers, where no driver tells them.

use nabi_domain::hardware::PciId;

const IDS: &str = include_str!("products.ids");

/// None for a number that is not known.
pub(super) fn name(id: PciId) -> Option<&'static str> {
    entries().find_map(|entry| entry.filter(|&(known, _)| known == id)).map(|(_, name)| name)
}

/// Lines such as `10de:2330 H100`; none for a line that is none.
fn entries() -> impl Iterator<Item = Option<(PciId, &'static str)>> {
    let lines = IDS.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(|line| {
        let (id, name) = line.split_once(' ')?;
        Some((id.parse().ok()?, name.trim()))
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_line_is_a_product_and_each_number_is_there_once() {
        let all: Vec<_> = entries().collect();
        assert!(all.iter().all(|entry| entry.is_some_and(|(_, name)| !name.is_empty())));
        let ids: BTreeSet<_> = all.iter().flatten().map(|(id, _)| *id).collect();
        assert_eq!(ids.len(), all.len());
        assert_eq!(name(PciId { vendor: 0x1002, device: 0x74a1 }), Some("Instinct MI300X"));
        assert_eq!(name(PciId { vendor: 0x1002, device: 0 }), None);
    }
}
