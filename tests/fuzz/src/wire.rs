//! Frames on our sockets. What decodes encodes again to the same value; how a stream is cut into
//! reads makes no difference.

use bytes::BytesMut;
use nabi_domain::{ModelFormat, ModelSummary, Piece};
use nabi_stub_engine::card;
use nabi_wire::action::{Action, KeyAction, ModelAction};
use nabi_wire::engine::{
    Delta, Embed, FinishReason, FromEngine, Generate, Grammar, Greeting, Refusal, Salt, Sampling,
    ScoredToken, Share, Stats, ToEngine, TokenText, Usage,
};
use nabi_wire::frame::{self, PostcardCodec};
use nabi_wire::import::ImportEvent;
use nabi_wire::reply::{Answer, Progress, Reply, Unit, Version};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio_util::codec::{Decoder as _, Encoder as _};

fn check<T: Serialize + DeserializeOwned>(bytes: &[u8]) {
    if let Ok(message) = frame::decode::<T>(bytes) {
        let encoded = encoded(message);
        let (again, is_whole) = decoded::<T>(&encoded, encoded.len());
        assert!(is_whole && again == [encoded], "it decodes to the same");
    }
    let whole = decoded::<T>(bytes, bytes.len().max(1));
    let step = usize::from(bytes.first().copied().unwrap_or(0) % 7) + 1;
    assert_eq!(decoded::<T>(bytes, step), whole, "in reads of {step} bytes");
}

fn encoded<T: Serialize>(message: T) -> Vec<u8> {
    let mut encoded = BytesMut::new();
    PostcardCodec::default().encode(message, &mut encoded).expect("it is no longer than it was");
    encoded.to_vec()
}

/// The messages of a stream, encoded again, as far as it is good; and whether that is its end.
fn decoded<T: Serialize + DeserializeOwned>(stream: &[u8], read_bytes: usize) -> (Vec<Vec<u8>>, bool) {
    let (mut codec, mut buffer, mut messages) = (PostcardCodec::<T>::default(), BytesMut::new(), Vec::new());
    for read in stream.chunks(read_bytes) {
        buffer.extend_from_slice(read);
        loop {
            match codec.decode(&mut buffer) {
                Ok(Some(message)) => messages.push(encoded::<T>(message)),
                Ok(None) => break,
                Err(_) => return (messages, false),
            }
        }
    }
    (messages, true)
}

/// What clients ask an engine.
pub(crate) fn to_engine(bytes: &[u8]) {
    check::<ToEngine>(bytes);
}

/// What an engine answers.
pub(crate) fn from_engine(bytes: &[u8]) {
    check::<FromEngine>(bytes);
}

/// What the operator asks, what the supervisor answers, and what the import tells.
pub(crate) fn operator(bytes: &[u8]) {
    check::<Action>(bytes);
    check::<Answer>(bytes);
    check::<ImportEvent>(bytes);
}

/// Each message by itself, and all as one stream.
fn seeds<T: Serialize>(messages: Vec<T>) -> Vec<Vec<u8>> {
    let frames: Vec<_> = messages.into_iter().map(encoded).collect();
    let length_bytes = size_of::<u32>();
    let messages = frames.iter().map(|frame| frame[length_bytes..].to_vec());
    let bad = [u32::MAX, (frame::FRAME_BYTES_MAX + 1) as u32].map(|length| length.to_be_bytes().to_vec());
    messages.chain([frames.concat()]).chain(bad).collect()
}

pub(crate) fn to_engine_seeds() -> Vec<Vec<u8>> {
    let pieces = vec![Piece::Token(7), Piece::Text("Hello, 서울".to_owned())];
    let sampling = Sampling {
        temperature: f32::NAN,
        top_p: f32::INFINITY,
        logit_bias: vec![(3, f32::NEG_INFINITY), (u32::MAX, 1.5)],
        seed: Some(u64::MAX),
        ..Sampling::default()
    };
    let share = Share { flow: 1, weight: 3, queue_ms_max: Some(5), total_ms_max: None };
    let generate = Generate {
        share,
        salt: Salt([9; 16]),
        sampling,
        grammar: Some(Grammar::Regex("[a-z]+".to_owned())),
        stop: vec!["\n".to_owned()],
        tokens_max: Some(16),
        logprobs: Some(20),
        ..Generate::new(1, pieces.clone())
    };
    seeds(vec![
        ToEngine::Greeting(Greeting::OURS),
        ToEngine::Generate(Box::new(Generate::new(2, Vec::new()))),
        ToEngine::Generate(Box::new(generate)),
        ToEngine::Embed(Box::new(Embed { id: 3, share, inputs: vec![pieces.clone(), Vec::new()] })),
        ToEngine::Tokenize { id: 4, pieces },
        ToEngine::Credit { id: 1, tokens: 64 },
        ToEngine::Abort { id: 1 },
        ToEngine::Stats { id: 5 },
    ])
}

pub(crate) fn from_engine_seeds() -> Vec<Vec<u8>> {
    let text = TokenText { token: 5, bytes: vec![0xEC, 0x84] };
    let scored = ScoredToken { text: text.clone(), logprob: Some(f32::NAN), top: vec![(text.clone(), -0.5)] };
    let delta = Delta {
        id: 1,
        choice: 1,
        token_ids: vec![5, 6],
        pieces: vec![Piece::Text("서".to_owned()), Piece::Token(2)],
        logprobs: vec![scored.clone()],
        end: Some(FinishReason::Stop),
    };
    let usage = Usage { prompt_tokens: 3, cached_tokens: 2, completion_tokens: 1 };
    let refusal = Refusal::OutOfRange { field: "top_p".to_owned(), range: "above 0".to_owned() };
    seeds(vec![
        FromEngine::Greeting(Greeting::OURS),
        FromEngine::Loading { permille: 500 },
        FromEngine::Ready(Box::new(card())),
        FromEngine::Prompt { id: 1, tokens: vec![scored] },
        FromEngine::Delta(delta),
        FromEngine::Finish { id: 1, usage },
        FromEngine::Refused { id: 2, refusal },
        FromEngine::Embedded { id: 3, vectors: vec![vec![1.0, f32::INFINITY], Vec::new()], usage },
        FromEngine::Tokens { id: 4, tokens: vec![text] },
        FromEngine::Stats { id: 5, stats: Box::new(Stats::default()) },
    ])
}

pub(crate) fn operator_seeds() -> Vec<Vec<u8>> {
    let name = || "DeepSeek-R1".parse().expect("a good name");
    let summary = ModelSummary {
        name: name(),
        format: ModelFormat::Gguf,
        architecture: "deepseek2".to_owned(),
        parameters: 1,
        quantization: "Q4_K".to_owned(),
        context_tokens: 4096,
        bytes: u64::MAX,
    };
    let progress = Progress { what: "loading".to_owned(), done: 1, total: 2, unit: Unit::Permille };
    let version = Version { nabi: "1".to_owned(), engine_wire: 2, pack: "llama-cpp".to_owned() };
    let actions = vec![
        Action::Status,
        Action::Model(ModelAction::Import { path: "/media/disk".into(), name: Some(name()) }),
        Action::Key(KeyAction::List),
        Action::Logs { process: Some("gateway".to_owned()), lines: 5 },
    ];
    let answers = vec![
        Answer::Progress(progress),
        Answer::Done(Reply::Imported(summary.clone())),
        Answer::Done(Reply::Version(version)),
        Answer::Failed { message: "no".to_owned() },
    ];
    let events = vec![ImportEvent::Done(summary), ImportEvent::Removed];
    [seeds(actions), seeds(answers), seeds(events)].concat()
}
