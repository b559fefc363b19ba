//! A stub engine that the test steers.

use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use nabi_domain::Piece;
use nabi_stub_engine::{Controls, End, Rule, Script, Step};
use nabi_wire::engine::{Generate, ToEngine};
use tokio::task::JoinHandle;

use crate::within_deadline;

/// A running engine. The test holds the listening socket, as the supervisor does.
pub(crate) struct Engine {
    pub(crate) socket: PathBuf,
    listener: UnixListener,
    script: Script,
    controls: Controls,
    served: JoinHandle<std::io::Result<End>>,
}

impl Engine {
    pub(crate) fn start(folder: &Path, name: &str, script: Script) -> Self {
        let socket = folder.join(name);
        let listener = UnixListener::bind(&socket).expect("a new socket");
        let (controls, served) = run(&listener, &script);
        Self { socket, listener, script, controls, served }
    }

    /// Starts it again after it died.
    pub(crate) fn restart(&mut self) {
        (self.controls, self.served) = run(&self.listener, &self.script);
    }

    /// Waits until the script has made it die.
    pub(crate) async fn died(&mut self) {
        let served = within_deadline("the engine dies", &mut self.served).await;
        assert_eq!(served.expect("no panic").expect("no error"), End::Died);
    }

    /// Lets held answers go on.
    pub(crate) fn release(&self) {
        self.controls.release();
    }

    /// The next frame that the gateway sent, after its greeting.
    pub(crate) async fn received(&mut self) -> ToEngine {
        loop {
            let frame = within_deadline("a frame of the gateway", self.controls.received.recv()).await;
            match frame.expect("the engine runs") {
                ToEngine::Greeting(_) => {}
                frame => return frame,
            }
        }
    }

    /// The next request.
    pub(crate) async fn generate(&mut self) -> Generate {
        match self.received().await {
            ToEngine::Generate(generate) => *generate,
            other => panic!("{other:?} instead of a request"),
        }
    }
}

fn run(listener: &UnixListener, script: &Script) -> (Controls, JoinHandle<std::io::Result<End>>) {
    let listener = listener.try_clone().expect("a socket can be held twice");
    let (controls, served) = nabi_stub_engine::serve(listener, script.clone(), true).expect("serves");
    (controls, tokio::spawn(served))
}

/// An engine that takes these steps for a prompt with a text, and echoes the others.
pub(crate) fn script(rules: impl IntoIterator<Item = (&'static str, Vec<Step>)>) -> Script {
    let rule = |(contains, steps): (&str, Vec<Step>)| Rule { contains: contains.into(), steps };
    Script { rules: rules.into_iter().map(rule).collect(), ..Script::default() }
}

pub(crate) fn text(text: &str) -> Step {
    Step::Text(text.into())
}

/// The texts of a prompt.
pub(crate) fn texts(pieces: &[Piece]) -> Vec<&str> {
    pieces
        .iter()
        .filter_map(|piece| match piece {
            Piece::Text(text) => Some(text.as_str()),
            Piece::Token(_) => None,
        })
        .collect()
}
