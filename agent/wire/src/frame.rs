//! Length-delimited postcard frames: a `u32` length in network byte order, then the message.

use std::io::{self, Write};
use std::marker::PhantomData;

use bytes::{Bytes, BytesMut};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::codec::{Decoder, Encoder, FramedRead, FramedWrite, LengthDelimitedCodec};

/// Longest frame. A prompt of a million tokens is about 5 MB of text.
pub const FRAME_BYTES_MAX: usize = 16 << 20;

/// Why a frame could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The socket failed, or a frame was longer than [`FRAME_BYTES_MAX`].
    #[error("the socket to the other process failed")]
    Io(#[from] io::Error),
    /// The bytes are not the message that was expected: the two programs differ in version.
    #[error("the other process sent a frame that does not decode: are both of the same version?")]
    Decode(#[from] postcard::Error),
}

/// Encodes messages of type `T`; decodes messages of type `T`.
#[derive(Debug)]
pub struct PostcardCodec<T> {
    frames: LengthDelimitedCodec,
    message: PhantomData<fn() -> T>,
}

impl<T> Default for PostcardCodec<T> {
    fn default() -> Self {
        let frames = LengthDelimitedCodec::builder().max_frame_length(FRAME_BYTES_MAX).new_codec();
        Self { frames, message: PhantomData }
    }
}

impl<T: DeserializeOwned> Decoder for PostcardCodec<T> {
    type Item = T;
    type Error = FrameError;

    fn decode(&mut self, buffer: &mut BytesMut) -> Result<Option<T>, FrameError> {
        match self.frames.decode(buffer)? {
            Some(frame) => Ok(Some(decode(&frame)?)),
            None => Ok(None),
        }
    }
}

impl<T: Serialize> Encoder<T> for PostcardCodec<T> {
    type Error = FrameError;

    fn encode(&mut self, message: T, buffer: &mut BytesMut) -> Result<(), FrameError> {
        let frame = postcard::to_stdvec(&message)?;
        Ok(self.frames.encode(Bytes::from(frame), buffer)?)
    }
}

/// Decodes one message; bytes left over are an error, since both sides have equal versions.
pub fn decode<T: DeserializeOwned>(frame: &[u8]) -> Result<T, FrameError> {
    match postcard::take_from_bytes(frame)? {
        (message, []) => Ok(message),
        _ => Err(FrameError::Decode(postcard::Error::DeserializeBadEncoding)),
    }
}

/// The reading half of a connection whose messages are `T`.
pub type Reader<S, T> = FramedRead<S, PostcardCodec<T>>;
/// The writing half of a connection whose messages are `T`.
pub type Writer<S, T> = FramedWrite<S, PostcardCodec<T>>;

/// A reader of messages `T` from a byte stream.
pub fn reader<S: AsyncRead, T: DeserializeOwned>(stream: S) -> Reader<S, T> {
    FramedRead::new(stream, PostcardCodec::default())
}

/// A writer of messages `T` to a byte stream.
pub fn writer<S: AsyncWrite, T: Serialize>(stream: S) -> Writer<S, T> {
    FramedWrite::new(stream, PostcardCodec::default())
}

/// Writes one message as a frame, and flushes: for programs that tell what they do on standard output.
pub fn write(out: &mut impl Write, message: &impl Serialize) -> io::Result<()> {
    let frame = postcard::to_stdvec(message).map_err(io::Error::other)?;
    if frame.len() > FRAME_BYTES_MAX {
        return Err(io::Error::other(format!("a frame would have more than {FRAME_BYTES_MAX} bytes")));
    }
    let length = u32::try_from(frame.len()).map_err(io::Error::other)?;
    out.write_all(&length.to_be_bytes())?;
    out.write_all(&frame)?;
    out.flush()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{FromEngine, Usage, embed_inputs_max};

    #[test]
    fn as_many_vectors_as_may_be_fit_a_frame() {
        for numbers in [1, 384, 1953, 4096, 65_536, 4_000_000] {
            let vectors = vec![vec![-1.0e-30; numbers as usize]; embed_inputs_max(numbers)];
            let usage = Usage { prompt_tokens: u32::MAX, ..Usage::default() };
            let mut bytes = BytesMut::new();
            let frame = FromEngine::Embedded { id: u64::MAX, vectors, usage };
            PostcardCodec::default().encode(frame, &mut bytes).expect("it fits");
            assert!(bytes.len() <= FRAME_BYTES_MAX);
        }
    }

    #[test]
    fn a_frame_over_the_limit_is_refused_before_it_is_buffered() {
        let mut codec = PostcardCodec::<String>::default();
        let mut bytes = BytesMut::from(&u32::try_from(FRAME_BYTES_MAX + 1).expect("fits").to_be_bytes()[..]);
        assert!(matches!(codec.decode(&mut bytes), Err(FrameError::Io(_))));
        assert!(bytes.capacity() < 1 << 20);
    }

    #[test]
    fn bytes_after_a_message_are_refused() {
        let mut frame = postcard::to_stdvec("hello").expect("encodes");
        assert_eq!(decode::<String>(&frame).expect("decodes"), "hello");
        frame.push(0);
        assert!(matches!(decode::<String>(&frame), Err(FrameError::Decode(_))));
    }
}
