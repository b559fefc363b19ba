//! The sole writer of the model store: imports, removes and verifies models.
//!
//! Started by the supervisor with pipes: events go to standard output as frames, logs to standard
//! error, and standard input is a lifeline. It may be killed at any moment: what it has done is in
//! a journal on the disk, and the next run for the same name goes on from there.

mod copy;
mod error;
mod hash;
mod import;
mod journal;
mod lock;
mod media;
mod places;
mod remove;
mod report;
mod space;
mod verify;

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser};
use nabi_domain::ModelName;
use nabi_wire::import::ImportEvent;
use nabi_wire::lifeline;

use error::{ImportError, in_words};
use import::Source;
use lock::NameLock;
use places::Places;
use report::Reporter;

/// Imports, removes and verifies models. Started by nabi-supervisor.
#[derive(Parser)]
#[command(version)]
enum Command {
    /// Copies a model into the store, or goes on with a copy that was interrupted.
    Import {
        #[command(flatten)]
        target: Target,
        /// A GGUF file (any part of a split one) or a Hugging Face folder.
        #[arg(long)]
        source: PathBuf,
        /// The folder of attached media, on which further parts of a split file may lie.
        #[arg(long)]
        media: Option<PathBuf>,
    },
    /// Deletes a model, or what an interrupted import of it left.
    Remove(Target),
    /// Compares every file of a model with the hash of its import.
    Verify(Target),
    /// Lists attached media and the models on them.
    Media {
        /// The folder of attached media.
        #[arg(long)]
        media: PathBuf,
    },
}

#[derive(Args)]
struct Target {
    /// The folder that holds all models.
    #[arg(long)]
    store: PathBuf,
    /// The model's name in the store.
    #[arg(long)]
    name: ModelName,
}

fn main() -> ExitCode {
    let command = Command::parse();
    tracing_subscriber::fmt().with_writer(io::stderr).init();
    if let Err(error) = lifeline::exit_with_parent() {
        tracing::error!(%error, "the thread that watches the supervisor did not start");
        return ExitCode::FAILURE;
    }
    let mut reporter = Reporter::new(io::stdout());
    let (last, status) = match run(command, &mut reporter) {
        Ok(event) => (event, ExitCode::SUCCESS),
        Err(ImportError::Supervisor(_)) => return ExitCode::from(lifeline::PARENT_GONE),
        Err(error) => {
            let message = in_words(&error);
            tracing::error!("{message}");
            (ImportEvent::Failed { message }, ExitCode::FAILURE)
        }
    };
    match reporter.event(&last) {
        Ok(()) => status,
        Err(_) => ExitCode::from(lifeline::PARENT_GONE),
    }
}

fn run(command: Command, reporter: &mut Reporter<io::Stdout>) -> Result<ImportEvent, ImportError> {
    match &command {
        Command::Import { target, source, media } => on(target, |places| {
            let source = Source::new(source, media.as_deref())?;
            import::import(places, &source, reporter).map(ImportEvent::Done)
        }),
        Command::Remove(target) => on(target, |places| remove::remove(places).map(|()| ImportEvent::Removed)),
        Command::Verify(target) => on(target, |places| verify::verify(places, reporter)),
        Command::Media { media } => media::list(media).map(ImportEvent::Media),
    }
}

/// Works on a model of the store, while nobody else does.
fn on(
    target: &Target,
    work: impl FnOnce(&Places) -> Result<ImportEvent, ImportError>,
) -> Result<ImportEvent, ImportError> {
    let places = Places::new(&target.store, &target.name)?;
    let _lock = NameLock::acquire(&places)?;
    work(&places)
}
