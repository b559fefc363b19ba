//! A machine's make, by its firmware: DMI, or the device tree of ARM boards.

use nabi_domain::hardware::Board;

use crate::tree::Tree;

const DMI: &str = "sys/class/dmi/id";
/// What boards say whose maker filled in nothing.
const FILLERS: [&str; 5] = [
    "To Be Filled By O.E.M.",
    "To be filled by O.E.M.",
    "Default string",
    "System Product Name",
    "Not Specified",
];

pub(crate) fn read(tree: &Tree) -> Board {
    let word = |file: &str| {
        tree.text_if_allowed(&format!("{DMI}/{file}")).filter(|word| !FILLERS.contains(&word.as_str()))
    };
    Board {
        vendor: word("sys_vendor").or_else(|| word("board_vendor")),
        product: word("product_name")
            .or_else(|| word("board_name"))
            .or_else(|| tree.text_if_allowed("proc/device-tree/model")),
    }
}
