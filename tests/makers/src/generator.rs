//! Near-normal numbers that are the same on every machine.
//!
//! Each number is a pure function of (seed, tensor name, index): SplitMix64's finaliser over a counter. Four
//! 16-bit uniforms are added (Irwin–Hall), which is exact in `f32`; one exactly rounded multiplication scales
//! the sum. No logarithm, no cosine, hence no difference between math libraries.

/// Standard deviation of the sum of four uniform 16-bit integers: sqrt(4 · 2³² / 12) = 65,536 / √3.
const SUM_DEVIATION: f32 = 37_837.227;
/// Mean of that sum, rounded to a whole number.
const SUM_MEAN: i32 = 131_070;

/// The stream of numbers for one tensor.
pub(crate) struct Generator {
    key: u64,
}

impl Generator {
    pub(crate) fn new(seed: u64, name: &str) -> Self {
        Self { key: mix(seed ^ fnv1a(name.as_bytes())) }
    }

    /// `count` numbers around `mean` with the given standard deviation.
    pub(crate) fn normal(&self, count: usize, mean: f32, deviation: f32) -> Vec<f32> {
        let scale = deviation / SUM_DEVIATION;
        (0..count as u64).map(|index| mean + scale * self.sum(index) as f32).collect()
    }

    /// Fills `bytes` with bits, those from byte `from` of the stream on.
    ///
    /// # Panics
    /// When `from` is no multiple of 8.
    pub(crate) fn bits(&self, from: u64, bytes: &mut [u8]) {
        assert!(from.is_multiple_of(8), "the stream has words of 8 bytes");
        for (word, eight) in bytes.chunks_mut(8).enumerate() {
            let bits = mix(self.key ^ mix(from / 8 + word as u64)).to_le_bytes();
            eight.copy_from_slice(&bits[..eight.len()]);
        }
    }

    fn sum(&self, index: u64) -> i32 {
        let bits = mix(self.key ^ mix(index));
        let halves = [bits, bits >> 16, bits >> 32, bits >> 48];
        halves.iter().map(|half| i32::from(*half as u16)).sum::<i32>() - SUM_MEAN
    }
}

/// SplitMix64 (Steele, Lea, Flood 2014): increment and finaliser.
fn mix(counter: u64) -> u64 {
    let mut z = counter.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// 64-bit FNV-1a.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::{Generator, fnv1a, mix};

    #[test]
    fn the_primitives_are_the_published_ones() {
        assert_eq!(mix(0), 0xe220_a839_7b1d_cdaf, "first output of SplitMix64 seeded with 0");
        assert_eq!(fnv1a(b"a"), 0xaf63_dc4c_8601_ec8c);
    }

    #[test]
    fn numbers_have_the_mean_and_deviation_asked_for() {
        let numbers = Generator::new(1, "a tensor").normal(100_000, 1.0, 0.5);
        let count = numbers.len() as f64;
        let mean = numbers.iter().map(|x| f64::from(*x)).sum::<f64>() / count;
        let variance = numbers.iter().map(|x| (f64::from(*x) - mean).powi(2)).sum::<f64>() / count;
        assert!((mean - 1.0).abs() < 0.01, "mean {mean}");
        assert!((variance.sqrt() - 0.5).abs() < 0.01, "deviation {}", variance.sqrt());
    }

    #[test]
    fn seed_and_name_choose_the_stream() {
        let of = |seed, name| Generator::new(seed, name).normal(8, 0.0, 1.0);
        assert_eq!(of(1, "a"), of(1, "a"));
        assert_ne!(of(1, "a"), of(2, "a"));
        assert_ne!(of(1, "a"), of(1, "b"));
    }
}
