//! Clients that take more than their part: of connections, time or memory. Each is stopped, and the
//! next request works.

use std::io;

use futures_util::StreamExt;
use futures_util::stream;
use nabi_stub_engine::{Script, Step};
use nabi_wire::config::GatewayLimits;
use nabi_wire::engine::ToEngine;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::Signal;
use rustls::version::TLS13;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::client::{Request, handshake};
use crate::engine::{script, text};
use crate::gateway::{Gateway, KEY};
use crate::{LOOK_INTERVAL, floods, within_deadline};

const IDLE_CONNECTIONS: usize = 10_000;
/// For all of them, and the gateway itself.
const IDLE_BYTES_MAX: u64 = 200 << 20;
/// The end of the answer to what [`ask`] asks for.
const HEALTHY: &[u8] = b"\r\n\r\nok\n";
/// Long enough for a request on a busy machine.
const HASTY_MS: u64 = 3_000;
/// Connections that the test opens at a time.
const OPENING: usize = 64;
/// More memory than this for what a test does would be a leak, not a buffer.
pub(crate) const GROWTH_BYTES_MAX: u64 = 100 << 20;

pub(crate) type Tls = TlsStream<TcpStream>;

pub(crate) async fn connect(gateway: &Gateway, protocol: &[u8]) -> Tls {
    let client = gateway.authority.client(&[&TLS13]);
    within_deadline("a TLS handshake", handshake(gateway.address, client, &[protocol])).await.expect("TLS")
}

/// The next request works.
pub(crate) async fn serves(gateway: &Gateway) {
    assert_eq!(gateway.send(Request::say("one two", json!({}))).await.status, 200);
}

/// Reads to the end of a connection that the gateway closes, in whatever manner.
pub(crate) async fn until_closed(stream: &mut Tls) -> String {
    let mut read = Vec::new();
    within_deadline("the gateway closes the connection", async {
        let mut bytes = [0; 4096];
        while let Ok(count @ 1..) = stream.read(&mut bytes).await {
            read.extend_from_slice(&bytes[..count]);
        }
    })
    .await;
    String::from_utf8_lossy(&read).into_owned()
}

/// As many as this process may hold beside its other files, and no more than wanted.
fn affordable(wanted: usize) -> usize {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("a limit");
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).expect("raised");
    let affordable = usize::try_from(hard).unwrap_or(usize::MAX).saturating_sub(1024).min(wanted);
    if affordable < wanted {
        eprintln!("only {affordable} of {wanted} connections: the hard limit of file descriptors is {hard}");
    }
    affordable
}

fn head(length: usize) -> String {
    format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: nabi\r\nauthorization: Bearer {KEY}\r\n\
         content-type: application/json\r\ncontent-length: {length}\r\n\r\n"
    )
}

/// A request whose body breaks off after its first bytes.
async fn half_a_body(gateway: &Gateway, bytes: usize) -> Tls {
    try_half_a_body(gateway, bytes).await.expect("writes")
}

/// The same of a gateway that may refuse it.
async fn try_half_a_body(gateway: &Gateway, bytes: usize) -> io::Result<Tls> {
    let mut stream = connect(gateway, b"http/1.1").await;
    stream.write_all(head(bytes + 1).as_bytes()).await?;
    stream.write_all(&vec![b' '; bytes]).await?;
    // What a task that does much left in TLS's buffer would be sent with the next write, which never comes.
    stream.flush().await?;
    Ok(stream)
}

/// Asks for something small, and reads the answer's head.
async fn ask(mut stream: Tls) -> Tls {
    stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: nabi\r\n\r\n").await.expect("writes");
    // A task that does much may have to wait for its turn in the middle of a write.
    stream.flush().await.expect("writes");
    let mut answer = Vec::new();
    while !answer.ends_with(HEALTHY) {
        answer.push(within_deadline("an answer", stream.read_u8()).await.expect("an answer"));
    }
    assert!(answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
    stream
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_idle_connections_cost_little() {
    // On a busy machine the first would be closed before the last have come.
    let patient = |limits: &mut GatewayLimits| limits.header_read_ms_max = 3_600_000;
    let (mut gateway, _engine) = Gateway::limited(Script::default(), patient).await;
    let wanted = affordable(IDLE_CONNECTIONS);
    let open = stream::iter(0..wanted).map(|_| connect(&gateway, b"http/1.1"));
    let open: Vec<Tls> = open.buffer_unordered(OPENING).collect().await;
    let idle = gateway.resident_bytes();
    serves(&gateway).await;
    // Each rests, is asked again, and rests.
    let mut open = open;
    for _ in 0..2 {
        open = stream::iter(open).map(ask).buffer_unordered(OPENING).collect().await;
        within_deadline("connections give the buffers of HTTP back", async {
            while gateway.resident_bytes() > IDLE_BYTES_MAX {
                tokio::time::sleep(LOOK_INTERVAL).await;
            }
        })
        .await;
    }
    let after = gateway.resident_bytes();
    eprintln!("{wanted} connections: {} MB, after requests {} MB", idle >> 20, after >> 20);
    assert!(idle <= IDLE_BYTES_MAX, "{} MB", idle >> 20);
    serves(&gateway).await;
    // Resting ones do not hold up the end.
    gateway.signal(Signal::SIGTERM);
    for mut stream in open {
        until_closed(&mut stream).await;
    }
    assert_eq!(gateway.exit_code().await, Some(0));
}

#[tokio::test]
async fn when_all_places_are_taken_the_longest_idle_connection_gives_way() {
    let held = script([("hold", vec![text("before "), Step::Hold, text("after")])]);
    let (gateway, engine) = Gateway::limited(held, |limits| limits.connections_max = 3).await;
    let mut streaming = gateway.connect().await;
    let mut answer = streaming.send(Request::say("hold", json!({"stream": true}))).await;
    answer.until("before ").await;
    let mut idle = connect(&gateway, b"http/1.1").await;
    let asked = ask(connect(&gateway, b"http/1.1").await).await;
    // More newcomers than places: each is served, and it is never the running answer that ends.
    for _ in 0..10 {
        serves(&gateway).await;
    }
    until_closed(&mut idle).await;
    drop(asked);
    engine.release();
    assert!(answer.until("[DONE]").await.contains("after"));
}

#[tokio::test]
async fn requests_on_all_connections_leave_no_place_and_say_so() {
    let held = script([("hold", vec![text("before "), Step::Hold, text("after")])]);
    let (gateway, engine) = Gateway::limited(held, |limits| limits.connections_max = 2).await;
    let mut open = Vec::new();
    for _ in 0..2 {
        let mut connection = gateway.connect().await;
        let mut answer = connection.send(Request::say("hold", json!({"stream": true}))).await;
        answer.until("before ").await;
        open.push((connection, answer));
    }
    let client = gateway.authority.client(&[&TLS13]);
    let newcomer = within_deadline("an end", handshake(gateway.address, client, &[b"http/1.1"])).await;
    assert!(newcomer.is_err(), "there is no place for it");
    gateway.until_logged("newcomers are closed").await;
    engine.release();
    for (_connection, mut answer) in open {
        assert!(answer.until("[DONE]").await.contains("after"));
    }
    serves(&gateway).await;
}

#[tokio::test]
async fn silence_and_slow_headers_end_the_connection() {
    let hasty = |limits: &mut GatewayLimits| {
        limits.handshake_ms_max = HASTY_MS;
        limits.header_read_ms_max = HASTY_MS;
        limits.idle_ms_max = HASTY_MS;
    };
    let (gateway, _engine) = Gateway::limited(Script::default(), hasty).await;
    let mut no_tls = TcpStream::connect(gateway.address).await.expect("connects");
    let mut silent = connect(&gateway, b"http/1.1").await;
    let mut silent_h2 = connect(&gateway, b"h2").await;
    let mut slow = connect(&gateway, b"http/1.1").await;
    let mut asked = connect(&gateway, b"http/1.1").await;
    let mut slow_h2 = connect(&gateway, b"h2").await;
    let mut idle_h2 = connect(&gateway, b"h2").await;
    for (stream, begin) in [
        (&mut slow, &b"GET /healthz HTTP/1.1\r\nhost: na"[..]),
        (&mut asked, b"GET /healthz HTTP/1.1\r\nhost: nabi\r\n\r\n"),
        (&mut slow_h2, b"PRI * HTTP/2.0\r\n"),
        (&mut idle_h2, floods::PREFACE),
    ] {
        // On a machine that is too busy for this, it has been closed for its silence.
        let _ = stream.write_all(begin).await;
    }
    let mut bytes = [0; 1];
    let ended = within_deadline("an end without TLS", no_tls.read(&mut bytes)).await;
    assert!(matches!(ended, Ok(0) | Err(_)));
    for stream in [&mut silent, &mut silent_h2, &mut slow_h2, &mut asked, &mut idle_h2] {
        until_closed(stream).await;
    }
    let said = until_closed(&mut slow).await;
    assert!(said.is_empty() || said.starts_with("HTTP/1.1 408"), "{said}");
    serves(&gateway).await;
}

#[tokio::test]
async fn a_slow_body_is_answered_that_it_is() {
    let (gateway, _engine) =
        Gateway::limited(Script::default(), |limits| limits.body_read_ms_max = 500).await;
    let mut slow = half_a_body(&gateway, 10).await;
    let said = until_closed(&mut slow).await;
    assert!(said.starts_with("HTTP/1.1 408") && said.contains("\"request_timeout\""), "{said}");
    serves(&gateway).await;
}

#[tokio::test]
async fn bodies_share_a_bounded_memory() {
    const MIB: usize = 1 << 20;
    let (gateway, _engine) =
        Gateway::limited(Script::default(), |limits| limits.bodies_bytes_max = 4 * MIB as u64).await;
    let before = gateway.resident_bytes();
    let mut unfinished = Vec::new();
    for _ in 0..4 {
        unfinished.push(half_a_body(&gateway, MIB - 1024).await);
    }
    let full = (503, "server_error".to_owned(), None, "bodies_full".to_owned());
    let refused = within_deadline("the memory is full", async {
        loop {
            let reply = gateway.send(Request::chat(vec![b' '; MIB])).await;
            if reply.status == 503 {
                break reply;
            }
            // It came between the others, and one of them was refused for it.
            unfinished.extend(try_half_a_body(&gateway, MIB - 1024).await);
        }
    })
    .await;
    assert_eq!(refused.error(), full);
    assert!(refused.header("retry-after").is_some());
    assert!(gateway.resident_bytes() < before + GROWTH_BYTES_MAX);
    serves(&gateway).await;
    drop(unfinished);
    within_deadline("the memory is free again", async {
        while gateway.send(Request::chat(vec![b' '; MIB])).await.status == 503 {}
    })
    .await;
}

#[tokio::test]
async fn huge_and_deep_requests_are_refused_in_bounded_memory() {
    let (gateway, _engine) = Gateway::start(Script::default()).await;
    let before = gateway.resident_bytes();
    let many = |message: &str| {
        let messages = vec![message; 1_000_000].join(",");
        Request::chat(format!("{{\"model\":\"stub\",\"messages\":[{messages}]}}"))
    };
    let deep = |open: &str, close: &str| {
        let value = format!("{}1{}", open.repeat(300), close.repeat(300));
        Request::chat(format!("{{\"model\":\"stub\",\"messages\":{value}}}"))
    };
    for (request, status, code) in [
        (many("{}"), 400, "invalid_value"),
        (many("1"), 400, "invalid_value"),
        (many(r#"{"role":"user","content":"x"}"#), 413, "request_too_large"),
        (deep("[", "]"), 400, "invalid_json"),
        (deep("{\"a\":", "}"), 400, "invalid_json"),
    ] {
        let reply = gateway.send(request).await;
        let (found, kind, _, found_code) = reply.error();
        assert_eq!((found, kind.as_str(), found_code.as_str()), (status, "invalid_request_error", code));
    }
    let after = gateway.resident_bytes();
    assert!(after < before + 3 * GROWTH_BYTES_MAX, "{} MB before, {} MB after", before >> 20, after >> 20);
    serves(&gateway).await;
}

#[tokio::test]
async fn clients_that_vanish_leave_nothing_running() {
    const CLIENTS: usize = 100;
    let held = script([("hold", vec![text("before "), Step::Hold])]);
    let (gateway, mut engine) = Gateway::start(held).await;
    let before = gateway.resident_bytes();
    let begun = stream::iter(0..CLIENTS).map(async |_| {
        let mut connection = gateway.connect().await;
        let mut answer = connection.send(Request::say("hold", json!({"stream": true}))).await;
        answer.until("before ").await;
        (connection, answer)
    });
    let begun: Vec<_> = begun.buffer_unordered(OPENING).collect().await;
    drop(begun);
    let mut aborted = 0;
    while aborted < CLIENTS {
        aborted += usize::from(matches!(engine.received().await, ToEngine::Abort { .. }));
    }
    serves(&gateway).await;
    assert!(gateway.resident_bytes() < before + GROWTH_BYTES_MAX);
}

#[tokio::test]
async fn a_request_on_an_open_connection_while_it_drains_is_answered_or_cleanly_refused() {
    let held = script([("hold", vec![text("before "), Step::Hold, text("after")])]);
    let (mut gateway, engine) = Gateway::start(held).await;
    let mut streaming = gateway.connect().await;
    let mut answer = streaming.send(Request::say("hold", json!({"stream": true}))).await;
    answer.until("before ").await;
    let mut idle = ask(connect(&gateway, b"http/1.1").await).await;
    let mut untouched = connect(&gateway, b"http/1.1").await;
    let mut idle_h2 = connect(&gateway, b"h2").await;
    idle_h2.write_all(floods::PREFACE).await.expect("writes");
    gateway.signal(Signal::SIGTERM);
    gateway.until_notified("STOPPING=1\n").await;
    for stream in [&mut idle, &mut untouched] {
        until_closed(stream).await;
    }
    drop(idle_h2);
    engine.release();
    assert!(answer.until("[DONE]").await.contains("after"));
    assert_eq!(gateway.exit_code().await, Some(0));
}
