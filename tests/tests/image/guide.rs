//! docs/operator.md, "From download to the first answer", done to the letter: its commands are run by a
//! shell as they stand there, in their order, and none is left out.

use std::collections::VecDeque;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use nabi_machine::{Computer, Ssh};
use nabi_tests::programs::program;

use crate::lab::HOSTNAME;

const PAGE: &str = include_str!("../../../docs/operator.md");
const CHAPTER: &str = "## From download to the first answer";
/// Of all that the chapter has in code type, what is to be typed begins so.
const COMMANDS: [&str; 5] = ["curl ", "make ", "nabi site ", "ssh admin@", "ssh-keygen "];
const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// A reader in a folder, at the next command.
pub(crate) struct Guide {
    folder: PathBuf,
    commands: VecDeque<&'static str>,
    /// What the reader puts in place of the page's words.
    words: Vec<(&'static str, String)>,
    /// What makes commands for a machine on a desk reach one that is emulated.
    functions: String,
}

impl Guide {
    /// Opens the page, to be followed in this folder with this computer.
    pub(crate) fn open(folder: PathBuf, computer: &Computer) -> Result<Self> {
        let chapter = PAGE.split(CHAPTER).nth(1).context("docs/operator.md has lost its first chapter")?;
        let chapter = chapter.split("\n## ").next().unwrap_or(chapter);
        let code = chapter.split('`').skip(1).step_by(2);
        let commands = code.filter(|code| COMMANDS.iter().any(|begins| code.starts_with(begins))).collect();
        let words = vec![
            ("/dev/sdX", quoted(computer.disk().path().to_string_lossy())),
            (
                "nabi_VERSION.raw.zst",
                quoted(std::env::var("NABI_IMAGE").context("NABI_IMAGE names no image")?),
            ),
            ("ADDRESS", "127.0.0.1".to_owned()),
            ("HOST/", format!("{HOSTNAME}/")),
        ];
        let functions = functions(&folder, computer);
        Ok(Self { folder, commands, words, functions })
    }

    /// Has a word of the page stand for something from now on.
    pub(crate) fn put(&mut self, word: &'static str, meaning: String) {
        self.words.push((word, meaning));
    }

    /// Does what the page says next, which begins so, and gives what it printed.
    pub(crate) fn follow(&mut self, begins: &str) -> Result<String> {
        let next = self.commands.pop_front().with_context(|| format!("the page ends before {begins:?}"))?;
        ensure!(next.starts_with(begins), "the page says {next:?} where the test expects {begins:?}");
        let meant =
            self.words.iter().fold(next.to_owned(), |text, (word, meaning)| text.replace(word, meaning));
        let mut shell = Command::new("bash");
        shell.args(["-euo", "pipefail", "-c", &format!("{}{meant}\n", self.functions)]);
        shell.current_dir(&self.folder).stdin(Stdio::null());
        let output = shell.output().context("cannot start bash")?;
        let [printed, said] =
            [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
        ensure!(output.status.success(), "{meant} ended with {}: {printed}{said}", output.status);
        Ok(printed)
    }

    /// Changes a file as by an editor.
    pub(crate) fn edit(&self, name: &str, from: &str, to: &str) -> Result<()> {
        let file = self.folder.join(name);
        let text = fs::read_to_string(&file).with_context(|| format!("cannot read {name}"))?;
        ensure!(text.contains(from), "{name} has no {from:?}: {text}");
        fs::write(file, text.replace(from, to)).with_context(|| format!("cannot write {name}"))
    }

    /// Checks that all was done.
    pub(crate) fn end(self) -> Result<()> {
        ensure!(self.commands.is_empty(), "not done: {:?}", self.commands);
        Ok(())
    }
}

/// Programs as on the reader's machine. Flashing is confirmed at a terminal; the key gets no passphrase;
/// ports of this machine lead to the computer's.
fn functions(folder: &Path, computer: &Computer) -> String {
    let ssh = Ssh::at(folder, computer.ssh_port()).program("ssh");
    let ssh: Vec<String> = ssh.get_args().map(|argument| quoted(argument.to_string_lossy())).collect();
    let model = computer.disk().path().file_name().unwrap_or_default().to_string_lossy();
    format!(
        r#"nabi() {{ {nabi} "$@"; }}
ssh-keygen() {{ command ssh-keygen -q -N '' "$@"; }}
ssh() {{ command ssh {ssh} "$@"; }}
curl() {{ command curl --silent --show-error --fail --connect-to {HOSTNAME}:443:127.0.0.1:{https} "$@"; }}
make() {{
    local here=$PWD words=("${{@/#SITE=/SITE=$PWD/}}")
    printf '%s\n' {model} | script --quiet --return --command \
        "$(printf '%q ' make -C {root} "${{words[@]/#KEY=/KEY=$PWD/}}")" /dev/null
}}
"#,
        nabi = quoted(program("nabi").to_string_lossy()),
        ssh = ssh.join(" "),
        https = computer.https_port(),
        model = quoted(model),
        root = quoted(ROOT),
    )
}

/// For the shell.
fn quoted(text: impl AsRef<str>) -> String {
    format!("'{}'", text.as_ref().replace('\'', r"'\''"))
}
