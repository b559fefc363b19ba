//! The screen's text. Pure, without colours, for eighty columns.

use std::fmt::Write as _;
use std::net::IpAddr;

use nabi_wire::reply::{EngineStatus, ProcessState, Status};

use super::facts::{Facts, Supervisor};

const HTTPS_PORT: u16 = 443;

/// All of it; ends with a line feed.
pub(super) fn screen(facts: &Facts) -> String {
    let mut text = format!("Nabi {} on {}\n\n", env!("CARGO_PKG_VERSION"), facts.host);
    if let Some(problem) = &facts.problem {
        text += "This machine is not set up, and serves nothing:\n";
        problem.lines().for_each(|line| text += &format!("  {line}\n"));
        text += "\n";
    }
    text += &network(facts);
    match &facts.supervisor {
        Ok(supervisor) => text += &served(supervisor),
        Err(_) if facts.problem.is_some() => {}
        Err(reason) => {
            let _ = writeln!(text, "\nThe supervisor does not answer: {reason}");
        }
    }
    // What comes from files and other programs must not move the cursor.
    text.chars().filter(|c| *c == '\n' || !c.is_control()).collect()
}

fn network(facts: &Facts) -> String {
    let port = facts.supervisor.as_ref().map_or(HTTPS_PORT, |supervisor| port(&supervisor.status.address));
    let mut text = String::new();
    for address in &facts.addresses {
        let _ = writeln!(text, "  API         {}/v1", url(address, port));
    }
    for address in &facts.addresses {
        let _ = writeln!(text, "  Operate     ssh admin@{address}");
    }
    if facts.addresses.is_empty() && facts.problem.is_none() {
        text += "  No network address yet: is a cable connected? Addresses are set in the site file.\n";
    }
    if let Ok(supervisor) = &facts.supervisor {
        let _ = writeln!(text, "  CA SHA-256  {}", supervisor.ca_sha256);
    }
    if let Some(host_key) = &facts.host_key {
        let _ = writeln!(text, "  SSH key     {host_key}");
    }
    text
}

fn port(address: &str) -> u16 {
    address.rsplit(':').next().and_then(|port| port.parse().ok()).unwrap_or(HTTPS_PORT)
}

fn url(address: &IpAddr, port: u16) -> String {
    let host = match address {
        IpAddr::V4(v4) => v4.to_string(),
        IpAddr::V6(v6) => format!("[{v6}]"),
    };
    if port == HTTPS_PORT { format!("https://{host}") } else { format!("https://{host}:{port}") }
}

fn served(supervisor: &Supervisor) -> String {
    let Status { gateway, engines, alarms, .. } = &supervisor.status;
    let mut text = String::from("\nModels\n");
    for EngineStatus { model, state: process, .. } in engines {
        let _ = writeln!(text, "  {model}: {}", state(process));
    }
    if engines.is_empty() {
        text += "  none: `ssh admin@ADDRESS help` says how to import and serve one\n";
    }
    if !matches!(gateway, ProcessState::Ready { .. }) {
        let _ = writeln!(text, "\nThe gateway {}", state(gateway));
    }
    for alarm in alarms {
        let _ = writeln!(text, "\nALARM: {alarm}");
    }
    text
}

/// Without what changes at every look: a serial line gets each text anew.
fn state(state: &ProcessState) -> String {
    match state {
        ProcessState::Starting { .. } => "starts".to_owned(),
        ProcessState::Ready { .. } => "serves".to_owned(),
        ProcessState::Waiting { reason, .. } => format!("ended and is started again: {reason}"),
        ProcessState::Refused { reason } => format!("cannot run: {reason}"),
        ProcessState::Stopping => "stops".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use nabi_wire::action::ServeSettings;
    use nabi_wire::reply::Alarm;

    use super::*;

    fn facts() -> Facts {
        let engine = |name: &str, state| EngineStatus {
            model: name.parse().expect("a name"),
            state,
            settings: ServeSettings::default(),
            card: None,
            stats: None,
        };
        let loading = ProcessState::Starting { pid: 7, loaded_permille: 300 };
        let status = Status {
            address: "https://[::]:443".into(),
            ready: false,
            gateway: ProcessState::Ready { pid: 5 },
            self_test: None,
            engines: vec![engine("chat", ProcessState::Ready { pid: 6 }), engine("code", loading)],
            aliases: vec![],
            alarms: vec![],
        };
        Facts {
            host: "nabi-finance".into(),
            addresses: ["192.168.1.20", "2001:db8::20"].map(|ip| ip.parse().expect("an address")).into(),
            host_key: Some("SHA256:key".into()),
            problem: None,
            supervisor: Ok(Supervisor { status, ca_sha256: "ab".repeat(32) }),
        }
    }

    fn status(facts: &mut Facts) -> &mut Status {
        &mut facts.supervisor.as_mut().expect("it answers").status
    }

    #[test]
    fn a_machine_that_serves_shows_how_to_reach_and_to_trust_it() {
        let expected = format!(
            "Nabi {} on nabi-finance

  API         https://192.168.1.20/v1
  API         https://[2001:db8::20]/v1
  Operate     ssh admin@192.168.1.20
  Operate     ssh admin@2001:db8::20
  CA SHA-256  {}
  SSH key     SHA256:key

Models
  chat: serves
  code: starts
",
            env!("CARGO_PKG_VERSION"),
            "ab".repeat(32)
        );
        assert_eq!(screen(&facts()), expected);
        assert!(expected.lines().all(|line| line.len() <= 80), "{expected}");
    }

    #[test]
    fn what_changes_at_every_look_is_not_shown() {
        let mut later = facts();
        status(&mut later).engines[1].state = ProcessState::Starting { pid: 8, loaded_permille: 900 };
        assert_eq!(screen(&later), screen(&facts()));
    }

    #[test]
    fn a_machine_that_is_not_set_up_says_why_and_nothing_else() {
        let problem = "site.toml, line 3: \u{1b}[2J`hostnam` is no field\nMend it, and start again\n";
        let facts = Facts {
            addresses: [].into(),
            host_key: None,
            problem: Some(problem.into()),
            supervisor: Err("no socket".into()),
            ..facts()
        };
        let shown = screen(&facts);
        let expected = "This machine is not set up, and serves nothing:\n  site.toml, line 3: [2J`hostnam` is no field\n  Mend it, and start again\n\n";
        assert!(shown.ends_with(expected), "{shown}");
    }

    #[test]
    fn what_is_missing_or_wrong_is_said() {
        type Change = fn(&mut Facts);
        let with = |change: Change| {
            let mut facts = facts();
            change(&mut facts);
            screen(&facts)
        };
        let table: [(Change, &str); 6] = [
            (|facts| facts.addresses.clear(), "is a cable connected?"),
            (|facts| facts.supervisor = Err("refused".into()), "The supervisor does not answer: refused\n"),
            (|facts| status(facts).engines.clear(), "  none: `ssh admin@ADDRESS help`"),
            (|facts| status(facts).gateway = ProcessState::Stopping, "\nThe gateway stops\n"),
            (|facts| status(facts).address = "https://0.0.0.0:8443".into(), "https://192.168.1.20:8443/v1"),
            (
                |facts| {
                    status(facts).alarms = vec![Alarm::ReadOnly { folder: "/var/lib/nabi/models".into() }]
                },
                "\nALARM: the disk of /var/lib/nabi/models can only be read",
            ),
        ];
        for (change, words) in table {
            let shown = with(change);
            assert!(shown.contains(words), "{words}: {shown}");
        }
    }
}
