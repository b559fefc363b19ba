//! Floods of HTTP/2, frame by frame: each ends with the connection or is simply answered; the
//! gateway's memory stays where it was, and the next request works.

use nabi_stub_engine::Script;
use tokio::io::{AsyncReadExt, AsyncWriteExt, WriteHalf};
use tokio::task::JoinHandle;

use crate::engine::Engine;
use crate::gateway::Gateway;
use crate::load::{GROWTH_BYTES_MAX, Tls, connect, serves};
use crate::within_deadline;

/// What a client begins with, and empty settings.
pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
/// Frames of a flood. Far more than any of the limits.
const FRAMES: u32 = 20_000;

const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// RFC 9113, 4.1.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a short payload").to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// `GET /healthz`, in HPACK: three fields of the static table, one path as literal, `:authority`.
fn get_healthz() -> Vec<u8> {
    let mut block = vec![0x82, 0x87, 0x04, 8];
    block.extend(b"/healthz");
    block.extend([0x01, 4]);
    block.extend(b"nabi");
    block
}

/// A flood under way.
struct Flood {
    gateway: Gateway,
    _engine: Engine,
    before: u64,
    /// Ends with the connection.
    reader: JoinHandle<()>,
    _writing: WriteHalf<Tls>,
}

impl Flood {
    /// Writes these frames as fast as they are taken, reading whatever comes, until all are written
    /// or the gateway has closed the connection.
    async fn pour(frames: impl Iterator<Item = Vec<u8>>) -> Self {
        let (gateway, engine) = Gateway::start(Script::default()).await;
        let before = gateway.resident_bytes();
        let (mut reading, mut writing) = tokio::io::split(connect(&gateway, b"h2").await);
        let reader = tokio::spawn(async move {
            let mut bytes = vec![0; 64 << 10];
            while let Ok(1..) = reading.read(&mut bytes).await {}
        });
        let pour = async {
            writing.write_all(PREFACE).await?;
            for frame in frames {
                writing.write_all(&frame).await?;
            }
            writing.flush().await
        };
        // An error: it is closed.
        let _: std::io::Result<()> = within_deadline("the flood is taken", pour).await;
        Self { gateway, _engine: engine, before, reader, _writing: writing }
    }

    /// Whatever became of it, the gateway is as it was.
    async fn changes_nothing(self) {
        serves(&self.gateway).await;
        let (before, after) = (self.before, self.gateway.resident_bytes());
        assert!(after < before + GROWTH_BYTES_MAX, "{} MB before, {} MB after", before >> 20, after >> 20);
    }

    /// The gateway closes the connection, and is as it was.
    async fn ends_the_connection(mut self) {
        within_deadline("the gateway closes the connection", &mut self.reader).await.expect("it only reads");
        self.changes_nothing().await;
    }
}

/// The streams of a client.
fn streams() -> impl Iterator<Item = u32> {
    (0..FRAMES).map(|count| 2 * count + 1)
}

#[tokio::test]
async fn rapid_resets_end_the_connection() {
    let block = get_healthz();
    let pairs = streams().map(move |stream| {
        let mut both = frame(HEADERS, END_STREAM | END_HEADERS, stream, &block);
        both.extend(frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes()));
        both
    });
    // Many in each record, so that they arrive before the requests are looked at.
    let pairs: Vec<_> = pairs.collect();
    let batches: Vec<_> = pairs.chunks(200).map(|pairs| pairs.concat()).collect();
    Flood::pour(batches.into_iter()).await.ends_the_connection().await;
}

#[tokio::test]
async fn more_streams_than_allowed_are_refused() {
    let block = get_healthz();
    Flood::pour(streams().map(move |stream| frame(HEADERS, END_HEADERS, stream, &block)))
        .await
        .changes_nothing()
        .await;
}

#[tokio::test]
async fn floods_of_settings_and_pings_are_borne() {
    let settings = (0..FRAMES).map(|_| frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 100]));
    Flood::pour(settings).await.changes_nothing().await;
    let pings = (0..FRAMES).map(|count| frame(PING, 0, 0, &u64::from(count).to_be_bytes()));
    Flood::pour(pings).await.changes_nothing().await;
}

#[tokio::test]
async fn endless_headers_end_the_connection() {
    // A header that goes on: a literal without indexing, again and again.
    let mut field = vec![0, 4];
    field.extend(b"name");
    field.push(100);
    field.extend([b'x'; 100]);
    let block = field.repeat(100);
    let begin = std::iter::once(frame(HEADERS, END_STREAM, 1, &get_healthz()));
    let more = (0..FRAMES).map(move |_| frame(CONTINUATION, 0, 1, &block));
    Flood::pour(begin.chain(more)).await.ends_the_connection().await;
    let begin = std::iter::once(frame(HEADERS, END_STREAM, 1, &get_healthz()));
    let empty = (0..FRAMES).map(|_| frame(CONTINUATION, 0, 1, &[]));
    Flood::pour(begin.chain(empty)).await.ends_the_connection().await;
}

#[tokio::test]
async fn garbage_ends_the_connection() {
    let garbage =
        (0..FRAMES).map(|count| frame(u8::try_from(count % 256).expect("a byte"), 0xff, count, b"????"));
    Flood::pour(garbage).await.ends_the_connection().await;
    let (gateway, _engine) = Gateway::start(Script::default()).await;
    let mut stream: Tls = connect(&gateway, b"h2").await;
    stream.write_all(b"GET / HTTP/1.1\r\nhost: nabi\r\n\r\n").await.expect("writes");
    crate::load::until_closed(&mut stream).await;
    serves(&gateway).await;
}
