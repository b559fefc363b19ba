//! What a machine sends that is told to ask for nothing.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use nabi_machine::{Kind, Machine, Packet, Setup, packets};

use crate::lab::{self, Lab};

/// As QEMU's network has them.
const SITE: &str = r#"hostname = "nabi.example"

[time]
enabled = false

[network]
mdns = false

[[interface]]
name = "lan"
mac = "52:54:00:6e:61:62"
addresses = ["10.0.2.15/24", "fec0::15/64"]
gateways = ["10.0.2.2"]
"#;
const IDLE_S: u64 = 600;
/// What was said before belongs to those who asked: connections end, neighbours forget.
const SETTLE_S: u64 = 60;
const SETTLE_S_MAX: u64 = 1200;

#[test]
fn ten_idle_minutes_without_a_packet() -> Result<()> {
    let lab = Lab::new("quiet")?;
    let computer = lab.computer(lab.flash(SITE)?)?;
    let operator = lab.operator(&computer)?;
    let mut serving = lab::check_serves(&computer, &operator, &Setup::default())?;
    let machine = &mut serving.machine;
    let deadline = Instant::now() + Duration::from_secs(SETTLE_S_MAX);
    loop {
        let before = sent(machine, &lab, SETTLE_S)?;
        if before.is_empty() {
            break;
        }
        ensure!(Instant::now() < deadline, "never silent: {before:?}");
    }
    let idle = sent(machine, &lab, IDLE_S)?;
    ensure!(idle.is_empty(), "sent within {IDLE_S} idle seconds: {idle:?}");
    // Not silent because it is dead.
    lab::check_answers(&mut serving, &operator)
}

/// What it sends in so many seconds but the search for neighbours.
fn sent(machine: &mut Machine, lab: &Lab, seconds: u64) -> Result<Vec<Packet>> {
    let file = lab.file("sent.pcap");
    machine.capture(&file)?;
    std::thread::sleep(Duration::from_secs(seconds));
    machine.capture_end()?;
    let mut sent = packets(&file)?;
    sent.retain(|packet| packet.kind != Kind::NeighbourDiscovery);
    Ok(sent)
}
