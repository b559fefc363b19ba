//! Drop-ins for systemd's time and name services.

use super::{Site, Time, TimeServer};

/// systemd-timesyncd's drop-in (timesyncd.conf(5)); nothing where the time is off. Debian's servers,
/// which it would ask by default, are taken from it.
pub fn timesyncd(site: &Site) -> Option<String> {
    let servers = match &site.time {
        Time::Off => return None,
        Time::FromDhcp => String::new(),
        Time::Servers(servers) => servers.iter().map(in_words).collect::<Vec<_>>().join(" "),
    };
    Some(format!("[Time]\nNTP={servers}\nFallbackNTP=\n"))
}

/// systemd-resolved's drop-in (resolved.conf(5)).
pub fn resolved(site: &Site) -> String {
    let mdns = if site.mdns { "yes" } else { "no" };
    format!("[Resolve]\nFallbackDNS=\nMulticastDNS={mdns}\nLLMNR=no\n")
}

fn in_words(server: &TimeServer) -> String {
    match server {
        TimeServer::Address(address) => address.to_string(),
        TimeServer::Name(name) => name.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Site;
    use super::{resolved, timesyncd};

    #[test]
    fn nobody_is_asked_whom_the_site_does_not_name() {
        for (file, expected) in [
            ("", Some("[Time]\nNTP=\nFallbackNTP=\n")),
            (
                "time.servers = ['10.0.0.1', 't.example']",
                Some("[Time]\nNTP=10.0.0.1 t.example\nFallbackNTP=\n"),
            ),
            ("time.enabled = false", None),
        ] {
            let site = Site::parse(file).expect("a valid site");
            assert_eq!(timesyncd(&site).as_deref(), expected, "{file}");
        }
        let off = Site::parse("network.mdns = false").expect("a valid site");
        assert_eq!(resolved(&off), "[Resolve]\nFallbackDNS=\nMulticastDNS=no\nLLMNR=no\n");
        assert_eq!(resolved(&Site::default()), "[Resolve]\nFallbackDNS=\nMulticastDNS=yes\nLLMNR=no\n");
    }
}
