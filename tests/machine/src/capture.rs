//! What a machine sent, from a file in libpcap's form.
//! <https://www.ietf.org/archive/id/draft-ietf-opsawg-pcap-05.html>

use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use etherparse::{ArpPacketSlice, NetSlice, SlicedPacket, TransportSlice, icmpv6};

use crate::arguments::MAC;

/// In the byte order of the machine that wrote it, with microseconds.
const MAGIC: u32 = 0xa1b2_c3d4;
const HEADER_BYTES: usize = 24;
const RECORD_HEADER_BYTES: usize = 16;
const LENGTH_AT: usize = 8;
/// Where an Ethernet frame names its sender.
const SENDER: std::ops::Range<usize> = 6..12;

const DNS: u16 = 53;
const DHCP: [u16; 2] = [67, 547];
const NTP: u16 = 123;
const MDNS: u16 = 5353;
/// Messages by which IPv6 hosts of one cable find each other: RFC 4861, and RFC 3810 for the
/// multicast groups that these go to.
const DISCOVERY: std::ops::RangeInclusive<u8> =
    icmpv6::TYPE_ROUTER_SOLICITATION..=icmpv6::TYPE_REDIRECT_MESSAGE;
const MULTICAST_REPORT: u8 = 143;

/// What a packet is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// IPv4's search for a neighbour.
    Arp,
    /// For an address, of IPv4 or IPv6.
    Dhcp,
    /// For the time.
    Ntp,
    /// For names, among neighbours.
    Mdns,
    /// For names.
    Dns,
    /// IPv6's search for neighbours and routers, and the reports of the groups for it.
    NeighbourDiscovery,
    /// Anything else over TCP.
    Tcp,
    /// Anything else.
    Other,
}

/// A packet that the machine sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet {
    /// What it is for.
    pub kind: Kind,
    /// The VLAN that its tag names (IEEE 802.1Q), if it has one.
    pub vlan: Option<u16>,
    /// From and to, for a message.
    pub summary: String,
}

/// The packets that the machine sent, of a file that [`crate::Machine::capture`] wrote.
///
/// # Errors
/// When it is no such file.
pub fn packets(file: &Path) -> Result<Vec<Packet>> {
    let bytes = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    let frames = frames(&bytes).with_context(|| format!("in {}", file.display()))?;
    Ok(frames.into_iter().filter(|frame| frame.get(SENDER) == Some(&MAC)).map(packet).collect())
}

/// The records of a file. One that was being written when the power was cut is left out.
fn frames(file: &[u8]) -> Result<Vec<&[u8]>> {
    let number = |bytes: &[u8]| bytes.try_into().map(u32::from_ne_bytes).ok();
    ensure!(file.get(..4).and_then(number) == Some(MAGIC), "this is no capture of this machine's");
    let mut rest = file.get(HEADER_BYTES..).context("the capture ends within its header")?;
    let mut frames = Vec::new();
    while let Some(length) = rest.get(LENGTH_AT..LENGTH_AT + 4).and_then(number) {
        let end = RECORD_HEADER_BYTES + length as usize;
        let Some(frame) = rest.get(RECORD_HEADER_BYTES..end) else { break };
        frames.push(frame);
        rest = &rest[end..];
    }
    Ok(frames)
}

fn packet(frame: &[u8]) -> Packet {
    let Ok(sliced) = SlicedPacket::from_ethernet(frame) else {
        return Packet { kind: Kind::Other, vlan: None, summary: format!("{frame:02x?}") };
    };
    let vlan = sliced.vlan_ids().first().map(|id| id.value());
    let network = match &sliced.net {
        Some(NetSlice::Ipv4(ip)) => {
            format!("{} → {}", ip.header().source_addr(), ip.header().destination_addr())
        }
        Some(NetSlice::Ipv6(ip)) => {
            format!("{} → {}", ip.header().source_addr(), ip.header().destination_addr())
        }
        Some(NetSlice::Arp(arp)) => searched(arp).unwrap_or_else(|| format!("{arp:?}")),
        None => "no network".to_owned(),
    };
    let (kind, transport) = match &sliced.transport {
        _ if matches!(sliced.net, Some(NetSlice::Arp(_))) => (Kind::Arp, String::new()),
        Some(TransportSlice::Udp(udp)) => {
            (of_udp(udp.destination_port()), format!("UDP to port {}", udp.destination_port()))
        }
        Some(TransportSlice::Tcp(tcp)) => {
            (Kind::Tcp, format!("TCP {} → {}", tcp.source_port(), tcp.destination_port()))
        }
        Some(TransportSlice::Icmpv6(message)) => {
            (of_icmpv6(message.type_u8()), format!("ICMPv6 {:?}", message.icmp_type()))
        }
        other => (Kind::Other, format!("{other:?}")),
    };
    Packet { kind, vlan, summary: format!("{network} {transport}") }
}

/// Who looks for whom.
fn searched(arp: &ArpPacketSlice<'_>) -> Option<String> {
    let address = |bytes: &[u8]| <[u8; 4]>::try_from(bytes).map(Ipv4Addr::from).ok();
    let (from, to) = (address(arp.sender_protocol_addr())?, address(arp.target_protocol_addr())?);
    Some(format!("{from} → {to}"))
}

fn of_udp(port: u16) -> Kind {
    match port {
        DNS => Kind::Dns,
        NTP => Kind::Ntp,
        MDNS => Kind::Mdns,
        port if DHCP.contains(&port) => Kind::Dhcp,
        _ => Kind::Other,
    }
}

fn of_icmpv6(number: u8) -> Kind {
    if DISCOVERY.contains(&number) || number == MULTICAST_REPORT {
        Kind::NeighbourDiscovery
    } else {
        Kind::Other
    }
}

#[cfg(test)]
mod tests {
    use etherparse::{PacketBuilder, VlanId};

    use super::*;

    const OTHER_MAC: [u8; 6] = [2; 6];

    fn udp(from: [u8; 6], port: u16) -> Vec<u8> {
        let mut frame = Vec::new();
        let builder = PacketBuilder::ethernet2(from, [0xff; 6]).ipv4([10, 0, 2, 15], [10, 0, 2, 2], 64);
        builder.udp(68, port).write(&mut frame, b"x").expect("a packet");
        frame
    }

    fn icmpv6(number: u8) -> Vec<u8> {
        let mut frame = Vec::new();
        let builder = PacketBuilder::ethernet2(MAC, OTHER_MAC).ipv6([0xfe; 16], [0xff; 16], 255);
        builder.icmpv6_raw(number, 0, [0; 4]).write(&mut frame, &[0; 16]).expect("a packet");
        frame
    }

    /// Who has 10.0.2.2?
    fn arp() -> Vec<u8> {
        let mut frame = [[0xff; 6], MAC].concat();
        frame.extend([8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
        frame.extend(MAC);
        frame.extend([10, 0, 2, 15, 0, 0, 0, 0, 0, 0, 10, 0, 2, 2]);
        frame
    }

    fn file(frames: &[Vec<u8>]) -> Vec<u8> {
        let mut file = MAGIC.to_ne_bytes().to_vec();
        file.resize(HEADER_BYTES, 0);
        for frame in frames {
            let length = u32::try_from(frame.len()).expect("short").to_ne_bytes();
            file.extend([[0; 4], [0; 4], length, length].concat());
            file.extend(frame);
        }
        file
    }

    #[test]
    fn what_the_machine_sent_is_told_apart() {
        let frames = [
            udp(MAC, 67),
            udp(OTHER_MAC, 68),
            udp(MAC, 123),
            udp(MAC, 53),
            udp(MAC, 5353),
            udp(MAC, 9),
            icmpv6(135),
            icmpv6(143),
            icmpv6(128),
            arp(),
            [&[0xff; 6][..], &MAC, &[0x88, 0xcc, 1]].concat(),
        ];
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("all.pcap");
        fs::write(&path, file(&frames)).expect("writable");
        let packets = packets(&path).expect("a capture");
        let kinds: Vec<Kind> = packets.iter().map(|packet| packet.kind).collect();
        use Kind::{Arp, Dhcp, Dns, Mdns, NeighbourDiscovery, Ntp, Other};
        let expected =
            [Dhcp, Ntp, Dns, Mdns, Other, NeighbourDiscovery, NeighbourDiscovery, Other, Arp, Other];
        assert_eq!(kinds, expected, "{packets:?}");
        assert_eq!(packets[0].summary, "10.0.2.15 → 10.0.2.2 UDP to port 67");
        assert_eq!(packets[8].summary, "10.0.2.15 → 10.0.2.2 ");
        assert!(packets.iter().all(|packet| packet.vlan.is_none()), "{packets:?}");
    }

    #[test]
    fn a_packet_of_a_vlan_is_known_by_its_tag() {
        let mut time = Vec::new();
        let id = VlanId::try_new(7).expect("an id");
        let builder = PacketBuilder::ethernet2(MAC, OTHER_MAC).single_vlan(id);
        let builder = builder.ipv4([10, 7, 0, 5], [10, 7, 0, 1], 64).udp(123, NTP);
        builder.write(&mut time, b"x").expect("a packet");
        let mut search = arp();
        // With a priority, which is no part of the id.
        search.splice(12..12, [0x81, 0, 0xa0, 7]);
        let told = [time, search].map(|frame| packet(&frame)).map(|packet| (packet.kind, packet.vlan));
        assert_eq!(told, [(Kind::Ntp, Some(7)), (Kind::Arp, Some(7))]);
    }

    #[test]
    fn a_capture_that_was_cut_off_gives_its_whole_packets() {
        let whole = file(&[udp(MAC, 67), udp(MAC, 67)]);
        assert_eq!(frames(&whole[..whole.len() - 1]).expect("a capture").len(), 1);
        assert_eq!(frames(&whole[..HEADER_BYTES]).expect("a capture").len(), 0);
        assert!(frames(&whole[..HEADER_BYTES - 1]).is_err());
        assert!(frames(b"#!/bin/sh\n and so on and so on").is_err());
    }
}
