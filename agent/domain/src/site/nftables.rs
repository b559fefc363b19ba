//! What a site opens in the packet filter (nft(8)). The image's `/etc/nftables.conf` drops all but
//! replies and the machine's talk with itself, and includes this text.

use std::net::IpAddr;

use super::{Site, Time, TimeServer};

/// Who may ask for the time.
pub const TIME_USER: &str = "systemd-timesync";
/// Who may ask for names, and answers to the machine's own.
pub const NAMES_USER: &str = "systemd-resolve";
/// Who may ask for addresses.
pub const NETWORK_USER: &str = "systemd-network";

/// The rules that a site adds to the closed filter.
pub fn render(site: &Site) -> String {
    let mut rules = Rules::default();
    rules.input("tcp dport { 22, 443 } accept");
    if site.uses_ipv6() {
        rules.neighbours(site.uses_dhcp());
    }
    if site.uses_dhcp() {
        rules.dhcp();
    }
    if site.mdns {
        rules.mdns();
    }
    if site.answer_ping {
        rules.input("icmp type echo-request accept");
        rules.input("icmpv6 type echo-request accept");
    }
    rules.time(&site.time);
    let Rules { input, output } = rules;
    format!(
        "# Written by nabi-setup at each boot.\ntable inet nabi {{\n\
         \tchain input {{\n{input}\t}}\n\tchain output {{\n{output}\t}}\n}}\n"
    )
}

/// What is let in and out, a line each.
#[derive(Default)]
struct Rules {
    input: String,
    output: String,
}

impl Rules {
    fn input(&mut self, rule: &str) {
        self.input.push_str(&format!("\t\t{rule}\n"));
    }

    fn output(&mut self, rule: &str) {
        self.output.push_str(&format!("\t\t{rule}\n"));
    }

    /// IPv6 does not work without them (RFC 4861, and RFC 2710 for the groups that it joins). A hop
    /// limit of 255 proves that no router passed them on.
    fn neighbours(&mut self, routers: bool) {
        let (advert, solicit) =
            if routers { (", nd-router-advert", ", nd-router-solicit") } else { ("", "") };
        let both = "nd-neighbor-solicit, nd-neighbor-advert";
        self.input(&format!("icmpv6 type {{ {both}{advert} }} ip6 hoplimit 255 accept"));
        self.input("icmpv6 type mld-listener-query ip6 saddr fe80::/10 accept");
        self.output(&format!("icmpv6 type {{ {both}{solicit} }} accept"));
        self.output("icmpv6 type { mld-listener-report, mld-listener-done, mld2-listener-report } accept");
    }

    /// Answers come from addresses that were not asked, since the question goes to all.
    fn dhcp(&mut self) {
        self.input("udp sport 67 udp dport 68 accept");
        self.input("ip6 saddr fe80::/10 udp sport 547 udp dport 546 accept");
        self.output(&format!("meta skuid \"{NETWORK_USER}\" udp sport 68 udp dport 67 accept"));
        self.output(&format!("meta skuid \"{NETWORK_USER}\" udp sport 546 udp dport 547 accept"));
    }

    /// RFC 6762: questions go to the group, answers also to the one who asked.
    fn mdns(&mut self) {
        self.input("ip daddr 224.0.0.251 udp dport 5353 accept");
        self.input("ip6 daddr ff02::fb udp dport 5353 accept");
        self.input("udp sport 5353 udp dport 5353 accept");
        self.output(&format!("meta skuid \"{NAMES_USER}\" udp sport 5353 accept"));
    }

    /// Servers by their addresses, if all have one: then nothing else can be asked.
    fn time(&mut self, time: &Time) {
        let user = format!("meta skuid \"{TIME_USER}\"");
        let servers = match time {
            Time::Off => return,
            Time::FromDhcp => return self.output(&format!("{user} udp dport 123 accept")),
            Time::Servers(servers) => servers,
        };
        let addresses: Vec<IpAddr> = servers.iter().filter_map(address).collect();
        if addresses.len() < servers.len() {
            let lookup = format!("meta skuid {{ \"{TIME_USER}\", \"{NAMES_USER}\" }}");
            self.output(&format!("{user} udp dport 123 accept"));
            self.output(&format!("{lookup} udp dport 53 accept"));
            self.output(&format!("{lookup} tcp dport 53 accept"));
            return;
        }
        let (v4, v6): (Vec<IpAddr>, Vec<IpAddr>) = addresses.into_iter().partition(IpAddr::is_ipv4);
        for (version, addresses) in [("ip", v4), ("ip6", v6)] {
            let set = addresses.iter().map(IpAddr::to_string).collect::<Vec<_>>().join(", ");
            if !set.is_empty() {
                self.output(&format!("{user} {version} daddr {{ {set} }} udp dport 123 accept"));
            }
        }
    }
}

fn address(server: &TimeServer) -> Option<IpAddr> {
    match server {
        TimeServer::Address(address) => Some(*address),
        TimeServer::Name(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::Site;
    use super::render;

    fn rendered(site: &str) -> String {
        render(&Site::parse(site).unwrap_or_else(|errors| panic!("{errors}")))
    }

    #[test]
    fn a_site_opens_what_it_needs() {
        assert_eq!(rendered(""), include_str!("tests/default.nft"));
        assert_eq!(rendered(include_str!("tests/listed.toml")), include_str!("tests/listed.nft"));
    }

    #[test]
    fn with_all_turned_off_only_answers_go_out() {
        let silent = "[time]\nenabled = false\n[network]\nmdns = false\n[[interface]]\nname = 'eno1'\n";
        let v4 = rendered(&format!("{silent}addresses = ['10.0.0.5/24']\n"));
        assert_eq!(
            v4,
            "# Written by nabi-setup at each boot.\ntable inet nabi {\n\
             \tchain input {\n\t\ttcp dport { 22, 443 } accept\n\t}\n\tchain output {\n\t}\n}\n"
        );
        let v6 = rendered(&format!("{silent}addresses = ['fd00::5/64']\n"));
        let (_, output) = v6.split_once("chain output").expect("a chain");
        let words: Vec<&str> = output.split_whitespace().filter(|word| word.starts_with("nd-")).collect();
        assert_eq!(words, ["nd-neighbor-solicit,", "nd-neighbor-advert"]);
        assert_eq!(output.matches("accept").count(), 2, "{output}");
    }

    #[test]
    fn names_are_looked_up_only_for_time_servers_that_have_one() {
        let by_name = rendered("[time]\nservers = ['10.0.0.1', 'time.example']\n");
        assert_eq!(by_name.matches("dport 53 accept").count(), 2, "{by_name}");
        let by_address = rendered("[time]\nservers = ['10.0.0.1']\n");
        assert!(!by_address.contains("dport 53 "), "{by_address}");
        let ping = rendered("[network]\nanswer_ping = true\n");
        assert_eq!(ping.matches("echo-request accept").count(), 2, "{ping}");
    }
}
