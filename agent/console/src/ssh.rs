//! The operator over SSH: sshd starts this program, whatever the client asked for, and what it
//! asked for is a line in `SSH_ORIGINAL_COMMAND`. From that line comes one of the verbs, or nothing.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use clap::error::ErrorKind;
use clap::{Args, CommandFactory as _, Parser};
use nabi_domain::media::{MediaPathError, path_on_media};
use nabi_wire::action::{Action, ModelAction};

/// Longest line that is looked at. A path on a stick may have some thousand bytes.
const LINE_BYTES_MAX: usize = 8192;
/// Programs that clients run to move files.
const TRANSFERS: [&str; 5] = ["scp", "sftp", "sftp-server", "internal-sftp", "rsync"];

/// The verb that sshd is configured to run.
#[derive(Args)]
pub(crate) struct Ssh {
    /// The folder of attached sticks and disks
    #[arg(long, default_value = "/run/nabi-media")]
    pub(crate) media: PathBuf,
}

/// What a client asked for.
#[derive(Debug, PartialEq)]
pub(crate) enum Request {
    /// Nothing: it is told how things are, and what it may ask.
    Overview,
    /// A text about the verbs.
    Help(String),
    /// A verb.
    Act { action: Action, json: bool },
}

/// Why a client's line is refused.
#[derive(Debug, PartialEq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("the line has {bytes} bytes, at most {LINE_BYTES_MAX} are allowed")]
    TooLong { bytes: usize },
    #[error("the line has characters that are not printable text")]
    NotText,
    #[error("a quote in the line is not closed")]
    Quote,
    #[error(
        "files are not moved over SSH: bring models on a stick (`media list`), read texts by verbs (`ca > ca.pem`)"
    )]
    Transfer,
    #[error("{words}; `help` lists what can be done")]
    Verb { words: String },
    #[error(transparent)]
    Path(#[from] MediaPathError),
}

// The verbs as a client gives them. Whatever else `nabi` can do is not in here.
/// Operate Nabi
#[derive(Parser)]
#[command(name = "ssh admin@HOST", no_binary_name = true)]
struct Line {
    /// Print the reply as JSON
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    action: Action,
}

/// Reads what a client asked for; models come from the folder of `media` alone.
pub(crate) fn read(line: Option<&str>, media: &Path) -> Result<Request, Refusal> {
    let line = line.unwrap_or_default();
    if line.len() > LINE_BYTES_MAX {
        return Err(Refusal::TooLong { bytes: line.len() });
    }
    if line.chars().any(char::is_control) {
        return Err(Refusal::NotText);
    }
    let words = shlex::split(line).ok_or(Refusal::Quote)?;
    let Some(first) = words.first() else { return Ok(Request::Overview) };
    let program = first.rsplit('/').next().unwrap_or_default();
    if TRANSFERS.contains(&program) {
        return Err(Refusal::Transfer);
    }
    match Line::try_parse_from(&words) {
        Ok(Line { json, action }) => Ok(Request::Act { action: on_media(action, media)?, json }),
        Err(error) => match error.kind() {
            ErrorKind::DisplayHelp | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
                Ok(Request::Help(error.render().to_string()))
            }
            _ => Err(Refusal::Verb { words: in_one_line(&error) }),
        },
    }
}

/// All verbs, as `help` shows them.
pub(crate) fn help() -> String {
    Line::command().render_help().to_string()
}

fn on_media(action: Action, media: &Path) -> Result<Action, MediaPathError> {
    match action {
        Action::Model(ModelAction::Import { path, name }) => {
            Ok(Action::Model(ModelAction::Import { path: path_on_media(media, &path)?, name }))
        }
        action => Ok(action),
    }
}

/// clap's first paragraph.
fn in_one_line(error: &clap::Error) -> String {
    let text = error.render().to_string();
    let paragraph = text.lines().take_while(|line| !line.is_empty()).map(str::trim);
    let words = paragraph.collect::<Vec<_>>().join(" ");
    words.strip_prefix("error: ").map(str::to_owned).unwrap_or(words)
}

/// The line of this session, as sshd has it.
pub(crate) fn line_of_this_session() -> Result<Option<String>, Refusal> {
    let line = std::env::var_os("SSH_ORIGINAL_COMMAND");
    line.map(|line| line.into_string().map_err(|_| Refusal::NotText)).transpose()
}

/// The arguments of `nabi` as a login shell, which sshd starts as `nabi -c COMMAND` with the command
/// that it is configured to run; none for any other start. There is no other shell in between.
pub(crate) fn arguments_of_login_shell(arguments: &[OsString]) -> Result<Option<Vec<OsString>>> {
    match arguments {
        [_, flag, command] if flag == "-c" => {
            let command = command.to_str().and_then(shlex::split).context("the command is no text")?;
            Ok(Some(command.into_iter().map(OsString::from).collect()))
        }
        [name, ..] if name.as_encoded_bytes().starts_with(b"-") => {
            bail!("this account has no shell: sshd must run `nabi ssh` for it")
        }
        _ => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use nabi_wire::action::{KeyAction, KeyScope, MediaAction};
    use proptest::prelude::*;

    use super::*;

    fn ask(line: &str) -> Result<Request, Refusal> {
        read(Some(line), Path::new("/media"))
    }

    #[test]
    fn each_verb_is_taken_as_it_stands() {
        let act = |action, json| Ok(Request::Act { action, json });
        let import = |path: &str, name: Option<&str>| {
            let name = name.map(|name| name.parse().expect("a name"));
            Action::Model(ModelAction::Import { path: path.into(), name })
        };
        let name = || "ministry".parse().expect("a name");
        for (line, expected) in [
            ("", Ok(Request::Overview)),
            ("   ", Ok(Request::Overview)),
            ("status", act(Action::Status, false)),
            ("status --json", act(Action::Status, true)),
            ("--json status", act(Action::Status, true)),
            ("ca", act(Action::Ca, false)),
            ("media list", act(Action::Media(MediaAction::List), false)),
            ("self-test", act(Action::SelfTest, false)),
            ("hardware", act(Action::Hardware { record: false }, false)),
            ("hardware --record", act(Action::Hardware { record: true }, false)),
            ("capacity", act(Action::Capacity, false)),
            (
                "key add ministry",
                act(Action::Key(KeyAction::Add { name: name(), scope: KeyScope::Inference }), false),
            ),
            ("model import STICK/a.gguf", act(import("/media/STICK/a.gguf", None), false)),
            ("model import /media/STICK/a.gguf", act(import("/media/STICK/a.gguf", None), false)),
            (
                "model import 'STICK/my model' --name mine",
                act(import("/media/STICK/my model", Some("mine")), false),
            ),
        ] {
            assert_eq!(ask(line), expected, "{line}");
        }
        assert_eq!(read(None, Path::new("/media")), Ok(Request::Overview));
    }

    #[test]
    fn whatever_else_a_client_tries_is_refused_in_one_line() {
        let long = format!("status {}", "x".repeat(LINE_BYTES_MAX));
        for (line, words) in [
            ("up", "unrecognized subcommand 'up'"),
            ("ssh", "unrecognized subcommand 'ssh'"),
            ("screen tty1", "unrecognized subcommand 'screen'"),
            ("site check x", "unrecognized subcommand 'site'"),
            ("boot-check", "unrecognized subcommand 'boot-check'"),
            ("--state /x status", "unexpected argument '--state'"),
            ("status --run /x", "unexpected argument '--run'"),
            ("bash -i", "unrecognized subcommand 'bash'"),
            ("LD_PRELOAD=x status", "unrecognized subcommand 'LD_PRELOAD=x'"),
            ("status; reboot", "unrecognized subcommand 'status;'"),
            ("status && reboot", "unexpected argument '&&'"),
            ("$(reboot)", "unrecognized subcommand '$(reboot)'"),
            ("key add", "not provided: <NAME>"),
            ("key add ../x", "invalid value '../x'"),
            ("scp -t /tmp", "on a stick"),
            ("/usr/lib/openssh/sftp-server", "on a stick"),
            ("rsync --server . /x", "on a stick"),
            ("model import /etc/shadow", "lies on no stick"),
            ("model import STICK/../../etc/shadow", "lies on no stick"),
            ("status 'x", "is not closed"),
            ("status\nreboot", "not printable"),
            ("status \u{1b}[2J", "not printable"),
            (&long, "at most 8192"),
        ] {
            let refusal = ask(line).expect_err(line).to_string();
            assert!(refusal.contains(words) && !refusal.contains('\n'), "{line}: {refusal}");
        }
    }

    #[test]
    fn help_is_for_what_can_be_done_here_alone() {
        for line in ["help", "--help", "model", "model import --help"] {
            assert!(matches!(ask(line), Ok(Request::Help(_))), "{line}");
        }
        let help = help();
        for verb in ["status", "model", "key", "alias", "media", "ca", "self-test", "logs", "version"] {
            assert!(help.lines().any(|line| line.trim().starts_with(verb)), "{verb}: {help}");
        }
        assert!(!help.contains("--state") && !help.contains("boot-check"), "{help}");
    }

    #[test]
    fn as_a_login_shell_it_takes_its_arguments_from_the_forced_command() {
        let read = |arguments: &[&str]| {
            let arguments: Vec<_> = arguments.iter().map(OsString::from).collect();
            arguments_of_login_shell(&arguments)
        };
        let forced = read(&["nabi", "-c", "/usr/lib/nabi/nabi --run /run/nabi ssh"]).expect("taken");
        assert_eq!(forced.expect("some"), ["/usr/lib/nabi/nabi", "--run", "/run/nabi", "ssh"]);
        assert!(read(&["nabi", "status"]).expect("taken").is_none());
        for refused in [&["-nabi"][..], &["nabi", "-c", "'"]] {
            assert!(read(refused).is_err(), "{refused:?}");
        }
    }

    proptest! {
        /// Whatever the line, what comes of it is a verb of [`Action`] that names nothing outside the
        /// media, a help text, or a refusal of one printable line.
        #[test]
        fn no_line_does_harm(
            words in prop::collection::vec(
                prop_oneof![
                    prop::sample::select(vec![
                        "model", "import", "remove", "status", "--json", "--state", "--name", "-n", "key", "ca",
                        "logs", "--", "../..", "/media/x", "/etc/passwd", "'", "\"", "\\", ";", "up", "ssh", "help",
                    ]).prop_map(str::to_owned),
                    "\\PC{0,20}",
                    any::<String>(),
                ],
                0..6,
            ),
        ) {
            match ask(&words.join(" ")) {
                Ok(Request::Act { action: Action::Model(ModelAction::Import { path, .. }), .. }) => {
                    prop_assert!(path.starts_with("/media/"));
                    prop_assert!(!path.components().any(|part| part.as_os_str() == ".."));
                }
                Ok(_) => {}
                Err(refusal) => {
                    let text = refusal.to_string();
                    prop_assert!(!text.chars().any(char::is_control), "{text:?}");
                }
            }
        }
    }
}
