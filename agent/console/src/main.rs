//! `nabi`: the operator's program. Verbs over the supervisor's admin socket; it has no powers of
//! its own.

mod boot_check;
mod client;
mod file;
mod screen;
mod show;
mod site;
mod ssh;
mod tls;
mod up;

use std::ffi::OsString;
use std::io::{self, Write as _};
use std::os::fd::AsFd as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result, ensure};
use clap::{Parser, Subcommand};
use nabi_wire::action::Action;
use nabi_wire::lifeline;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::boot_check::BootCheck;
use crate::client::Client;
use crate::screen::Screen;
use crate::show::ProgressLine;
use crate::ssh::{Request, Ssh};

/// Exit status for a line that is no verb, as clap's.
const USAGE: u8 = 2;

/// Operate Nabi
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// Folder of models, keys, certificates and logs
    #[arg(long, global = true, default_value = ".nabi")]
    state: PathBuf,
    /// Folder of sockets [default: STATE/run]
    #[arg(long, global = true)]
    run: Option<PathBuf>,
    /// Print the reply as JSON
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Start everything in the foreground (development); Ctrl-C drains, a second one hurries
    Up(up::Up),
    /// The site file, which decides what a machine is before its first boot: check, example
    #[command(subcommand)]
    Site(site::SiteVerb),
    /// Do what an SSH client asks for (sshd runs this)
    #[command(hide = true)]
    Ssh(Ssh),
    /// Show on a terminal how to reach this machine and how it is
    #[command(hide = true)]
    Screen(Screen),
    /// Wait until this start has proven itself; the exit status says whether it did
    #[command(hide = true)]
    BootCheck(BootCheck),
    #[command(flatten)]
    Action(Action),
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let outcome = match ssh::arguments_of_login_shell(&arguments) {
        Ok(None) => run(Arguments::parse()).await,
        Ok(Some(forced)) => run_forced(forced).await,
        Err(error) => Err(error),
    };
    outcome.unwrap_or_else(|error| {
        complain(&format!("{error:#}"));
        ExitCode::FAILURE
    })
}

/// As a login shell there is only one thing to do, whatever the forced command says.
async fn run_forced(forced: Vec<OsString>) -> Result<ExitCode> {
    let arguments = Arguments::try_parse_from(forced).context("the forced command is no verb")?;
    ensure!(matches!(arguments.verb, Verb::Ssh(_)), "this account can only be made to run `nabi ssh`");
    run(arguments).await
}

async fn run(arguments: Arguments) -> Result<ExitCode> {
    let run = arguments.run.unwrap_or_else(|| arguments.state.join("run"));
    let client = Client::new(&run);
    match arguments.verb {
        Verb::Up(up) => up.run(&arguments.state, &run).await?,
        Verb::Site(verb) => print(&verb.run(arguments.json)?)?,
        Verb::Ssh(ssh) => return over_ssh(&client, &ssh).await,
        Verb::Screen(screen) => screen.run(&client).await?,
        Verb::BootCheck(check) => {
            let good = check.run(&client, &arguments.state).await?;
            return Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
        Verb::Action(action) => act(&client, client::absolute(action)?, arguments.json).await?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn over_ssh(client: &Client, ssh: &Ssh) -> Result<ExitCode> {
    exit_with_reader();
    let request = ssh::line_of_this_session().and_then(|line| ssh::read(line.as_deref(), &ssh.media));
    match request {
        Ok(Request::Act { action, json }) => act(client, action, json).await?,
        Ok(Request::Help(text)) => print(&text)?,
        Ok(Request::Overview) => {
            let status = act(client, Action::Status, false).await;
            print(&format!("\n{}", ssh::help()))?;
            status?;
        }
        Err(refusal) => {
            complain(&refusal.to_string());
            return Ok(ExitCode::from(USAGE));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Has the supervisor do it, and shows its reply.
async fn act(client: &Client, action: Action, json: bool) -> Result<()> {
    let mut line = ProgressLine::default();
    let reply = client.act(action, |progress| line.show(progress)).await;
    line.end();
    let reply = reply?;
    if json {
        return print(&(serde_json::to_string_pretty(&reply)? + "\n"));
    }
    print(&show::reply(&reply))?;
    show::aside(&reply).iter().for_each(|aside| say(aside));
    Ok(())
}

/// Not by print!, which panics: a reader may be gone.
fn print(text: &str) -> Result<()> {
    io::stdout().write_all(text.as_bytes()).context("cannot write to standard output")
}

fn complain(words: &str) {
    say(&format!("nabi: {words}\n"));
}

/// Ends this process, and so what it asked for, when nobody reads it any more: SSH sends no signal to
/// what it started without a terminal when the operator presses Ctrl-C or the link breaks.
fn exit_with_reader() {
    std::thread::spawn(|| {
        let stdout = io::stdout();
        loop {
            // Errors and ends are told unasked.
            let mut polled = [PollFd::new(stdout.as_fd(), PollFlags::empty())];
            match poll(&mut polled, PollTimeout::NONE) {
                Ok(_) => std::process::exit(i32::from(lifeline::PARENT_GONE)),
                Err(Errno::EINTR) => {}
                Err(_) => return,
            }
        }
    });
}

/// To standard error, as long as somebody reads it.
fn say(text: &str) {
    let _ = io::stderr().write_all(text.as_bytes());
}
