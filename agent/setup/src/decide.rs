//! What to do with what was found. Pure.

use nabi_domain::site::{SITE_FILE_BYTES_MAX, SiteErrors, decode};

use crate::places::Places;
use crate::read::{self, Found};
use crate::taken::{Refused, Setup, Taken};

/// What the operator calls the two files.
const SITE_NAME: &str = "nabi/site.toml";
const KEYS_NAME: &str = "nabi/admin.pub";

/// Windows makes it on whatever it writes to.
const WINDOWS_FOLDER: &str = "System Volume Information";

const FILES_ADVICE: &str = "Switch the machine off, correct the file on the FAT partition of its disk with another computer (any \
     system can write there), and start it again. `nabi site check FILE` checks a site file beforehand.";
const KEY_ADVICE: &str = "Switch the machine off, and put the public SSH key of its administrator on the FAT partition of its \
     disk, as nabi/admin.pub, with another computer (any system can write there). `ssh-keygen -t ed25519` makes a pair; the \
     public key is the file that ends with .pub. Then start the machine again.";
/// For what goes wrong with the machine's own disk.
pub(crate) const DISK_ADVICE: &str = "Start the machine again. If that does not help, its disk is full or failing: flash it anew, or another one.";

/// What an earlier boot kept.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Kept {
    Nothing,
    Taken(Taken),
    Damaged(String),
}

impl From<Found> for Kept {
    fn from(found: Found) -> Self {
        match found {
            Found::Absent => Self::Nothing,
            Found::Unreadable(reason) => Self::Damaged(reason),
            Found::Bytes(bytes) => serde_json::from_slice(&bytes)
                .map_or_else(|error| Self::Damaged(error.to_string()), Self::Taken),
        }
    }
}

/// What lies on the FAT partition.
#[derive(Default)]
pub(crate) struct Offered {
    pub(crate) site: Found,
    pub(crate) keys: Found,
    /// Other files beside them.
    pub(crate) others: Vec<String>,
}

impl Offered {
    pub(crate) fn read(places: &Places) -> Self {
        let bounded = |path: &std::path::Path| read::bounded(path, SITE_FILE_BYTES_MAX);
        let mut others = read::names(&places.offered());
        others.retain(|name| ![SITE_NAME, KEYS_NAME].contains(&format!("nabi/{name}").as_str()));
        others.retain(|name| !name.starts_with('.') && name != WINDOWS_FOLDER);
        Self { site: bounded(&places.offered_site()), keys: bounded(&places.offered_keys()), others }
    }
}

/// What to do.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    /// Set the machine up, after keeping what was taken, if it was taken just now.
    SetUp { setup: Setup, take: Option<Taken> },
    /// Leave the machine without network, and show this text.
    HoldBack(String),
}

pub(crate) fn decide(kept: &Kept, offered: &Offered) -> Decision {
    match kept {
        Kept::Damaged(reason) => unusable(reason),
        Kept::Taken(taken) => match taken.setup() {
            Ok(setup) => Decision::SetUp { setup, take: None },
            Err(refused) => unusable(&explained(&refused).0),
        },
        Kept::Nothing => first(offered),
    }
}

fn first(offered: &Offered) -> Decision {
    let taken = match texts(offered) {
        Ok(taken) => taken,
        Err(reasons) => return Decision::HoldBack(problem(&reasons, FILES_ADVICE)),
    };
    match taken.setup() {
        Ok(setup) => Decision::SetUp { setup, take: Some(taken) },
        Err(refused) => {
            let (reasons, advice) = explained(&refused);
            Decision::HoldBack(problem(&reasons, advice))
        }
    }
}

fn unusable(reasons: &str) -> Decision {
    let reasons = format!("what this machine kept of its set-up cannot be used: {reasons}");
    Decision::HoldBack(problem(&reasons, DISK_ADVICE))
}

/// The reasons, and what to do.
fn explained(refused: &Refused) -> (String, &'static str) {
    match refused {
        Refused::NoKey => (format!("there is no {KEYS_NAME}, and no admin_keys in {SITE_NAME}"), KEY_ADVICE),
        Refused::Faults { site, keys } => {
            let faults = [(SITE_NAME, site), (KEYS_NAME, keys)];
            let lines = faults.into_iter().filter_map(|(name, errors)| Some(named(name, errors.as_ref()?)));
            (lines.collect::<Vec<_>>().join("\n"), FILES_ADVICE)
        }
    }
}

/// The texts of both files, or what is wrong with either. Where one is missing, a file of another name
/// may be meant, as `site.toml.txt`: what is taken is taken once, so it is asked.
fn texts(offered: &Offered) -> Result<Taken, String> {
    if [&offered.site, &offered.keys].contains(&&Found::Absent) && !offered.others.is_empty() {
        let others =
            offered.others.iter().map(|name| format!("nabi/{name:?}")).collect::<Vec<_>>().join(", ");
        return Err(format!(
            "only {SITE_NAME} and {KEYS_NAME} are read, but there is {others}: rename it, or take it away"
        ));
    }
    match (text(SITE_NAME, &offered.site), text(KEYS_NAME, &offered.keys)) {
        (Ok(site), Ok(keys)) => Ok(Taken { site, keys }),
        (site, keys) => Err([site.err(), keys.err()].into_iter().flatten().collect::<Vec<_>>().join("\n")),
    }
}

fn text(name: &str, found: &Found) -> Result<Option<String>, String> {
    match found {
        Found::Absent => Ok(None),
        Found::Unreadable(reason) => Err(format!("{name} cannot be read: {reason}")),
        Found::Bytes(bytes) => decode(bytes).map(str::to_owned).map(Some).map_err(|e| named(name, &e)),
    }
}

/// Each fault on a line of its own, after the file's name.
fn named(name: &str, errors: &SiteErrors) -> String {
    errors.problems().iter().map(|problem| format!("{name}, {problem}")).collect::<Vec<_>>().join("\n")
}

/// The text for the screen.
pub(crate) fn problem(reasons: &str, advice: &str) -> String {
    format!("This machine is not set up. It has no network and serves nothing.\n\n{reasons}\n\n{advice}\n")
}

#[cfg(test)]
mod tests {
    use super::{Decision, Kept, Offered, decide};
    use crate::read::Found;
    use crate::taken::Taken;

    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIMLQ5tLZyu+7KdbTlZP2a1Xpnm6zddtMNrkt/qg+FJWM hana";

    fn found(text: Option<&str>) -> Found {
        text.map_or(Found::Absent, |text| Found::Bytes(text.into()))
    }

    fn first(site: Option<&str>, keys: Option<&str>) -> Decision {
        decide(&Kept::Nothing, &Offered { site: found(site), keys: found(keys), ..Offered::default() })
    }

    fn held_back(decision: Decision) -> String {
        match decision {
            Decision::HoldBack(text) => text,
            Decision::SetUp { setup, .. } => panic!("set up: {setup:?}"),
        }
    }

    #[test]
    fn a_key_is_enough_wherever_it_stands() {
        let in_site = format!("admin_keys = ['{KEY}']");
        let with_mark = format!("\u{feff}{KEY}\r\n");
        for (site, keys) in [
            (None, Some(KEY)),
            (Some(in_site.as_str()), None),
            (Some(&in_site), Some(KEY)),
            (Some(""), Some(&with_mark)),
        ] {
            let Decision::SetUp { setup, take: Some(taken) } = first(site, keys) else {
                panic!("{site:?} {keys:?} is no set-up")
            };
            assert_eq!(setup.keys.len(), 1, "{site:?} {keys:?}");
            assert_eq!((taken.site.as_deref(), taken.keys.is_some()), (site, keys.is_some()));
        }
    }

    #[test]
    fn what_is_wrong_is_told_with_the_file_and_nothing_is_taken() {
        let bad_site = "hostname = 'a'\nlanguage = '?'\n";
        for (site, keys, expected) in [
            (None, None, "there is no nabi/admin.pub, and no admin_keys in nabi/site.toml"),
            (Some(""), None, "there is no nabi/admin.pub"),
            (Some(bad_site), Some(KEY), "nabi/site.toml, line 2, column 12: \"?\" is not a language tag"),
            (None, Some("\nssh-dss AAAA"), "nabi/admin.pub, line 2, column 1: \"ssh-dss\" is no kind"),
        ] {
            let text = held_back(first(site, keys));
            assert!(text.contains(expected) && text.contains("start"), "{text}");
        }
        let both = held_back(first(Some(bad_site), Some("x")));
        assert!(both.contains("nabi/site.toml, line 2") && both.contains("nabi/admin.pub, line 1"), "{both}");
    }

    #[test]
    fn a_file_of_another_name_is_asked_about_where_one_is_missing() {
        let decided = |site| {
            let others = vec!["site.toml.txt".to_owned()];
            decide(&Kept::Nothing, &Offered { site: found(site), keys: found(Some(KEY)), others })
        };
        let text = held_back(decided(None));
        assert!(text.contains("there is nabi/\"site.toml.txt\": rename it"), "{text}");
        assert!(matches!(decided(Some("")), Decision::SetUp { .. }));
    }

    #[test]
    fn what_cannot_be_read_is_not_passed_over() {
        let folder = Found::Unreadable("it is not a plain file".to_owned());
        let offered = Offered { site: folder, keys: found(Some(KEY)), ..Offered::default() };
        let text = held_back(decide(&Kept::Nothing, &offered));
        assert!(text.contains("nabi/site.toml cannot be read: it is not a plain file"), "{text}");
        let site = Found::Bytes(vec![b'#', 0xff]);
        let offered = Offered { site, keys: found(Some(KEY)), ..Offered::default() };
        let text = held_back(decide(&Kept::Nothing, &offered));
        assert!(text.contains("nabi/site.toml, line 1, column 2: this byte is not UTF-8"), "{text}");
    }

    #[test]
    fn what_was_taken_once_stays() {
        let taken = Taken { site: Some("hostname = 'first'".to_owned()), keys: Some(KEY.to_owned()) };
        let site = found(Some("hostname = 'second'"));
        let offered = Offered { site, keys: found(Some("x")), ..Offered::default() };
        let Decision::SetUp { setup, take: None } = decide(&Kept::Taken(taken), &offered) else {
            panic!("what was taken is used")
        };
        assert_eq!(setup.site.hostname.as_str(), "first");
        let text = held_back(decide(&Kept::Damaged("end of file".to_owned()), &offered));
        assert!(text.contains("kept of its set-up cannot be used: end of file"), "{text}");
    }

    #[test]
    fn a_kept_file_that_is_cut_short_is_not_nothing() {
        assert_eq!(Kept::from(Found::Absent), Kept::Nothing);
        for bytes in ["", "{", "{}x", "{\"site\":null,\"keys\":null,\"more\":1}"] {
            assert!(matches!(Kept::from(found(Some(bytes))), Kept::Damaged(_)), "{bytes:?}");
        }
    }
}
