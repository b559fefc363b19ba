//! What NVIDIA's own library tells of a card, beyond what files of the kernel do.

use serde::{Deserialize, Serialize};

use super::{Accelerator, Driver, Inventory, Link, LinkKind, Maker, PciAddress, Problem};

/// Longest text that is taken of what a library tells.
const TEXT_CHARS_MAX: usize = 300;
/// A card can be divided into seven parts today.
const PARTS_MAX: usize = 16;

/// Kept with the card.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Nvidia {
    /// Error correction, where the card has it.
    pub ecc: Option<Ecc>,
    /// Its division into parts, where it can be divided.
    pub mig: Option<Mig>,
    /// NVLinks that are up, to cards or switches.
    pub nvlinks: u32,
    /// What the driver wants done soon. The card works meanwhile.
    pub wanted: Option<String>,
}

/// Error correction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ecc {
    /// Whether it is on.
    pub is_on: bool,
    /// Errors that it could not correct since the driver was loaded.
    pub uncorrected_errors: Option<u64>,
}

/// Multi-Instance GPU.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mig {
    /// Whether it is on: the card itself computes nothing then, its parts do.
    pub is_on: bool,
    /// The parts.
    pub parts: Vec<MigPart>,
}

/// A part of a card.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MigPart {
    /// By which programs choose it.
    pub uuid: String,
    /// Its memory.
    pub memory_bytes: Option<u64>,
}

/// All that the library told of a card.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NvidiaCard {
    /// `NVIDIA H100 80GB HBM3`.
    pub name: Option<String>,
    /// All of its memory.
    pub memory_bytes: Option<u64>,
    /// Major and minor: 9 and 0.
    pub compute_capability: Option<(u32, u32)>,
    /// The other ends of its NVLinks that are up, once for each.
    pub nvlinks_to: Vec<PciAddress>,
    /// What the driver wants done before the card can be used.
    pub unusable: Option<String>,
    /// The rest.
    pub about: Nvidia,
}

impl Inventory {
    /// Cards that their driver has, which its library can be asked about.
    #[must_use]
    pub fn nvidia_cards(&self) -> Vec<PciAddress> {
        let cards = self
            .accelerators
            .iter()
            .filter(|card| card.maker == Maker::Nvidia && matches!(card.driver, Driver::Works { .. }));
        cards.filter_map(|card| card.address).collect()
    }

    /// Adds what the library told of a card, or why it told nothing: what it does not know cannot be used.
    pub fn add_nvidia_card(&mut self, address: PciAddress, told: Result<NvidiaCard, String>) {
        let all: Vec<_> = self.accelerators.iter().filter_map(|other| other.address).collect();
        // What tells this has run what NVIDIA wrote: it has no say about others' cards.
        let is_it = |card: &&mut Accelerator| card.maker == Maker::Nvidia && card.address == Some(address);
        let Some(card) = self.accelerators.iter_mut().find(is_it) else { return };
        let failed = |reason| Driver::Failed { name: "nvidia".into(), reason };
        let told = match told {
            Ok(told) => told,
            Err(reason) => return card.driver = failed(shortened(reason)),
        };
        card.name = told.name.map(shortened).or(card.name.take());
        card.memory_bytes = told.memory_bytes.or(card.memory_bytes);
        let chip = told.compute_capability.map(|(major, minor)| format!("sm_{major}{minor}"));
        card.chip = chip.or(card.chip.take());
        let others = told.nvlinks_to.into_iter().filter(|other| *other != address && all.contains(other));
        card.links.extend(others.map(|to| Link { kind: LinkKind::Nvlink, to }));
        card.links.sort();
        card.links.dedup();
        card.nvidia = Some(told.about.bounded());
        if let Some(reason) = told.unusable {
            card.driver = failed(shortened(reason));
        }
    }

    /// Notes that the library told nothing more.
    pub fn without_nvidia_library(&mut self, reason: String) {
        self.problems.push(Problem { path: "NVIDIA's library".into(), reason: shortened(reason) });
        self.problems.sort();
    }
}

impl Nvidia {
    fn bounded(mut self) -> Self {
        self.wanted = self.wanted.map(shortened);
        if let Some(mig) = &mut self.mig {
            mig.parts.truncate(PARTS_MAX);
            mig.parts.iter_mut().for_each(|part| part.uuid = shortened(std::mem::take(&mut part.uuid)));
        }
        self
    }
}

fn shortened(text: String) -> String {
    text.chars().take(TEXT_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> PciAddress {
        text.parse().expect("an address")
    }

    fn works() -> Driver {
        Driver::Works { name: "nvidia".into(), version: None }
    }

    fn card(maker: Maker, at: &str, driver: Driver) -> Accelerator {
        Accelerator {
            maker,
            address: Some(address(at)),
            id: None,
            name: Some("from a file".into()),
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

    fn machine() -> Inventory {
        let missing = Driver::Missing { wanted: "nvidia".into() };
        let accelerators = vec![
            card(Maker::Nvidia, "0000:01:00.0", works()),
            card(Maker::Nvidia, "0000:02:00.0", works()),
            card(Maker::Nvidia, "0000:03:00.0", missing),
            card(Maker::Amd, "0000:04:00.0", works()),
        ];
        Inventory { accelerators, ..Inventory::default() }
    }

    #[test]
    fn only_cards_that_work_are_asked_about() {
        assert_eq!(machine().nvidia_cards(), [address("0000:01:00.0"), address("0000:02:00.0")]);
    }

    #[test]
    fn what_is_told_is_added_and_what_is_not_stays() {
        let mut machine = machine();
        let switch = address("0000:99:00.0");
        let told = NvidiaCard {
            memory_bytes: Some(80 << 30),
            compute_capability: Some((9, 0)),
            nvlinks_to: vec![switch, address("0000:02:00.0"), address("0000:02:00.0")],
            about: Nvidia { nvlinks: 3, ..Nvidia::default() },
            ..NvidiaCard::default()
        };
        machine.add_nvidia_card(address("0000:01:00.0"), Ok(told));
        let card = &machine.accelerators[0];
        assert_eq!((card.name.as_deref(), card.chip.as_deref()), (Some("from a file"), Some("sm_90")));
        assert_eq!((card.memory_bytes, &card.driver), (Some(80 << 30), &works()));
        assert_eq!(card.links, [Link { kind: LinkKind::Nvlink, to: address("0000:02:00.0") }]);
        assert_eq!(card.nvidia.as_ref().map(|nvidia| nvidia.nvlinks), Some(3));
    }

    #[test]
    fn a_card_that_the_library_gave_up_cannot_be_used() {
        let mut machine = machine();
        machine.add_nvidia_card(address("0000:01:00.0"), Err("lost".into()));
        let unusable = NvidiaCard { unusable: Some("a reset".into()), ..NvidiaCard::default() };
        machine.add_nvidia_card(address("0000:02:00.0"), Ok(unusable));
        machine.add_nvidia_card(address("0000:77:00.0"), Err("of no card".into()));
        machine.add_nvidia_card(address("0000:04:00.0"), Err("of another maker's card".into()));
        let reason = |card: &Accelerator| match &card.driver {
            Driver::Failed { reason, .. } => Some(reason.clone()),
            _ => None,
        };
        let reasons: Vec<_> = machine.accelerators.iter().filter_map(reason).collect();
        assert_eq!(reasons, ["lost", "a reset"]);
    }

    #[test]
    fn what_a_library_tells_is_bounded() {
        let mut machine = machine();
        let long = "x".repeat(1 << 20);
        let parts = vec![MigPart { uuid: long.clone(), memory_bytes: None }; 1000];
        let about = Nvidia { mig: Some(Mig { is_on: true, parts }), ..Nvidia::default() };
        let told = NvidiaCard { name: Some(long), about, ..NvidiaCard::default() };
        machine.add_nvidia_card(address("0000:01:00.0"), Ok(told));
        let card = format!("{:?}", machine.accelerators[0]);
        assert!(card.len() < 10_000, "{}", card.len());
    }
}
