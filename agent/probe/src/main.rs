//! Looks at the machine for the supervisor: whoever asks a broken device, or what its maker wrote, may hang
//! or crash. So this is a process of its own, one for each question, with a limit of time that the
//! supervisor sets.
//!
//! Started by the supervisor with pipes: frames go to standard output, standard input is a lifeline.

mod bandwidth;
mod nvidia;

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser};
use nabi_domain::hardware::PciAddress;
use nabi_hardware::Found;
use nabi_wire::frame;
use nabi_wire::lifeline;
use nabi_wire::probe::Probed;
use nix::unistd::{dup, dup2_stdout};

/// Looks at the machine. Started by nabi-supervisor.
#[derive(Parser)]
#[command(version)]
enum Command {
    /// Tells what it has.
    Inventory(Machine),
    /// Tells all that is read for that.
    Record(Machine),
    /// Tells what NVIDIA's library does of these cards.
    Nvidia {
        /// The library; by default this machine's.
        #[arg(long)]
        library: Option<PathBuf>,
        /// Where they are on PCI.
        cards: Vec<PciAddress>,
    },
    /// Measures how fast its processors read its memory.
    Bandwidth {
        /// Threads that read.
        #[arg(long)]
        threads: u32,
    },
}

#[derive(Args)]
struct Machine {
    /// The root folder below which it is read, or a recording of one.
    #[arg(long)]
    root: PathBuf,
}

fn main() -> ExitCode {
    let command = Command::parse();
    match lifeline::exit_with_parent().and_then(|()| run(&command)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cannot speak with the supervisor: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: &Command) -> io::Result<()> {
    // A library may print what it likes: that is for the log.
    let mut told = File::from(dup(io::stdout())?);
    dup2_stdout(io::stderr())?;
    let mut tell = |probed: Probed| frame::write(&mut told, &probed);
    match command {
        Command::Inventory(machine) => {
            tell(machine.tell(|found| Probed::Inventory(Box::new(found.inventory))))
        }
        Command::Record(machine) => tell(machine.tell(|found| Probed::Recording(found.recording))),
        Command::Nvidia { library, cards } => nvidia::tell(library.as_deref(), cards, tell),
        Command::Bandwidth { threads } => tell(Probed::Bandwidth(bandwidth::measure(*threads))),
    }
}

impl Machine {
    fn tell(&self, found: impl FnOnce(Found) -> Probed) -> Probed {
        match read(&self.root) {
            Ok(machine) => found(machine),
            Err(error) => Probed::Failed {
                message: format!("cannot read the machine below {}: {error}", self.root.display()),
            },
        }
    }
}

fn read(root: &Path) -> io::Result<Found> {
    if !root.is_file() {
        return nabi_hardware::read(root);
    }
    let folder = tempfile::tempdir()?;
    nabi_hardware::lay_out(&nabi_hardware::read_recording(root)?, folder.path())?;
    nabi_hardware::read(folder.path())
}
