//! Whether this start is good enough to keep the version that was started.
//!
//! A version is tried by the boot loader a few times. It is kept when it serves as well as the one
//! before it did on this hardware; what is missing because a disk or an accelerator is gone says
//! nothing of the version, so it is an alarm and never a reason to go back.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::ModelName;

/// Exists while the boot loader counts the tries of what it started (systemd's boot loader
/// interface).
pub const TRIAL_SIGN: &str =
    "/sys/firmware/efi/efivars/LoaderBootCountPath-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f";
/// How often the boot loader tries what it starts: as the image's `/etc/kernel/tries`.
const TRIES: u32 = 3;
/// For everything but models that still load: a machine in software emulation needs minutes.
pub const BOOT_S_MAX: u64 = 600;
/// For models that still load: the largest are read from slow disks.
pub const LOADING_S_MAX: u64 = 7200;

/// So many looks in a row must find a start bad: one slow answer is no verdict.
const BAD_LOOKS: u32 = 3;

/// What the self-test model must answer, whatever the machine: the file `self-test.json` beside it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KnownAnswer {
    /// The prompt, without any added token.
    pub prompt: String,
    /// The likeliest tokens after it.
    pub token_ids: Vec<u32>,
}

/// What came of the self-test model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SelfTest {
    /// It cannot be asked yet.
    Pending {
        /// Why.
        reason: String,
    },
    /// It gave the known tokens: these kernels compute rightly on this machine.
    Passed {
        /// How many.
        tokens: u32,
    },
    /// It gave others: nothing that these kernels compute can be trusted.
    WrongTokens {
        /// What it must give.
        expected: Vec<u32>,
        /// What it gave.
        found: Vec<u32>,
    },
    /// It gave nothing, and trying again would not help.
    Failed {
        /// Why.
        reason: String,
    },
}

/// How a model is that was served before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ModelNow {
    /// Its first token is proven.
    Serves,
    /// On the way to it.
    Loading,
    /// Its engine ended, and is started again.
    Failing {
        /// Why it ended.
        reason: String,
    },
    /// Its engine cannot run, though the model's files are those that were served.
    Refused {
        /// Why.
        reason: String,
    },
    /// It is not what was served, or not there: its disk, its files or its accelerator is gone.
    Absent {
        /// What is missing.
        reason: String,
    },
}

/// A model that was served, now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServedBefore {
    /// Its name.
    pub name: ModelName,
    /// How it is.
    pub now: ModelNow,
}

/// What the supervisor knows of this start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BootFacts {
    /// The self-test model.
    pub self_test: SelfTest,
    /// Each model that was served before.
    pub models: Vec<ServedBefore>,
}

/// Whether the boot loader counts this start as a try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trial {
    /// This version was kept before.
    No,
    /// When it is bad, the boot loader goes back to another one in the end.
    Yes,
    /// It was tried more often than it may: there is no other version to go back to.
    NothingLeft,
}

impl Trial {
    /// By what the boot loader started, `/EFI/Linux/nabi_1.0+2-1.efi`: tries that are left, and made.
    pub fn of_counted(path: &str) -> Self {
        let counts = || {
            let (_, counts) = path.strip_suffix(".efi")?.rsplit_once('+')?;
            let (left, made) = counts.split_once('-')?;
            Some((left.parse::<u32>().ok()?, made.parse::<u32>().ok()?))
        };
        match counts() {
            Some((0, made)) if made > TRIES => Self::NothingLeft,
            _ => Self::Yes,
        }
    }
}

/// What a judge has before it.
#[derive(Debug, Clone, Copy)]
pub struct Seen<'a> {
    /// Whether the boot loader counts this start as a try.
    pub trial: Trial,
    /// How long it has been waited.
    pub waited_s: u64,
    /// Why the machine is not set up, if it is not: it serves nothing then.
    pub problem: Option<&'a str>,
    /// Whether it was set up once, and served.
    pub served_once: bool,
    /// The supervisor's answer on the admin socket, or why there is none.
    pub facts: Result<&'a BootFacts, &'a str>,
    /// Whether the gateway answers over TLS with a certificate of this machine's authority.
    pub tls: Result<(), &'a str>,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Look again in a while.
    Wait {
        /// For what.
        missing: Vec<String>,
    },
    /// Keep this version.
    Good {
        /// What the operator must know even so.
        alarms: Vec<String>,
    },
    /// Start again; the boot loader goes back after its tries.
    Bad {
        /// Why.
        reasons: Vec<String>,
    },
}

/// Looks at a start, one after another, until they decide.
#[derive(Debug, Default)]
pub struct Looks {
    bad_in_a_row: u32,
}

impl Looks {
    /// Whether the version is to be kept, once that is decided.
    pub fn decide(&mut self, verdict: &Verdict) -> Option<bool> {
        match verdict {
            Verdict::Good { .. } => return Some(true),
            Verdict::Wait { .. } => self.bad_in_a_row = 0,
            Verdict::Bad { .. } => self.bad_in_a_row += 1,
        }
        (self.bad_in_a_row == BAD_LOOKS).then_some(false)
    }
}

/// What is not yet, or not at all, as it must be.
#[derive(Default)]
struct Findings {
    /// Not yet, and must be by [`BOOT_S_MAX`].
    missing: Vec<String>,
    /// Not yet, and must be by [`LOADING_S_MAX`].
    loading: Vec<String>,
    /// Never will be.
    wrong: Vec<String>,
    /// Not this version's fault.
    alarms: Vec<String>,
}

/// Judges this start.
pub fn judge(seen: &Seen<'_>) -> Verdict {
    if let Some(problem) = seen.problem {
        return not_set_up(problem, if seen.served_once { seen.trial } else { Trial::No });
    }
    let mut found = findings(seen);
    let late = |since_s: u64, missing: &mut Vec<String>| {
        let late = if seen.waited_s >= since_s { std::mem::take(missing) } else { Vec::new() };
        late.into_iter().map(move |missing| format!("not within {since_s} s: {missing}"))
    };
    let (late_missing, late_loading) =
        (late(BOOT_S_MAX, &mut found.missing), late(LOADING_S_MAX, &mut found.loading));
    found.wrong.extend(late_missing.chain(late_loading));
    match (found.wrong.is_empty(), found.missing.is_empty() && found.loading.is_empty()) {
        (false, _) if seen.trial == Trial::Yes => Verdict::Bad { reasons: found.wrong },
        // Starting again would only keep the operator from mending it.
        (false, _) if seen.trial == Trial::NothingLeft => {
            Verdict::Wait { missing: [found.wrong, found.missing, found.loading].concat() }
        }
        (_, false) => Verdict::Wait { missing: [found.missing, found.loading].concat() },
        // A version that was kept once is not given up for what happens later.
        (_, true) => Verdict::Good { alarms: [found.wrong, found.alarms].concat() },
    }
}

/// What was set up before must be so in every version; on a new machine it is the site file's fault,
/// and no other version would do better.
fn not_set_up(problem: &str, trial: Trial) -> Verdict {
    let lines = vec![format!("this machine is not set up: {problem}")];
    match trial {
        Trial::No => Verdict::Good { alarms: lines },
        Trial::Yes => Verdict::Bad { reasons: lines },
        Trial::NothingLeft => Verdict::Wait { missing: lines },
    }
}

fn findings(seen: &Seen<'_>) -> Findings {
    let mut found = Findings::default();
    if let Err(reason) = seen.tls {
        found.missing.push(format!("an answer over TLS: {reason}"));
    }
    let facts = match seen.facts {
        Ok(facts) => facts,
        Err(reason) => {
            found.missing.push(format!("an answer of the supervisor: {reason}"));
            return found;
        }
    };
    match &facts.self_test {
        SelfTest::Passed { .. } => {}
        SelfTest::Pending { reason } => found.missing.push(format!("the self-test: {reason}")),
        SelfTest::WrongTokens { expected, found: tokens } => found
            .wrong
            .push(format!("the self-test model gives the tokens {tokens:?} instead of {expected:?}")),
        SelfTest::Failed { reason } => found.wrong.push(format!("the self-test failed: {reason}")),
    }
    for ServedBefore { name, now } in &facts.models {
        match now {
            ModelNow::Serves => {}
            ModelNow::Loading => found.loading.push(format!("the first token of {name}")),
            ModelNow::Failing { reason } => {
                found.missing.push(format!("the first token of {name}, whose engine ended: {reason}"));
            }
            ModelNow::Refused { reason } => {
                found.wrong.push(format!("{name} was served before and cannot be now: {reason}"));
            }
            ModelNow::Absent { reason } => found.alarms.push(format!("{name} cannot be served: {reason}")),
        }
    }
    found
}

/// Models that are served, each with what tells its files from others': the SHA-256 of its
/// manifest.
pub type Served = BTreeMap<ModelName, String>;

/// A model that is to be served.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// Its name.
    pub name: ModelName,
    /// What tells its files from others'; absent if they cannot be read.
    pub files: Option<String>,
    /// How it is.
    pub now: ModelNow,
}

/// What a later start must serve as well. A model is noted with its first token, and forgotten when
/// the operator stops it, or when a version that is on trial no longer cannot serve it either.
pub fn remember(before: &Served, wanted: &[Wanted], trial: bool) -> Served {
    let kept = wanted.iter().filter_map(|model| {
        let files = match (&model.now, before.get(&model.name)) {
            (ModelNow::Serves, noted) => model.files.as_ref().or(noted),
            // One that fails is noted again with its next first token.
            (ModelNow::Refused { .. } | ModelNow::Failing { .. }, _) if !trial => None,
            (_, noted) => noted,
        };
        files.map(|files| (model.name.clone(), files.clone()))
    });
    kept.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(name: &str) -> ModelName {
        name.parse().expect("a name")
    }

    fn because(reason: &str) -> String {
        reason.to_owned()
    }

    fn facts(self_test: SelfTest, models: &[(&str, ModelNow)]) -> BootFacts {
        let model =
            |(name, now): &(&str, ModelNow)| ServedBefore { name: self::name(name), now: now.clone() };
        BootFacts { self_test, models: models.iter().map(model).collect() }
    }

    const SEEN: Seen<'_> = Seen {
        trial: Trial::Yes,
        waited_s: 0,
        problem: None,
        served_once: true,
        facts: Err("not asked"),
        tls: Ok(()),
    };

    /// One letter for each verdict, in the order: at once, after [`BOOT_S_MAX`], after
    /// [`LOADING_S_MAX`]; first on trial, then not, and with nothing left to go back to.
    fn verdicts(facts: Result<&BootFacts, &str>, tls: Result<(), &str>) -> String {
        let times = [0, BOOT_S_MAX, LOADING_S_MAX];
        let judged = [Trial::Yes, Trial::No, Trial::NothingLeft].map(|trial| {
            times.map(|waited_s| match judge(&Seen { trial, waited_s, facts, tls, ..SEEN }) {
                Verdict::Wait { .. } => 'w',
                Verdict::Good { alarms } if alarms.is_empty() => 'g',
                Verdict::Good { .. } => 'a',
                Verdict::Bad { .. } => 'b',
            })
        });
        judged.map(String::from_iter).join(" ")
    }

    #[test]
    fn what_cannot_be_waited_for_ends_a_trial_and_is_an_alarm_otherwise() {
        use ModelNow::{Absent, Failing, Loading, Refused, Serves};
        let passed = SelfTest::Passed { tokens: 8 };
        let because = || because("x");
        let pending = SelfTest::Pending { reason: because() };
        let wrong = SelfTest::WrongTokens { expected: vec![1], found: vec![2] };
        let failed = SelfTest::Failed { reason: because() };
        let (refused, absent) = (Refused { reason: because() }, Absent { reason: because() });
        let failing = Failing { reason: because() };
        let table: [(&SelfTest, Vec<ModelNow>, &str); 12] = [
            (&passed, vec![], "ggg ggg ggg"),
            (&passed, vec![Serves, Serves], "ggg ggg ggg"),
            (&pending, vec![], "wbb waa www"),
            (&wrong, vec![Serves], "bbb aaa www"),
            (&failed, vec![Serves], "bbb aaa www"),
            (&passed, vec![Loading], "wwb wwa www"),
            (&passed, vec![failing.clone()], "wbb waa www"),
            (&passed, vec![refused.clone()], "bbb aaa www"),
            (&passed, vec![absent.clone()], "aaa aaa aaa"),
            (&passed, vec![Loading, absent.clone()], "wwb wwa www"),
            (&passed, vec![Loading, refused.clone()], "bbb wwa www"),
            (&pending, vec![absent.clone()], "wbb waa www"),
        ];
        for (self_test, models, expected) in table {
            let models: Vec<_> = models.into_iter().map(|now| ("m", now)).collect();
            let facts = facts(self_test.clone(), &models);
            assert_eq!(verdicts(Ok(&facts), Ok(())), expected, "{facts:?}");
        }
        let good = facts(passed, &[("m", Serves)]);
        assert_eq!(verdicts(Ok(&good), Err("refused")), "wbb waa www");
        assert_eq!(verdicts(Err("no socket"), Ok(())), "wbb waa www");
    }

    #[test]
    fn reasons_name_what_is_missing() {
        let refused = ModelNow::Refused { reason: because("the pack lacks it") };
        let wrong = SelfTest::WrongTokens { expected: vec![1], found: vec![2] };
        let facts = facts(wrong, &[("chat", refused), ("code", ModelNow::Loading)]);
        let seen = Seen { waited_s: LOADING_S_MAX, facts: Ok(&facts), tls: Err("refused"), ..SEEN };
        let Verdict::Bad { reasons } = judge(&seen) else { panic!("bad") };
        let words = ["[2] instead of [1]", "chat", "TLS: refused", "7200 s: the first token of code"];
        for (reason, words) in reasons.iter().zip(words) {
            assert!(reason.contains(words), "{words}: {reason}");
        }
        assert_eq!(reasons.len(), words.len());
    }

    #[test]
    fn a_site_file_that_never_worked_is_not_the_versions_fault() {
        let bad = |trial, served_once| {
            let seen = Seen { trial, served_once, problem: Some("line 3"), ..SEEN };
            matches!(judge(&seen), Verdict::Bad { .. })
        };
        assert!(bad(Trial::Yes, true));
        assert!(!bad(Trial::Yes, false) && !bad(Trial::No, true) && !bad(Trial::NothingLeft, true));
    }

    #[test]
    fn one_bad_look_decides_nothing() {
        let reasons = || vec!["no answer".to_owned()];
        let (bad, wait) = (Verdict::Bad { reasons: reasons() }, Verdict::Wait { missing: reasons() });
        let good = Verdict::Good { alarms: vec![] };
        let decided = |verdicts: &[&Verdict]| {
            let mut looks = Looks::default();
            verdicts.iter().map(|verdict| looks.decide(verdict)).collect::<Vec<_>>()
        };
        assert_eq!(decided(&[&bad, &bad, &wait, &bad, &bad]), [None; 5]);
        assert_eq!(decided(&[&bad, &bad, &bad]), [None, None, Some(false)]);
        assert_eq!(decided(&[&wait, &bad, &good]), [None, None, Some(true)]);
    }

    #[test]
    fn after_more_tries_than_there_are_nothing_is_left() {
        for (path, trial) in [
            ("/EFI/Linux/nabi_0.1.0+2-1.efi", Trial::Yes),
            ("/EFI/Linux/nabi_0.1.0+0-3.efi", Trial::Yes),
            ("/EFI/Linux/nabi_0.1.0+0-4.efi", Trial::NothingLeft),
            ("/EFI/Linux/nabi_0.1.0+0-12.efi", Trial::NothingLeft),
            ("/EFI/Linux/nabi_0.1.0.efi", Trial::Yes),
            ("", Trial::Yes),
        ] {
            assert_eq!(Trial::of_counted(path), trial, "{path}");
        }

        let given = include_str!("../../../image/mkosi.extra/etc/kernel/tries");
        assert_eq!(given.trim().parse(), Ok(TRIES), "what the image gives each version");
    }

    #[test]
    fn a_model_is_remembered_from_its_first_token_until_it_is_stopped_or_given_up() {
        use ModelNow::{Absent, Failing, Loading, Refused, Serves};
        let refused = || Refused { reason: because("x") };
        let failing = || Failing { reason: because("x") };
        let absent = || Absent { reason: because("x") };
        let noted = || Served::from([(name("m"), because("old"))]);
        let table = [
            (Served::new(), Serves, true, Some("new")),
            (Served::new(), Loading, true, None),
            (noted(), Serves, true, Some("new")),
            (noted(), Loading, false, Some("old")),
            (noted(), absent(), false, Some("old")),
            (noted(), refused(), true, Some("old")),
            (noted(), refused(), false, None),
            (noted(), failing(), true, Some("old")),
            (noted(), failing(), false, None),
        ];
        for (before, now, trial, expected) in table {
            let wanted = Wanted { name: name("m"), files: Some(because("new")), now };
            let after = remember(&before, std::slice::from_ref(&wanted), trial);
            assert_eq!(after.get(&name("m")).map(String::as_str), expected, "{wanted:?}");
        }
        assert!(remember(&noted(), &[], true).is_empty(), "the operator stopped it");
    }
}
