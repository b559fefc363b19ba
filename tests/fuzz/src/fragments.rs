//! Texts that a fuzzer's bytes stand for: mostly of fragments that matter, whole, cut and joined.

use arbitrary::{Result, Unstructured};

/// Fragments in one text.
const FRAGMENTS_MAX: usize = 12;
const SEEDS: usize = 64;
const SEED_BYTES: usize = 1024;

/// A text of some of these fragments, of parts of them, and of any characters.
pub(crate) fn text(bytes: &mut Unstructured<'_>, fragments: &[&str]) -> Result<String> {
    let mut text = String::new();
    for _ in 0..bytes.int_in_range(0..=FRAGMENTS_MAX)? {
        match bytes.int_in_range(0..=4)? {
            0..=1 => text.push_str(bytes.choose(fragments)?),
            2..=3 => text.push_str(part(bytes, fragments)?),
            // Characters that are refused, as those of the veil, would hide all else.
            _ => text.extend(char::from_u32(u32::from(bytes.arbitrary::<u16>()?))),
        }
    }
    Ok(text)
}

fn part<'a>(bytes: &mut Unstructured<'_>, fragments: &[&'a str]) -> Result<&'a str> {
    let whole = bytes.choose(fragments)?;
    let [a, b] = [bytes.choose_index(whole.len() + 1)?, bytes.choose_index(whole.len() + 1)?];
    Ok(&whole[whole.floor_char_boundary(a.min(b))..whole.floor_char_boundary(a.max(b))])
}

/// Bytes without a pattern, for fuzzers to start from: the same on every run.
pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let mut state = 1_u64;
    let mut byte = || {
        // Knuth's generator of MMIX.
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state.to_be_bytes()[0]
    };
    (0..SEEDS).map(|_| (0..SEED_BYTES).map(|_| byte()).collect()).collect()
}
