//! Reads numbers and strings, and believes no length before the file's size proves it.

use std::io::{BufReader, Read};

use super::{GgufError, HEADER_BYTES_MAX};

/// A position in a header that is read once, from its beginning.
pub(super) struct Cursor<R> {
    source: BufReader<R>,
    at: u64,
    file_bytes: u64,
}

impl<R: Read> Cursor<R> {
    pub(super) fn new(source: R, file_bytes: u64) -> Self {
        Self { source: BufReader::new(source), at: 0, file_bytes }
    }

    pub(super) fn at(&self) -> u64 {
        self.at
    }

    /// How many times something of at least `bytes_min` bytes can still follow.
    pub(super) fn room_for(&self, bytes_min: u64) -> u64 {
        (self.file_bytes - self.at) / bytes_min
    }

    /// The only way forward: refuses what lies beyond the file or the header's limit.
    fn advance(&mut self, bytes: u64, what: &'static str) -> Result<(), GgufError> {
        let left = self.file_bytes - self.at;
        if bytes > left {
            return Err(GgufError::Truncated { what, at: self.at, bytes, left });
        }
        if self.at + bytes > HEADER_BYTES_MAX {
            return Err(GgufError::Limit {
                what: "bytes in the header",
                found: self.at + bytes,
                max: HEADER_BYTES_MAX,
            });
        }
        self.at += bytes;
        Ok(())
    }

    pub(super) fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], GgufError> {
        self.advance(N as u64, what)?;
        let mut bytes = [0; N];
        self.source.read_exact(&mut bytes).map_err(|source| GgufError::Read { at: self.at, source })?;
        Ok(bytes)
    }

    pub(super) fn u32(&mut self, what: &'static str) -> Result<u32, GgufError> {
        self.array(what).map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self, what: &'static str) -> Result<u64, GgufError> {
        self.array(what).map(u64::from_le_bytes)
    }

    pub(super) fn bytes(&mut self, bytes: u64, what: &'static str) -> Result<Vec<u8>, GgufError> {
        let mut kept = Vec::new();
        self.append(&mut kept, bytes, what)?;
        Ok(kept)
    }

    /// Appends the next `bytes` bytes to `kept`.
    pub(super) fn append(
        &mut self,
        kept: &mut Vec<u8>,
        bytes: u64,
        what: &'static str,
    ) -> Result<(), GgufError> {
        self.advance(bytes, what)?;
        let read = self.source.by_ref().take(bytes).read_to_end(kept);
        self.complete(read.map(|read| read as u64), bytes)
    }

    pub(super) fn skip(&mut self, bytes: u64, what: &'static str) -> Result<(), GgufError> {
        self.advance(bytes, what)?;
        let skipped = std::io::copy(&mut self.source.by_ref().take(bytes), &mut std::io::sink());
        self.complete(skipped, bytes)
    }

    fn complete(&self, read: std::io::Result<u64>, bytes: u64) -> Result<(), GgufError> {
        let failed = |source| GgufError::Read { at: self.at, source };
        if read.map_err(failed)? == bytes {
            Ok(())
        } else {
            Err(failed(std::io::ErrorKind::UnexpectedEof.into()))
        }
    }

    /// A string's length, refused when it is over `max`.
    pub(super) fn text_bytes(&mut self, max: u64, what: &'static str) -> Result<u64, GgufError> {
        let bytes = self.u64(what)?;
        if bytes > max { Err(GgufError::Limit { what, found: bytes, max }) } else { Ok(bytes) }
    }

    pub(super) fn text(&mut self, max: u64, what: &'static str) -> Result<String, GgufError> {
        let at = self.at;
        let bytes = self.text_bytes(max, what)?;
        String::from_utf8(self.bytes(bytes, what)?).map_err(|_| GgufError::NotUtf8 { what, at })
    }
}
