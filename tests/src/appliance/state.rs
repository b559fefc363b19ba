//! A state folder, and what an operator does with it.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use super::{Appliance, DEADLINE_S, text, wait_for};
use crate::programs::{pack, program};

/// A state folder. It outlives the appliances that run on it.
pub struct State {
    folder: TempDir,
    /// Where our programs are taken from, if not from where they were built.
    programs: Option<PathBuf>,
}

impl State {
    /// An empty one, in a temporary folder.
    ///
    /// # Panics
    /// When there is no room for one.
    pub fn empty() -> Self {
        Self { folder: tempfile::tempdir().expect("a temporary folder"), programs: None }
    }

    /// One whose appliances find a script where they look for one of our programs. They have no engine.
    ///
    /// # Panics
    /// When there is no room for one.
    pub fn with_script(name: &str, script: &str) -> Self {
        let state = Self::empty();
        let programs = state.path("programs");
        fs::create_dir(&programs).expect("a folder");
        for name in ["nabi", "nabi-supervisor", "nabi-gateway"] {
            let (from, to) = (program(name), programs.join(name));
            fs::hard_link(&from, &to).or_else(|_| fs::copy(from, to).map(drop)).expect("linked or copied");
        }
        let replaced = programs.join(name);
        fs::write(&replaced, script).expect("written");
        fs::set_permissions(replaced, Permissions::from_mode(0o755)).expect("made executable");
        Self { programs: Some(programs), ..state }
    }

    /// The path of something in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Runs `nabi up` with these arguments until it says how to use it.
    ///
    /// # Panics
    /// When it does not.
    pub fn up(&self, arguments: &[&str]) -> Appliance<'_> {
        Appliance::start(self, self.up_command(arguments))
    }

    /// Runs `nabi up` with these arguments, which must fail, and returns what it says.
    ///
    /// # Panics
    /// When it succeeds, goes on, or says how to use it.
    pub fn up_fails(&self, arguments: &[&str]) -> String {
        let nabi = self.up_command(arguments);
        let output = within_deadline(&nabi).output().expect("nabi runs");
        assert!(!output.status.success() && output.stdout.is_empty(), "{output:?}");
        String::from_utf8(output.stderr).expect("text")
    }

    fn up_command(&self, arguments: &[&str]) -> Command {
        let nabi = self.programs.as_ref().map_or_else(|| program("nabi"), |programs| programs.join("nabi"));
        let mut command = Command::new(nabi);
        command.arg("--state").arg(self.folder.path()).arg("up").args(arguments);
        if !arguments.contains(&"--listen") {
            command.args(["--listen", "127.0.0.1:0"]);
        }
        command.arg("--pack").arg(pack());
        command
    }

    /// A verb, ready to run.
    pub fn verb_command(&self, verb: &[&str]) -> Command {
        let mut command = Command::new(program("nabi"));
        command.arg("--state").arg(self.folder.path()).args(verb).stdin(Stdio::null());
        command
    }

    /// Runs a verb with `--json`: its reply, or what it says instead.
    ///
    /// # Errors
    /// What it wrote to standard error, when it failed.
    ///
    /// # Panics
    /// When it does not end, or its reply is not JSON.
    pub fn verb(&self, verb: &[&str]) -> Result<Value, String> {
        let nabi = self.verb_command(&[verb, &["--json"]].concat());
        let output = within_deadline(&nabi).output().expect("nabi runs");
        if !output.status.success() {
            return Err(String::from_utf8(output.stderr).expect("text"));
        }
        Ok(serde_json::from_slice(&output.stdout).expect("--json prints JSON"))
    }

    /// Runs a verb that must succeed.
    ///
    /// # Panics
    /// When it fails.
    pub fn done(&self, verb: &[&str]) -> Value {
        self.verb(verb).unwrap_or_else(|said| panic!("nabi {}: {said}", verb.join(" ")))
    }

    /// Runs a verb that must fail, and returns what it says.
    ///
    /// # Panics
    /// When it succeeds.
    pub fn fails(&self, verb: &[&str]) -> String {
        match self.verb(verb) {
            Ok(reply) => panic!("nabi {} succeeded: {reply}", verb.join(" ")),
            Err(said) => said,
        }
    }

    /// The reply to `status`.
    pub fn status(&self) -> Value {
        self.done(&["status"])["status"].take()
    }

    /// The process of the gateway, once it is ready.
    pub fn gateway_pid(&self) -> u32 {
        wait_for("the gateway is ready", || ready_pid(&self.status()["gateway"]))
    }

    /// The process that serves a model, once it is ready.
    ///
    /// # Panics
    /// When the model is not served.
    pub fn engine_pid(&self, model: &str) -> u32 {
        wait_for("the engine is ready", || {
            let status = self.status();
            let engines = status["engines"].as_array().expect("a list of engines");
            let engine = engines.iter().find(|engine| engine["model"] == model);
            ready_pid(&engine.unwrap_or_else(|| panic!("{model} is not served: {status}"))["state"])
        })
    }

    /// Names of the stored models.
    pub fn models(&self) -> Vec<String> {
        let reply = self.done(&["model", "list"]);
        let models = reply["models"]["stored"].as_array().expect("a list of models");
        models.iter().map(|model| text(&model["summary"]["name"])).collect()
    }
}

/// The same command, killed when it hangs.
fn within_deadline(command: &Command) -> Command {
    let mut limited = Command::new("timeout");
    limited.args(["--signal=KILL", &DEADLINE_S.to_string()]).arg(command.get_program());
    limited.args(command.get_args()).stdin(Stdio::null());
    limited
}

fn ready_pid(state: &Value) -> Option<u32> {
    state["ready"]["pid"].as_u64().and_then(|pid| u32::try_from(pid).ok())
}
