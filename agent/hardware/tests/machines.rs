//! Recorded and constructed machines: `machines/NAME.tree` is what each has, and says where that is from;
//! `machines/NAME.json` is its inventory. `BLESS=1` writes those anew, to be read before they are
//! committed.

use std::fs;
use std::path::{Path, PathBuf};

use nabi_domain::hardware::Inventory;

const MACHINES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/machines");

fn machines() -> Vec<PathBuf> {
    let entries =
        fs::read_dir(MACHINES).expect("they are there").map(|entry| entry.expect("an entry").path());
    let mut machines: Vec<_> =
        entries.filter(|path| path.extension().is_some_and(|end| end == "tree")).collect();
    machines.sort();
    machines
}

fn laid_out(recording: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    nabi_hardware::lay_out(recording, folder.path()).expect("a recording");
    folder
}

#[test]
fn each_machine_has_its_inventory() {
    let machines = machines();
    assert!(machines.len() >= 12, "{machines:?}");
    let mut wrong = Vec::new();
    for machine in machines {
        let recording = fs::read_to_string(&machine).expect("it can be read");
        assert!(recording.starts_with("# "), "{} does not say where it is from", machine.display());
        let found = nabi_hardware::read(laid_out(&recording).path()).expect("it can be read");
        let expected = machine.with_extension("json");
        if std::env::var_os("BLESS").is_some() {
            let text = serde_json::to_string_pretty(&found.inventory).expect("JSON");
            fs::write(&expected, text + "\n").expect("it can be written");
        }
        if inventory(&expected) != found.inventory {
            wrong.push(format!("{}: {:#?}", machine.display(), found.inventory));
        }
        // Its own recording brings the same machine.
        let again = nabi_hardware::read(laid_out(&found.recording).path()).expect("it can be read");
        assert_eq!(again.inventory, found.inventory, "{}", machine.display());
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn inventory(path: &Path) -> Inventory {
    let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn this_machine_can_be_read() {
    let found = nabi_hardware::read(Path::new("/")).expect("it can be read");
    assert!(found.inventory.cpu.threads > 0);
    assert!(found.inventory.memory.total_bytes > 0);
}
