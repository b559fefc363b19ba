//! What a site file may say, and what is said of one that is wrong.

use proptest::prelude::*;
use ssh_key::PublicKey;
use ssh_key::public::{Ed25519PublicKey, KeyData};

use super::{ADMIN_KEY_BYTES_MAX, Interfaces, PROBLEMS_MAX, Site, SiteModel, Time, decode, parse_admin_keys};

const ACCEPTED: &str = include_str!("tests/accepted.pub");
const REFUSED: &str = include_str!("tests/refused.pub");
const LISTED: &str = include_str!("tests/listed.toml");

/// Files and the first thing that is said of them. `|` stands for a line's end.
const WRONG: [(&str, &str); 49] = [
    (
        "[time]|servers = ['10.0.0.1', 't.example']|[[interface]]|name = 'a'|addresses = ['10.0.0.5/24']",
        "line 2, column 24: \"t.example\" is a name, and no interface has DHCP or dns",
    ),
    ("hostnam = 'a'", "line 1, column 1: unknown field `hostnam`, expected one of `hostname`"),
    ("time = {|enabled = tru }", "line 2, column 11: "),
    ("hostname = 'a'|hostname = 'b'", "line 2, column 1: duplicate key"),
    ("hostname = 1", "line 1, column 12: invalid type: integer `1`, expected a string"),
    ("[network]|mdns = 'no'", "line 2, column 8: invalid type: string \"no\", expected a boolean"),
    ("hostname = 'a_b'", "line 1, column 12: \"a_b\" is not a host name"),
    ("# 모델|  hostname = '모델'", "line 2, column 14: \"모델\" is not a host name"),
    ("language = 'english'", "line 1, column 12: \"english\" is not a language tag"),
    ("admin_keys = [|'ssh-ed25519 AAAA',|]", "line 2, column 1: the key is damaged"),
    ("admin_keys = ['']", "line 1, column 15: there is no key here"),
    ("[time]|servers = ['a b']", "line 2, column 12: \"a b\" is neither an address nor a host name"),
    ("[time]|servers = ['0.0.0.0']", "line 2, column 12: 0.0.0.0 is no address that a machine"),
    ("[time]|servers = ['::1', '10.0.0.1']", "line 2, column 12: ::1 is no address"),
    ("[time]|servers = ['a.b', 'a.b']", "line 2, column 19: a.b stands here twice"),
    ("[time]|enabled = false|servers = ['10.0.0.1']", "line 3, column 12: time servers are named, but"),
    ("[[interface]]|dhcp = true", "line 1, column 1: missing field `name`"),
    ("[[interface]]|name = 'eth0*'", "line 2, column 8: \"eth0*\" is not an interface's name"),
    ("[[interface]]|name = 'a'|[[interface]]|name = 'a'", "line 4, column 8: the interface \"a\" is listed"),
    ("[[interface]]|name = 'a'|mac = '52:54'", "line 3, column 7: \"52:54\" is not the MAC address"),
    (
        "[[interface]]|name = 'a'|mac = '02:00:00:00:00:01'|[[interface]]|name = 'b'|mac = '02-00-00-00-00-01'",
        "line 6, column 7: the MAC address belongs to \"a\" already",
    ),
    (
        "[[interface]]|name = 'a'|addresses = ['10.0.0.5']",
        "line 3, column 14: \"10.0.0.5\" is not an address with",
    ),
    ("[[interface]]|name = 'a'|addresses = ['10.0.0.0/24']", "line 3, column 14: 10.0.0.0 is no address"),
    ("[[interface]]|name = 'a'|addresses = ['10.0.0.255/24']", "line 3, column 14: 10.0.0.255 is no address"),
    ("[[interface]]|name = 'a'|addresses = ['fd00::/64']", "line 3, column 14: fd00:: is no address"),
    ("[[interface]]|name = 'a'|addresses = ['224.0.0.1/24']", "line 3, column 14: 224.0.0.1 is no address"),
    ("[[interface]]|name = 'a'|addresses = ['10.0.0.5/33']", "line 3, column 14: \"10.0.0.5/33\" is not"),
    (
        "[[interface]]|name = 'a'|addresses = ['10.0.0.5/24']|[[interface]]|name = 'b'|addresses = ['10.0.0.5/8']",
        "line 6, column 14: the address 10.0.0.5 is given to \"a\" already",
    ),
    (
        "[[interface]]|name = 'a'|addresses = ['10.0.0.5/24']|gateways = ['10.0.1.1']",
        "line 4, column 13: the gateway 10.0.1.1 is in none of this interface's networks (10.0.0.0/24)",
    ),
    (
        "[[interface]]|name = 'a'|gateways = ['10.0.1.1']",
        "line 3, column 13: the gateway 10.0.1.1 is in none of this interface's networks (it has none of its own)",
    ),
    (
        "[[interface]]|name = 'a'|addresses = ['10.0.0.5/24']|gateways = ['fe80::1']",
        "line 4, column 13: the gateway fe80::1 is in none",
    ),
    (
        "[[interface]]|name = 'a'|addresses = ['10.0.0.5/24']|gateways = ['10.0.0.5']",
        "line 4, column 13: the gateway 10.0.0.5 is the interface's own address",
    ),
    (
        "[[interface]]|name = 'a'|addresses = ['10.0.0.5/24']|gateways = ['10.0.0.1', '10.0.0.2']",
        "line 4, column 25: IPv4 has a gateway already, on \"a\"",
    ),
    ("[[interface]]|name = 'a'|dns = ['one']", "line 3, column 8: \"one\" is not an IP address"),
    (
        "[[interface]]|name = 'a'|dhcp = false",
        "line 2, column 8: this interface has neither DHCP nor an address",
    ),
    (
        "[[interface]]|name = 'a'|vlan = { id = 4095, parent = 'b' }",
        "line 3, column 15: a VLAN's id is 1 to 4094",
    ),
    (
        "[[interface]]|name = 'a'|vlan = { id = 1, parent = 'b' }",
        "line 3, column 27: no interface is named \"b\" in this file",
    ),
    ("[[interface]]|name = 'a'|vlan = { id = 1, parent = 'a' }", "line 3, column 27: \"a\" is itself a VLAN"),
    (
        "[[interface]]|name = 'a'|vlan = { id = 1, parent = 'b' }|mac = '02:00:00:00:00:01'|[[interface]]|name = 'b'",
        "line 4, column 7: a VLAN or a bond is made",
    ),
    (
        "[[interface]]|name = 'p'|[[interface]]|name = 'a'|vlan = { id = 1, parent = 'p' }|[[interface]]|name = 'b'|vlan = { id = 1, parent = 'p' }",
        "line 8, column 15: the VLAN 1 of \"p\" is \"a\" already",
    ),
    (
        "[[interface]]|name = 'p'|[[interface]]|name = 'a'|vlan = { id = 1, parent = 'p' }|bond = { members = ['p'] }",
        "line 6, column 20: one interface cannot be both",
    ),
    (
        "[[interface]]|name = 'a'|bond = { members = [] }",
        "line 3, column 20: a bond needs at least one member",
    ),
    ("[[interface]]|name = 'a'|bond = { members = ['x'] }", "line 3, column 21: no interface is named \"x\""),
    ("[[interface]]|name = 'a'|bond = { members = ['a'] }", "line 3, column 21: \"a\" is no network port"),
    (
        "[[interface]]|name = 'a'|bond = { members = ['a'], mode = 'lacp' }",
        "line 3, column 34: unknown variant `lacp`, expected one of `active-backup`, `802.3ad`",
    ),
    (
        "[[interface]]|name = 'p'|[[interface]]|name = 'a'|bond = { members = ['p'] }|[[interface]]|name = 'b'|bond = { members = ['p'] }",
        "line 8, column 21: \"p\" is in the bond \"a\" already",
    ),
    (
        "[[interface]]|name = 'p'|addresses = ['10.0.0.5/24']|[[interface]]|name = 'a'|bond = { members = ['p'] }",
        "line 3, column 14: \"p\" belongs to the bond \"a\": put this on the bond",
    ),
    ("[[model]]|name = 'a/b'", "line 2, column 8: \"a/b\" is not a name"),
    ("[[model]]|name = 'a'|[[model]]|name = 'a'", "line 4, column 8: \"a\" is listed twice"),
];

#[test]
fn a_fault_is_named_with_its_place_and_the_way_out() {
    for (file, expected) in WRONG {
        let text = file.replace('|', "\n");
        for text in [text.clone(), text.replace('\n', "\r\n")] {
            let errors = Site::parse(&text).expect_err(file);
            let said = errors.to_string();
            assert!(said.starts_with(expected), "{text}\n{said}\nis not what was expected:\n{expected}");
        }
    }
}

#[test]
fn numbers_have_both_limits() {
    for (field, low, high) in
        [("sequences", 1, 256), ("context_tokens", 128, 16 << 20), ("stream_gap_ms", 1, 60_000)]
    {
        let file = |number: u32| format!("[[model]]\nname = 'a'\n{field} = {number}\n");
        for number in [low, high] {
            assert!(Site::parse(&file(number)).is_ok(), "{field} = {number}");
        }
        for number in [low - 1, high + 1] {
            let said = Site::parse(&file(number)).expect_err(field).to_string();
            assert!(said.starts_with(&format!("line 3, column {}: {field} is ", field.len() + 4)), "{said}");
        }
    }
}

/// A file with so many of something.
fn file_with(count: usize, what: &str) -> String {
    let lines = |line: &dyn Fn(usize) -> String| (0..count).map(|i| line(i) + "\n").collect::<String>();
    let host = |i: usize| format!("'10.0.0.{}',", i + 1);
    let ports = || lines(&|i| format!("[[interface]]\nname = 'eth{i}'"));
    let port = |field: &str, items: String| format!("[[interface]]\nname = 'a'\n{field} = [\n{items}]\n");
    match what {
        "admin_keys" => format!("admin_keys = [\n{}]\n", lines(&|i| format!("'{}',", key(i)))),
        "keys" => lines(&key),
        "time servers" => format!("[time]\nservers = [\n{}]\n", lines(&host)),
        "interfaces" => ports(),
        "models" => lines(&|i| format!("[[model]]\nname = 'm{i}'")),
        "addresses" => port("addresses", lines(&|i| format!("'10.0.0.{}/24',", i + 1))),
        "name servers" => port("dns", lines(&host)),
        "members of a bond" => {
            let bond = port("bond.members", lines(&|i| format!("'eth{i}',")));
            ports() + &bond
        }
        _ => panic!("no file has {what}"),
    }
}

/// One key of many.
fn key(index: usize) -> String {
    let number = u8::try_from(index).expect("a small number");
    let key = PublicKey::from(KeyData::Ed25519(Ed25519PublicKey([number; 32])));
    key.to_openssh().expect("a line")
}

#[test]
fn every_list_has_an_end() {
    for (max, what) in [
        (64, "admin_keys"),
        (8, "time servers"),
        (64, "interfaces"),
        (32, "models"),
        (16, "addresses"),
        (8, "name servers"),
        (8, "members of a bond"),
        (64, "keys"),
    ] {
        let parse = |count: usize| {
            let file = file_with(count, what);
            if what == "keys" { parse_admin_keys(&file).map(|_| ()) } else { Site::parse(&file).map(|_| ()) }
        };
        assert_eq!(parse(max), Ok(()), "{max} {what}");
        let said = parse(max + 1).expect_err(what).to_string();
        let expected = format!("{} {what} are more than the {max} that are allowed", max + 1);
        assert!(said.contains(&expected), "{said}");
    }
    assert!(Site::parse(&"#".repeat(64 << 10)).is_ok());
    assert!(Site::parse(&"#".repeat((64 << 10) + 1)).is_err());
}

#[test]
fn all_faults_are_told_in_the_files_order_until_the_screen_is_full() {
    let text = "language = '?'\nhostname = '?'\n[[model]]\nname = '?'\n";
    let errors = Site::parse(text).expect_err("three faults");
    let lines: Vec<usize> = errors.problems().iter().map(|problem| problem.line).collect();
    assert_eq!(lines, [1, 2, 4]);
    assert_eq!(errors.to_string().lines().count(), 3);
    let many = "[[model]]\nname = '?'\n".repeat(PROBLEMS_MAX + 5);
    assert_eq!(Site::parse(&many).expect_err("many faults").problems().len(), PROBLEMS_MAX);
}

#[test]
fn a_whole_site_is_read() {
    let key = ACCEPTED.lines().find(|line| line.starts_with("ssh-ed25519")).expect("a key");
    let text = format!(
        "hostname = 'ai.moj.example'\nlanguage = 'ko'\nadmin_keys = ['{key}']\n[time]\nenabled = false\n\
         [network]\nmdns = false\nanswer_ping = true\n[[model]]\nname = 'DeepSeek-V3'\nsequences = 8\n"
    );
    let site = Site::parse(&text).expect("a valid site");
    assert_eq!((site.hostname.as_str(), site.language.as_str()), ("ai.moj.example", "ko"));
    assert_eq!((&site.time, site.mdns, site.answer_ping), (&Time::Off, false, true));
    assert_eq!(site.interfaces, Interfaces::EveryEthernet);
    let [key] = &site.admin_keys[..] else { panic!("one key") };
    assert_eq!((key.kind(), key.comment()), ("ssh-ed25519", "hana@ministry"));
    let name = "DeepSeek-V3".parse().expect("a name");
    let model = SiteModel { name, sequences: Some(8), context_tokens: None, stream_gap_ms: None };
    assert_eq!(site.models, [model]);
}

/// Each line of a fixture, with what the comment before it says.
fn fixture(text: &str) -> impl Iterator<Item = (&str, &str)> {
    let mut lines = text.lines().skip(1);
    std::iter::from_fn(move || Some((lines.next()?.strip_prefix("# ")?, lines.next()?)))
}

#[test]
fn each_kind_of_key_has_the_fingerprint_that_openssh_shows() {
    let keys = parse_admin_keys(ACCEPTED).expect("keys");
    assert_eq!(keys.len(), 7);
    for (key, (fingerprint, line)) in keys.iter().zip(fixture(ACCEPTED)) {
        assert_eq!(key.fingerprint(), fingerprint);
        let (bare, _comment) = line.rsplit_once(' ').expect("a comment");
        assert_eq!(key.authorized_line(), format!("restrict,pty {bare}"));
    }
}

#[test]
fn what_is_no_key_is_refused_with_the_reason() {
    assert_eq!(fixture(REFUSED).count(), 11);
    for (reason, line) in fixture(REFUSED) {
        let said = parse_admin_keys(line).expect_err(line).to_string();
        assert!(said.starts_with("line 1, column 1: ") && said.contains(reason), "{line}\n{said}");
    }
    let files = [
        (
            "-----BEGIN OPENSSH PRIVATE KEY-----\nb3Bl\n-----END OPENSSH PRIVATE KEY-----\n",
            "is a private key",
        ),
        ("PuTTY-User-Key-File-3: ssh-ed25519\nEncryption: none\n", "is a private key"),
        ("---- BEGIN SSH2 PUBLIC KEY ----\nAAAA\n---- END SSH2 PUBLIC KEY ----\n", "has the form of PuTTY"),
        ("\n# none\n", "there is no key here"),
        (&format!("ssh-ed25519 {}", "A".repeat(ADMIN_KEY_BYTES_MAX)), "more than the 4096"),
    ];
    for (file, reason) in files {
        let said = parse_admin_keys(file).expect_err(file).to_string();
        assert!(said.contains(reason), "{file}\n{said}");
    }
}

#[test]
fn a_key_counts_once_whatever_is_noted_on_it() {
    let (_, line) = fixture(ACCEPTED).next().expect("a key");
    let (bare, _) = line.rsplit_once(' ').expect("a comment");
    let said = parse_admin_keys(&format!("{line}\n\n{bare} other\n")).expect_err("twice").to_string();
    assert_eq!(said, "line 3, column 1: this key is listed twice: keep one");
    let keys = parse_admin_keys(&format!("  {line} \u{1b}[2J\r\n")).expect("a key of Windows");
    assert_eq!(keys[0].comment(), "hana@ministry [2J");
}

proptest! {
    /// Anything may lie on the FAT partition.
    #[test]
    fn a_file_that_was_changed_anywhere_is_read_or_refused_with_a_place(
        at in 0..LISTED.len(),
        cut in 0..20_usize,
        more in "[ -~\n\u{e9}\u{1d11e}]{0,6}",
    ) {
        let end = (at + cut).min(LISTED.len());
        let text = format!("{}{more}{}", &LISTED[..at], &LISTED[end..]);
        if let Err(errors) = Site::parse(&text) {
            for problem in errors.problems() {
                let line = text.split('\n').nth(problem.line - 1);
                prop_assert!(line.is_some_and(|line| problem.column <= line.chars().count() + 1), "{}", problem);
            }
        }
    }

    #[test]
    fn any_bytes_are_keys_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(text) = decode(&bytes) {
            prop_assert!(parse_admin_keys(text).is_err());
        }
    }
}
