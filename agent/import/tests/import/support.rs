//! Runs the built program as the supervisor does.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nabi_domain::ModelSummary;
use nabi_model_corpus::gguf::Gguf;
use nabi_models::{Store, StoredModel};
use nabi_wire::frame;
use nabi_wire::import::ImportEvent;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

/// A store and a folder for sources.
pub(crate) struct Bench {
    folder: TempDir,
}

impl Bench {
    pub(crate) fn new() -> Self {
        let bench = Self { folder: tempfile::tempdir().expect("a temporary folder") };
        for folder in [bench.store_folder(), bench.source("")] {
            fs::create_dir(folder).expect("an empty folder");
        }
        bench
    }

    pub(crate) fn store_folder(&self) -> PathBuf {
        self.folder.path().join("store")
    }

    pub(crate) fn source(&self, name: &str) -> PathBuf {
        self.folder.path().join("source").join(name)
    }

    pub(crate) fn partial(&self, name: &str) -> PathBuf {
        self.store_folder().join(format!(".import-{name}"))
    }

    pub(crate) fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.source(name);
        fs::write(&path, bytes).expect("writes a source");
        path
    }

    /// A model of that many bytes, mostly a hole; some bytes in it are not zero.
    pub(crate) fn write_large(&self, name: &str, mib: u64) -> PathBuf {
        let elements = mib << 18;
        let header = Gguf::of("llama").tensor("token_embd.weight", &[64, elements / 64], 0, &[]).build();
        let path = self.write(name, &header);
        let mut file = File::options().write(true).open(&path).expect("opens a source");
        file.set_len(header.len() as u64 + elements * 4).expect("makes a hole");
        for at in (1..mib).step_by(7) {
            file.seek(SeekFrom::Start(at << 20)).expect("seeks");
            file.write_all(&at.to_le_bytes()).expect("writes");
        }
        path
    }

    pub(crate) fn start(&self, verb: &str, name: &str, source: Option<&Path>) -> Run {
        Run::start(&self.store_folder(), verb, name, source)
    }

    pub(crate) fn import(&self, name: &str, source: &Path) -> End {
        self.start("import", name, Some(source)).end()
    }

    pub(crate) fn remove(&self, name: &str) -> End {
        self.start("remove", name, None).end()
    }

    pub(crate) fn verify(&self, name: &str) -> End {
        self.start("verify", name, None).end()
    }

    pub(crate) fn stored(&self, name: &str) -> StoredModel {
        let store = Store::open(&self.store_folder()).expect("the store");
        store.check_unchanged(&name.parse().expect("a name")).expect("a stored model")
    }

    /// All names in the store, hidden ones too.
    pub(crate) fn names(&self) -> Vec<String> {
        names(&self.store_folder())
    }
}

pub(crate) fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("a folder");
    let mut names: Vec<_> =
        entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("text")).collect();
    names.sort();
    names
}

/// The program at work. Its standard input stays open until it is dropped.
pub(crate) struct Run {
    child: Child,
}

/// How it ended.
pub(crate) struct End {
    pub(crate) code: Option<i32>,
    pub(crate) signal: Option<i32>,
    pub(crate) events: Vec<ImportEvent>,
    pub(crate) log: String,
}

impl Run {
    pub(crate) fn start(store: &Path, verb: &str, name: &str, source: Option<&Path>) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_nabi-import"));
        command.arg(verb).arg("--store").arg(store).args(["--name", name]);
        if let Some(source) = source {
            command.arg("--source").arg(source);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Self { child: command.spawn().expect("starts nabi-import") }
    }

    /// The next event; `None` when the program has ended.
    pub(crate) fn next_event(&mut self) -> Option<ImportEvent> {
        let out = self.child.stdout.as_mut().expect("piped");
        let mut length = [0; 4];
        out.read_exact(&mut length).ok()?;
        let mut event = vec![0; u32::from_be_bytes(length) as usize];
        out.read_exact(&mut event).expect("a whole frame");
        Some(frame::decode(&event).expect("an event"))
    }

    /// Waits until that many bytes are done.
    pub(crate) fn wait_for(&mut self, bytes: u64) {
        while let Some(event) = self.next_event() {
            match event {
                ImportEvent::Progress { done_bytes, .. } if done_bytes >= bytes => return,
                ImportEvent::Progress { .. } => {}
                other => panic!("ended before {bytes} bytes: {other:?}"),
            }
        }
        panic!("ended before {bytes} bytes");
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let id = i32::try_from(self.child.id()).expect("a process id");
        kill(Pid::from_raw(id), signal).expect("signals its own child");
    }

    /// Waits until the beginning of a file is durable.
    pub(crate) fn wait_for_checkpoint(&mut self, partial: &Path) {
        let has_checkpoint = || {
            let journal = fs::read_to_string(partial.join(".journal.json"));
            journal.is_ok_and(|journal| journal.contains("\"partial\""))
        };
        while !has_checkpoint() {
            assert_eq!(self.child.try_wait().expect("its own child"), None, "ended too early");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    pub(crate) fn close_stdin(&mut self) {
        drop(self.child.stdin.take());
    }

    pub(crate) fn close_stdout(&mut self) {
        drop(self.child.stdout.take());
    }

    pub(crate) fn end(mut self) -> End {
        let mut events = Vec::new();
        while self.child.stdout.is_some() {
            match self.next_event() {
                Some(event) => events.push(event),
                None => break,
            }
        }
        let mut log = String::new();
        self.child.stderr.as_mut().expect("piped").read_to_string(&mut log).expect("a log");
        let status = self.child.wait().expect("its own child");
        End { code: status.code(), signal: status.signal(), events, log }
    }
}

impl End {
    pub(crate) fn done(&self) -> &ModelSummary {
        match (self.code, self.events.last()) {
            (Some(0), Some(ImportEvent::Done(summary))) => summary,
            (code, last) => panic!("not done, {code:?}, {last:?}\n{}", self.log),
        }
    }

    pub(crate) fn failed(&self) -> &str {
        match (self.code, self.events.last()) {
            (Some(1), Some(ImportEvent::Failed { message })) => message,
            (code, last) => panic!("not failed, {code:?}, {last:?}\n{}", self.log),
        }
    }
}
