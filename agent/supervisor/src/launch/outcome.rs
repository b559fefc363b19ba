//! How a process ended, in words: the same for a child and for a unit.

use std::fmt::Display;
use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;

use nabi_wire::lifeline::REFUSED;

/// `ExecMainCode` of a unit, from `waitid(2)`: the process exited by itself,
const EXITED: i32 = 1;
/// by a signal,
const KILLED: i32 = 2;
/// or by a signal, with a core dump.
const DUMPED: i32 = 3;

/// What is known of an end but for the process's own words.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Outcome {
    /// It cannot run until something is changed.
    pub(super) refused: bool,
    pub(super) how: String,
}

impl Outcome {
    pub(super) fn of_process(status: ExitStatus) -> Self {
        Self { refused: status.code() == Some(i32::from(REFUSED)), how: format!("ended with {status}") }
    }

    /// By the unit's `Result`, `ExecMainCode` and `ExecMainStatus`.
    pub(super) fn of_unit(result: &str, code: i32, status: i32) -> Self {
        let failed = |how: &str| Self { refused: false, how: how.to_owned() };
        match (result, code) {
            ("oom-kill", _) => failed("was killed since there was no memory left for it"),
            ("timeout", _) => failed("was killed since it did not start or end in time"),
            (_, EXITED) => match unmade(status) {
                Some(what) => failed(&format!("could not be started: {what} (status {status} of systemd)")),
                None => Self::of_process(ExitStatus::from_raw(status << 8)),
            },
            (_, KILLED) => Self::of_process(ExitStatus::from_raw(status)),
            (_, DUMPED) => Self::of_process(ExitStatus::from_raw(status | 0x80)),
            (result, _) => failed(&format!("could not be started: systemd says {result}")),
        }
    }

    /// Nobody can tell how it ended.
    pub(super) fn lost(error: &impl Display) -> Self {
        Self { refused: false, how: format!("cannot be watched any more: {error:#}") }
    }
}

/// What systemd could not make for a process, by its exit status: "Process Exit Codes" in systemd.exec(5).
fn unmade(status: i32) -> Option<&'static str> {
    Some(match status {
        202 => "its file descriptors could not be passed",
        203 => "its program could not be executed",
        216 => "its group does not exist",
        217 => "its user does not exist",
        219 => "its control group could not be made",
        225 => "its network namespace could not be made",
        226 => "its view of the file system could not be made",
        228 => "its system call filter could not be set",
        200..=245 => "its sandbox could not be made",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_unit_is_told_in_words() {
        for (result, code, status, refused, how) in [
            ("success", EXITED, 0, false, "ended with exit status: 0"),
            ("exit-code", EXITED, 1, false, "ended with exit status: 1"),
            ("exit-code", EXITED, 78, true, "ended with exit status: 78"),
            ("signal", KILLED, 9, false, "ended with signal: 9 (SIGKILL)"),
            // A signal of that number is no refusal.
            ("signal", KILLED, 78, false, "ended with signal: 78"),
            ("core-dump", DUMPED, 6, false, "ended with signal: 6 (SIGABRT) (core dumped)"),
            ("oom-kill", KILLED, 9, false, "was killed since there was no memory left for it"),
            ("timeout", KILLED, 9, false, "was killed since it did not start or end in time"),
            (
                "exit-code",
                EXITED,
                203,
                false,
                "could not be started: its program could not be executed (status 203 of systemd)",
            ),
            (
                "exit-code",
                EXITED,
                244,
                false,
                "could not be started: its sandbox could not be made (status 244 of systemd)",
            ),
            ("exit-code", EXITED, 255, false, "ended with exit status: 255"),
            ("resources", 0, 0, false, "could not be started: systemd says resources"),
        ] {
            let expected = Outcome { refused, how: how.to_owned() };
            assert_eq!(Outcome::of_unit(result, code, status), expected, "{result} {code} {status}");
        }
    }
}
