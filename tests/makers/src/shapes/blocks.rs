//! ggml's formats of weights (`ggml-common.h`), filled with random bits: each weight is uniform over what its
//! block can say, around zero, with the standard deviation asked for.

use crate::generator::Generator;

/// How weights are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(non_camel_case_types, reason = "they are ggml's names")]
pub(crate) enum Block {
    F32,
    Bf16,
    Q4_0,
    Q5_0,
    Q8_0,
    Q4_K,
    Q6_K,
}

impl Block {
    /// Its number in `enum ggml_type`.
    pub(crate) fn number(self) -> u32 {
        match self {
            Self::F32 => 0,
            Self::Q4_0 => 2,
            Self::Q5_0 => 6,
            Self::Q8_0 => 8,
            Self::Q4_K => 12,
            Self::Q6_K => 14,
            Self::Bf16 => 30,
        }
    }

    /// Weights of a block, of one row.
    pub(crate) fn weights(self) -> usize {
        match self {
            Self::F32 | Self::Bf16 => 1,
            Self::Q4_0 | Self::Q5_0 | Self::Q8_0 => 32,
            Self::Q4_K | Self::Q6_K => 256,
        }
    }

    pub(crate) fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::Bf16 => 2,
            Self::Q4_0 => 2 + 16,
            Self::Q5_0 => 2 + 4 + 16,
            Self::Q8_0 => 2 + 32,
            Self::Q4_K => 2 + 2 + 12 + 128,
            Self::Q6_K => 128 + 64 + 16 + 2,
        }
    }

    /// What llama.cpp's quantiser takes where rows do not divide into blocks of this format
    /// (`llama-quant.cpp`, `tensor_type_fallback`).
    pub(crate) fn of_rows(self, row: usize) -> Self {
        match self {
            _ if row.is_multiple_of(self.weights()) => self,
            Self::Q4_K => Self::Q5_0,
            Self::Q6_K => Self::Q8_0,
            _ => Self::Bf16,
        }
    }

    /// A generator's stream as blocks, from block `from` on. `blocks` holds whole ones.
    pub(crate) fn fill(self, generator: &Generator, deviation: f32, from: u64, blocks: &mut [u8]) {
        let size = self.bytes();
        // Streams of words of eight bytes: blocks begin at a word each.
        let stride = size.next_multiple_of(8) as u64;
        for (at, block) in blocks.chunks_exact_mut(size).enumerate() {
            generator.bits((from + at as u64) * stride, block);
            self.finish(deviation, block);
        }
    }

    /// Gives random bits a scale.
    fn finish(self, deviation: f32, block: &mut [u8]) {
        // Of uniform whole numbers over `levels` steps.
        let of_levels = |levels: f32| ((levels * levels - 1.0) / 12.0).sqrt();
        match self {
            Self::F32 => {
                // Uniform in -1..1, from 24 bits.
                let bits = u32::from_le_bytes([block[0], block[1], block[2], 0]);
                let uniform = bits as f32 / (1 << 23) as f32 - 1.0;
                block.copy_from_slice(&(uniform * deviation * 3.0_f32.sqrt()).to_le_bytes());
            }
            Self::Bf16 => {
                let uniform = f32::from(i16::from_le_bytes([block[0], block[1]])) / 32_768.0;
                let bytes = (uniform * deviation * 3.0_f32.sqrt()).to_le_bytes();
                block.copy_from_slice(&bytes[2..]);
            }
            Self::Q4_0 => block[..2].copy_from_slice(&half(deviation / of_levels(16.0))),
            Self::Q5_0 => block[..2].copy_from_slice(&half(deviation / of_levels(32.0))),
            Self::Q8_0 => block[..2].copy_from_slice(&half(deviation / of_levels(256.0))),
            Self::Q4_K => {
                // Scales and minima of six bits, all 32; numbers from 0 up, so that the minimum centres them.
                let scale = deviation / of_levels(16.0) / 32.0;
                block[..2].copy_from_slice(&half(scale));
                block[2..4].copy_from_slice(&half(scale * 7.5));
                block[4..12].fill(0xa0);
                block[12..16].fill(0);
            }
            Self::Q6_K => {
                let scale = deviation / of_levels(64.0) / 32.0;
                block[192..208].fill(32);
                block[208..].copy_from_slice(&half(scale));
            }
        }
    }
}

/// IEEE's 16 bits of a positive number, cut. Too small ones become zero.
fn half(number: f32) -> [u8; 2] {
    let bits = number.to_bits();
    let exponent = (bits >> 23) as i32 - 127 + 15;
    assert!(number.is_sign_positive() && exponent < 31, "{number} is no scale");
    let half = if exponent <= 0 { 0 } else { (exponent as u32) << 10 | (bits >> 13 & 0x3ff) };
    (half as u16).to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_are_ieees() {
        // 1, 1/2, 2^-14 (the least normal number), below.
        for (number, expected) in [(1.0, 0x3c00_u16), (0.5, 0x3800), (6.103_515_6e-5, 0x0400), (1e-6, 0)] {
            assert_eq!(u16::from_le_bytes(half(number)), expected, "{number}");
        }
    }

    #[test]
    fn rows_that_do_not_divide_take_another_format() {
        assert_eq!(Block::Q4_K.of_rows(2048), Block::Q4_K);
        assert_eq!(Block::Q4_K.of_rows(1408), Block::Q5_0);
        assert_eq!(Block::Q6_K.of_rows(1408), Block::Q8_0);
        assert_eq!(Block::Q8_0.of_rows(100), Block::Bf16);
    }

    #[test]
    fn numbers_have_the_deviation_asked_for() {
        let generator = Generator::new(1, "a tensor");
        let mut blocks = vec![0; 4 * 1000];
        Block::F32.fill(&generator, 0.5, 0, &mut blocks);
        let numbers = blocks.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]));
        let variance = numbers.map(|x| f64::from(x).powi(2)).sum::<f64>() / 1000.0;
        assert!((variance.sqrt() - 0.5).abs() < 0.03, "{variance}");
        let mut blocks = vec![0; 34 * 100];
        Block::Q8_0.fill(&generator, 0.02, 0, &mut blocks);
        let of_block = |block: &[u8]| block[2..].iter().map(|&q| f64::from(q as i8).powi(2)).sum::<f64>();
        let squares = blocks.chunks_exact(34).map(of_block).sum::<f64>() / 3200.0;
        let scale = 0.02 / f64::from(u16::from_le_bytes([blocks[0], blocks[1]]) > 0);
        assert!(squares.sqrt() > 60.0 && squares.sqrt() < 85.0 && scale > 0.0, "{squares}");
        // The same from anywhere in the stream.
        let mut later = vec![0; 34];
        Block::Q8_0.fill(&generator, 0.02, 7, &mut later);
        assert_eq!(later, blocks[7 * 34..8 * 34]);
    }
}
