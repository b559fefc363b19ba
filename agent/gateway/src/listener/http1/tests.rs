//! The border between two requests, on a clock that stands still: whatever comes when, it is answered
//! once.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::body::Bytes;
use axum::routing::{get, post};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::task::JoinHandle;

use super::*;
use crate::places::Places;

const REQUEST: &str = "GET / HTTP/1.1\r\nhost: nabi\r\n\r\n";
const REST: Duration = Duration::from_millis(REST_MS);
const MS: Duration = Duration::from_millis(1);
/// More than all buffers between the two sides hold.
const LARGE_BYTES: usize = 256 << 10;

/// A client, and what serves it.
struct Pair {
    client: DuplexStream,
    server: JoinHandle<()>,
    shutdown: Shutdown,
    /// Requests that reached the routes, and rests.
    asked: Arc<AtomicUsize>,
    rested: Arc<AtomicUsize>,
}

fn routes(asked: &Arc<AtomicUsize>) -> Router {
    let asked = Arc::clone(asked);
    let count = move || asked.fetch_add(1, Ordering::Relaxed) + 1;
    let (early, large, whole) = (count.clone(), count.clone(), count.clone());
    Router::new()
        .route("/", get(|| async move { format!("answer {}.", count()) }))
        .route("/early", post(|| async move { format!("answer {}.", early()) }))
        .route(
            "/whole",
            post(|body: Bytes| async move { format!("answer {}, {} bytes.", whole(), body.len()) }),
        )
        .route(
            "/large",
            get(|| async move {
                large();
                "x".repeat(LARGE_BYTES)
            }),
        )
}

async fn start() -> Pair {
    let (client, served) = tokio::io::duplex(1024);
    let (asked, rested, shutdown) = (Arc::default(), Arc::<AtomicUsize>::default(), Shutdown::default());
    let place = Places::new(1).take().await.expect("free");
    let service = Counted::new(routes(&asked), place.activity());
    let (rests, drain) = (Arc::clone(&rested), shutdown.clone());
    let server = tokio::spawn(async move {
        let (limits, mut stream) = (GatewayLimits::default(), Stream::new(served));
        while let Some(same) = serve(stream, service.clone(), &drain, &place, &limits).await {
            rests.fetch_add(1, Ordering::Relaxed);
            stream = same;
        }
    });
    Pair { client, server, shutdown, asked, rested }
}

impl Pair {
    async fn write(&mut self, text: &str) {
        self.client.write_all(text.as_bytes()).await.expect("it is open");
    }

    /// Reads up to where an answer ends so.
    async fn until(&mut self, end: &str) -> String {
        let mut read = String::new();
        while !read.ends_with(end) {
            let byte = self.client.read_u8().await;
            read.push(char::from(byte.unwrap_or_else(|_| panic!("closed before {end:?}: {read}"))));
        }
        read
    }

    /// All that still comes after the client's last word.
    async fn read_to_end(mut self) -> (String, usize) {
        self.client.shutdown().await.expect("it is open");
        let mut read = String::new();
        self.client.read_to_string(&mut read).await.expect("text");
        self.server.await.expect("it only serves");
        (read, self.asked.load(Ordering::Relaxed))
    }

    fn rested(&self) -> usize {
        self.rested.load(Ordering::Relaxed)
    }
}

#[tokio::test(start_paused = true)]
async fn after_each_rest_the_connection_is_used_again() {
    let mut pair = start().await;
    for round in 1..=3 {
        pair.write(REQUEST).await;
        let answer = pair.until(&format!("answer {round}.")).await;
        assert!(answer.starts_with("HTTP/1.1 200") && !answer.contains("connection: close"), "{answer}");
        assert_eq!(pair.rested(), round - 1);
        tokio::time::sleep(4 * REST).await;
        assert_eq!(pair.rested(), round, "once, however long");
    }
    assert_eq!(pair.read_to_end().await, (String::new(), 3));
}

#[tokio::test(start_paused = true)]
async fn a_request_around_the_moment_of_rest_is_answered_once() {
    for split in 0..REQUEST.len() {
        for pause in [REST - MS, REST, REST + MS] {
            let mut pair = start().await;
            pair.write(REQUEST).await;
            pair.until("answer 1.").await;
            tokio::time::sleep(pause).await;
            pair.write(&REQUEST[..split]).await;
            tokio::time::sleep(MS).await;
            pair.write(&REQUEST[split..]).await;
            pair.until("answer 2.").await;
            assert_eq!(pair.read_to_end().await, (String::new(), 2), "{split} bytes after {pause:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_came_with_the_request_before_is_kept() {
    for split in 0..=REQUEST.len() {
        let mut pair = start().await;
        pair.write(&[REQUEST, &REQUEST[..split]].concat()).await;
        pair.until("answer 1.").await;
        tokio::time::sleep(4 * REST).await;
        pair.write(&REQUEST[split..]).await;
        pair.until("answer 2.").await;
        assert_eq!(pair.read_to_end().await, (String::new(), 2), "{split} bytes came before");
    }
}

#[tokio::test(start_paused = true)]
async fn half_a_request_does_not_rest() {
    let mut pair = start().await;
    pair.write(REQUEST).await;
    pair.until("answer 1.").await;
    pair.write(&REQUEST[..10]).await;
    tokio::time::sleep(4 * REST).await;
    assert_eq!(pair.rested(), 0, "its headers have a limit of time");
    let mut pair = start().await;
    pair.write("POST /whole HTTP/1.1\r\nhost: nabi\r\ncontent-length: 10\r\n\r\n01234").await;
    tokio::time::sleep(4 * REST).await;
    assert_eq!(pair.rested(), 0);
    pair.write("56789").await;
    pair.until("answer 1, 10 bytes.").await;
    tokio::time::sleep(2 * REST).await;
    assert_eq!(pair.rested(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_nobody_read_is_never_taken_for_a_request() {
    let mut pair = start().await;
    let length = REQUEST.len();
    pair.write(&format!("POST /early HTTP/1.1\r\nhost: nabi\r\ncontent-length: {length}\r\n\r\n")).await;
    pair.until("answer 1.").await;
    tokio::time::sleep(2 * REST).await;
    // The gateway may have closed the connection.
    let _ = pair.client.write_all(REQUEST.as_bytes()).await;
    let (_, asked) = pair.read_to_end().await;
    assert_eq!(asked, 1);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_read_late_is_whole() {
    let mut pair = start().await;
    pair.write(&REQUEST.replace("/ ", "/large ")).await;
    tokio::time::sleep(4 * REST).await;
    assert_eq!((pair.asked.load(Ordering::Relaxed), pair.rested()), (1, 0), "it is not sent yet");
    let answer = pair.until(&"x".repeat(LARGE_BYTES)).await;
    assert!(answer.starts_with("HTTP/1.1 200"));
    tokio::time::sleep(2 * REST).await;
    assert_eq!(pair.rested(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_drain_ends_it_between_requests() {
    for rested in [0, 1] {
        let mut pair = start().await;
        pair.write(REQUEST).await;
        pair.until("answer 1.").await;
        tokio::time::sleep(rested * 2 * REST).await;
        pair.shutdown.drain();
        let mut end = String::new();
        pair.client.read_to_string(&mut end).await.expect("an end");
        assert_eq!(end, "");
        pair.server.await.expect("it only serves");
    }
}
