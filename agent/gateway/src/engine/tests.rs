//! What the wire may bring, and what it must never do to other requests.

use std::os::unix::net::UnixListener as StdListener;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use nabi_domain::Piece;
use nabi_stub_engine::{Controls, Rule, Script, Step};
use nabi_wire::engine::{
    CONNECTION_REQUESTS_MAX, Delta, FromEngine, Generate, Greeting, Refusal, ToEngine, Usage,
};
use nabi_wire::frame::{self, FRAME_BYTES_MAX};
use tempfile::TempDir;
use tokio::net::UnixListener;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::answer::{Pending, READ_STALL_MS_MAX};
use super::connection::ConnectionError;
use super::session::Model;
use super::{Answer, Arc, Engine, Event, Opened, Origin, Session, answer, connection};
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
    Generate::new(0, vec![Piece::Text(text.into())])
}

const ORIGIN: Origin = Origin { prompt: "messages", grammar: None };

/// The deltas of an answer, and its end.
async fn collect(mut answer: Answer) -> (usize, Result<Usage, ApiError>) {
    let mut deltas = 0;
    loop {
        match answer.next().await {
            Ok(Event::Delta(_)) => deltas += 1,
            Ok(Event::Finished(usage)) => return (deltas, Ok(usage)),
            Ok(other) => panic!("{other:?} was not asked for"),
            Err(error) => return (deltas, Err(error)),
        }
    }
}

#[tokio::test]
async fn the_engine_may_send_as_much_more_as_was_taken() {
    let (session, _engine, mut controls, _folder) = session(vec![Step::Text("x".into()); 99]).await;
    let bounded = Generate { credit_tokens: 8, ..request("play") };
    let (deltas, end) = collect(session.generate(bounded, ORIGIN).expect("a place")).await;
    assert_eq!((deltas, end.expect("it ends").completion_tokens), (100, 99));
    let mut credits = Vec::new();
    while let Ok(frame) = controls.received.try_recv() {
        if let ToEngine::Credit { tokens, .. } = frame {
            credits.push(tokens);
        }
    }
    // The last may still be on its way when the answer is over.
    assert!((23..=24).contains(&credits.len()) && credits.iter().all(|tokens| *tokens == 4), "{credits:?}");
}

#[tokio::test]
async fn a_client_that_takes_nothing_is_ended_and_holds_up_no_other() {
    let steps = vec![Step::Text("a".into()), Step::Text("b".into()), Step::Hold];
    let (session, _engine, mut controls, _folder) = session(steps).await;
    let mut unread = session.generate(request("play"), ORIGIN).expect("a place");
    assert!(matches!(unread.next().await, Ok(Event::Delta(_))));
    // From here on time passes whenever nothing else happens.
    tokio::time::pause();
    while !matches!(controls.received.recv().await.expect("the engine runs"), ToEngine::Abort { .. }) {}
    tokio::time::resume();
    let (_, other) = collect(session.generate(request("echo"), ORIGIN).expect("a place")).await;
    assert!(other.is_ok(), "{other:?}");
    let (deltas, end) = collect(unread).await;
    assert!(matches!(end, Err(ApiError::ReadTooSlowly)), "{end:?}");
    assert_eq!(deltas, 1);
}

#[test]
fn only_what_waits_for_a_client_can_be_stalled() {
    let (session, _commands) = Session::new(Model::new(nabi_stub_engine::card()).expect("a model"));
    let slot = Arc::new(Semaphore::new(1)).try_acquire_owned().expect("free");
    let (mut pending, mut answer) = answer::channel(1, Arc::new(session), slot, ORIGIN, 8);
    let begin = Instant::now();
    let is_stalled_at = |times, pending: &mut Pending| {
        pending.is_stalled(begin + times * Duration::from_millis(READ_STALL_MS_MAX))
    };
    assert!(!is_stalled_at(9, &mut pending), "a slow engine is not the client's fault");
    pending.pass(Event::Delta(Delta::default()));
    pending.pass(Event::Delta(Delta::default()));
    assert!(is_stalled_at(10, &mut pending));
    assert!(answer.ready().is_some());
    assert!(!is_stalled_at(11, &mut pending), "it has just taken one");
    assert!(is_stalled_at(12, &mut pending));
    assert!(answer.ready().is_some());
    assert!(!is_stalled_at(20, &mut pending), "it has taken all");
}

#[tokio::test]
async fn what_no_engine_was_sent_may_go_to_another() {
    let (session, engine, _controls, _folder) = session(vec![Step::Die]).await;
    let (_, end) = collect(session.generate(request("play"), ORIGIN).expect("a place")).await;
    let lost = end.expect_err("it died");
    assert!(matches!(lost, ApiError::EngineLost) && !lost.is_untouched());
    engine.session.clone().wait_for(Option::is_none).await.expect("the task runs");
    let after = match session.generate(request("play"), ORIGIN) {
        Ok(answer) => collect(answer).await.1.expect_err("nobody is there"),
        Err(error) => error,
    };
    assert!(after.is_untouched(), "{after:?}");
}

#[tokio::test]
async fn requests_past_the_limit_are_refused_until_the_engine_ends_others() {
    let (session, _engine, _controls, _folder) = session(vec![Step::Hold]).await;
    let generate = || session.generate(request("play"), ORIGIN);
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
    let large = session.generate(request("x".repeat(FRAME_BYTES_MAX)), ORIGIN).expect("a place");
    let (_, end) = collect(large).await;
    let failed = matches!(&end, Err(ApiError::Refused { refusal: Refusal::Failed { .. }, .. }));
    assert!(failed, "{end:?}");
    let (deltas, end) = collect(session.generate(request("one two"), ORIGIN).expect("a place")).await;
    // Two words, and the end of the choice.
    assert_eq!(deltas, 3);
    assert!(end.is_ok(), "{end:?}");
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
