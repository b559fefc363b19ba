//! Biren. The numbers of its cards on PCI are in no list, so a card is known by the node that its driver
//! makes for it (version 1.12 of the driver); without its driver it is not seen. A card that is divided has
//! several.

use nabi_domain::hardware::{Accelerator, Driver, Maker};

use crate::tree::Tree;

const NODES: &str = "dev/biren";
const CARD: &str = "card_";
/// Every program opens it beside the card's own.
const SHARED_NODE: &str = "dev/biren-m";

pub(super) fn read(tree: &Tree) -> Vec<Accelerator> {
    let card = |number: u32| Accelerator {
        maker: Maker::Biren,
        address: None,
        id: None,
        name: None,
        chip: None,
        memory_bytes: None,
        is_integrated: false,
        numa_node: None,
        driver: Driver::Works { name: "biren".into(), version: tree.text("sys/module/biren/version") },
        nodes: [format!("{NODES}/{CARD}{number}"), SHARED_NODE.into()]
            .into_iter()
            .filter(|node| tree.exists(node))
            .collect(),
        links: Vec::new(),
        nvidia: None,
    };
    tree.numbered(NODES, CARD).into_iter().map(card).collect()
}
