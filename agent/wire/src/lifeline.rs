//! What a child process owes its supervisor: to go when it goes, and to say why it cannot run.
//!
//! A child's standard input is a pipe that only its parent holds: when it ends, the parent is
//! gone, however it went, and the child goes too. So no process outlives its supervisor.

use std::fmt;
use std::io;
use std::process::ExitCode;

/// Exit status of a process whose parent is gone.
pub const PARENT_GONE: u8 = 70;
/// Exit status of a process that cannot run until something is changed, as sysexits' EX_CONFIG:
/// starting it again would not help. Its reason is its last line on standard error.
pub const REFUSED: u8 = 78;

/// Beside the admin socket: why the supervisor does not run.
pub const PROBLEM_FILE: &str = "supervisor-problem";

/// Ends this process at once when its parent is gone.
pub fn exit_with_parent() -> io::Result<()> {
    on_parent_gone(|| std::process::exit(i32::from(PARENT_GONE)))
}

/// Does this when the parent is gone, on a thread of its own: for a process that must not end by
/// [`std::process::exit`].
pub fn on_parent_gone(then: impl FnOnce() + Send + 'static) -> io::Result<()> {
    std::thread::Builder::new().name("lifeline".into()).spawn(|| {
        // Ends with the pipe, or with an error: the parent is gone in either case.
        let _ = io::copy(&mut io::stdin(), &mut io::sink());
        then();
    })?;
    Ok(())
}

/// Says why this process cannot run. `{error:#}` must be the whole reason in one line.
pub fn refuse(error: &impl fmt::Display) -> ExitCode {
    let reason = format!("{error:#}").replace('\n', " ");
    eprintln!("{reason}");
    ExitCode::from(REFUSED)
}
