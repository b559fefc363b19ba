//! Other people's programs.

use std::io;
use std::process::{Command, Output, Stdio};

use anyhow::{Context as _, Result, bail};

/// Runs a program to its end, and gives its standard output.
///
/// # Errors
/// When it is not installed, or fails: with what it said.
pub(crate) fn run(command: &mut Command) -> Result<Vec<u8>> {
    let Output { status, stdout, stderr } = output(command)?;
    if !status.success() {
        bail!("{command:?} ended with {status}: {}", String::from_utf8_lossy(&stderr).trim_end());
    }
    Ok(stdout)
}

/// Runs a program that may fail.
pub(crate) fn output(command: &mut Command) -> Result<Output> {
    command.stdin(Stdio::null()).output().map_err(|error| explain(error, command))
}

/// Says where a program comes from that is not there.
pub(crate) fn explain(error: io::Error, command: &Command) -> anyhow::Error {
    let name = command.get_program().to_string_lossy().into_owned();
    let missing = error.kind() == io::ErrorKind::NotFound;
    let error = Err::<(), _>(error).with_context(|| format!("cannot start {name}"));
    let error = if missing {
        error.context("a program is missing: provisioning/debian-packages.sh machine installs all")
    } else {
        error
    };
    error.expect_err("it is one")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_program_says_is_in_the_error() {
        let error = run(Command::new("sh").args(["-c", "echo no such disk >&2; exit 3"]));
        let error = error.expect_err("it fails").to_string();
        assert!(error.contains("exit status: 3") && error.ends_with("no such disk"), "{error}");
    }

    #[test]
    fn a_missing_program_says_what_to_install() {
        let error = format!("{:#}", run(&mut Command::new("no-such-program")).expect_err("it is missing"));
        assert!(error.contains("debian-packages.sh machine") && error.contains("no-such-program"), "{error}");
    }
}
