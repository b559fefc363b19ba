//! What the wire may bring, and what it must never do to other requests.

use std::os::unix::net::UnixListener as StdListener;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use nabi_domain::Piece;
use nabi_stub_engine::{Controls, Rule, Script, Step};
use nabi_wire::engine::{
    CONNECTION_REQUESTS_MAX, FromEngine, Generate, Greeting, Refusal, Sampling, ToEngine,
};
use nabi_wire::frame::{self, FRAME_BYTES_MAX};
use tempfile::TempDir;
use tokio::net::UnixListener;

use super::connection::ConnectionError;
use super::session::ANSWER_DELTAS_MAX;
use super::{Answer, Arc, End, Engine, Event, Opened, Session, connection};
use crate::error::ApiError;

/// Longest wait for what must come.
const DEADLINE: Duration = Duration::from_secs(60);

/// A session with a stub engine that answers everything by these steps.
async fn session(steps: Vec<Step>) -> (Arc<Session>, Engine, Controls, TempDir) {
    let folder = tempfile::tempdir().expect("a folder");
    let socket = folder.path().join("engine.sock");
    let listener = StdListener::bind(&socket).expect("a new socket");
    let rules = vec![Rule { contains: "play".into(), steps }];
    let script = Script { rules, ..Script::default() };
    let (controls, served) = nabi_stub_engine::serve(listener, script, true).expect("serves");
    tokio::spawn(served);
    let mut engine = Engine::connect(socket);
    let session = engine.session.wait_for(Option::is_some).await.expect("the task runs").clone();
    (session.expect("waited for"), engine, controls, folder)
}

fn request(text: impl Into<String>) -> Generate {
    Generate {
        id: 0,
        pieces: vec![Piece::Text(text.into())],
        sampling: Sampling::default(),
        stop: Vec::new(),
        tokens_max: None,
        logprobs: false,
    }
}

/// The text of an answer, and its end.
async fn collect(mut answer: Answer) -> (usize, Result<End, ApiError>) {
    let mut deltas = 0;
    loop {
        match answer.next().await {
            Ok(Event::Delta(_)) => deltas += 1,
            Ok(Event::End(end)) => return (deltas, Ok(end)),
            Err(error) => return (deltas, Err(error)),
        }
    }
}

#[tokio::test]
async fn a_client_that_does_not_read_is_ended_and_holds_up_no_other() {
    let mut steps = vec![Step::Text("x".into()); ANSWER_DELTAS_MAX + 10];
    steps.push(Step::Hold);
    let (session, _engine, mut controls, _folder) = session(steps).await;
    let unread = Arc::clone(&session).generate(request("play")).expect("a place");
    let aborted = async {
        while let Some(frame) = controls.received.recv().await {
            if matches!(frame, ToEngine::Abort { .. }) {
                return;
            }
        }
    };
    tokio::time::timeout(DEADLINE, aborted).await.expect("the answer is aborted");
    let (_, other) = collect(Arc::clone(&session).generate(request("echo")).expect("a place")).await;
    assert!(matches!(other, Ok(End::Finished { .. })), "{other:?}");
    let (deltas, end) = collect(unread).await;
    assert!(matches!(end, Ok(End::ReadTooSlowly)), "{end:?}");
    assert_eq!(deltas, ANSWER_DELTAS_MAX);
}

#[tokio::test]
async fn requests_past_the_limit_are_refused_until_the_engine_ends_others() {
    let (session, _engine, _controls, _folder) = session(vec![Step::Hold]).await;
    let generate = || Arc::clone(&session).generate(request("play"));
    let mut answers: Vec<_> = (0..CONNECTION_REQUESTS_MAX).map(|_| generate().expect("a place")).collect();
    assert!(matches!(generate(), Err(ApiError::Busy)));
    answers.pop();
    let freed = async {
        while generate().is_err() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(DEADLINE, freed).await.expect("the aborted request frees its place");
}

#[tokio::test]
async fn a_request_larger_than_a_frame_fails_alone() {
    let (session, _engine, _controls, _folder) = session(vec![Step::Hold]).await;
    let large = Arc::clone(&session).generate(request("x".repeat(FRAME_BYTES_MAX))).expect("a place");
    let (_, end) = collect(large).await;
    assert!(matches!(end, Ok(End::Refused(Refusal::Failed { .. }))), "{end:?}");
    let (deltas, end) = collect(session.generate(request("one two")).expect("a place")).await;
    assert_eq!(deltas, 2);
    assert!(matches!(end, Ok(End::Finished { .. })), "{end:?}");
}

/// Opens a connection to a program that greets with this.
async fn open_to(greeting: Greeting) -> Result<Opened, ConnectionError> {
    let folder = tempfile::tempdir().expect("a folder");
    let socket = folder.path().join("engine.sock");
    let listener = UnixListener::bind(&socket).expect("a new socket");
    let greet = async {
        let (stream, _) = listener.accept().await.expect("a connection");
        let (reading, writing) = stream.into_split();
        let mut reader = frame::reader::<_, ToEngine>(reading);
        let mut writer = frame::writer(writing);
        let ours = reader.next().await.expect("a frame").expect("decodes");
        assert_eq!(ours, ToEngine::Greeting(Greeting::OURS));
        writer.send(FromEngine::Greeting(greeting)).await.expect("sends");
    };
    let (opened, ()) = tokio::join!(connection::open(&socket), greet);
    opened
}

#[tokio::test]
async fn engines_of_another_version_and_other_programs_are_told_apart() {
    let version = Greeting::OURS.version + 1;
    let newer = open_to(Greeting { version, ..Greeting::OURS }).await;
    assert!(matches!(newer, Err(ConnectionError::Version(other)) if other == version), "{newer:?}");
    let stray = open_to(Greeting { magic: *b"GET ", ..Greeting::OURS }).await;
    assert!(matches!(stray, Err(ConnectionError::NotAnEngine)), "{stray:?}");
    let closed = open_to(Greeting::OURS).await;
    assert!(matches!(closed, Err(ConnectionError::Closed)), "{closed:?}");
}
