//! How fast the processors read memory: what bounds the speed of an answer.

use std::hint::black_box;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

/// What is read together at least, so that no cache holds it: several times the largest.
const READ_BYTES_MIN: usize = 1 << 30;
/// The same for each thread.
const THREAD_BYTES_MIN: usize = 16 << 20;
/// Threads at most: by then memory is the narrowest.
const THREADS_MAX: u32 = 128;
/// The best of so many rounds counts: whatever else runs makes a round slower, nothing makes it faster.
const ROUNDS: u32 = 4;
const ROUND_MS: u64 = 150;

/// Bytes that so many threads together read in a second.
pub(crate) fn measure(threads: u32) -> u64 {
    let threads = threads.clamp(1, THREADS_MAX);
    let bytes = (READ_BYTES_MIN / threads as usize).max(THREAD_BYTES_MIN);
    let barrier = Barrier::new(threads as usize);
    thread::scope(|scope| {
        let running: Vec<_> =
            (0..threads).map(|_| scope.spawn(|| rounds(bytes / size_of::<u64>(), &barrier))).collect();
        let each: Vec<[f64; ROUNDS as usize]> =
            running.into_iter().filter_map(|thread| thread.join().ok()).collect();
        let of_round = |round: usize| each.iter().map(|speeds| speeds[round]).sum::<f64>();
        (0..ROUNDS as usize).map(of_round).fold(0.0, f64::max) as u64
    })
}

/// Bytes in a second, of each round. All threads read at the same time.
fn rounds(numbers: usize, barrier: &Barrier) -> [f64; ROUNDS as usize] {
    // Written by the thread that reads it, so that it lies in the memory near to it.
    let memory: Vec<u64> = (0..numbers as u64).collect();
    [(); ROUNDS as usize].map(|()| {
        barrier.wait();
        let (started, mut passes) = (Instant::now(), 0_u32);
        while passes == 0 || started.elapsed() < Duration::from_millis(ROUND_MS) {
            black_box(sum(black_box(&memory)));
            passes += 1;
        }
        let bytes = f64::from(passes) * (memory.len() * size_of::<u64>()) as f64;
        bytes / started.elapsed().as_secs_f64()
    })
}

/// Several sums at a time: one would wait for each addition before it.
fn sum(memory: &[u64]) -> u64 {
    let mut sums = [0_u64; 16];
    for numbers in memory.chunks_exact(sums.len()) {
        for (sum, number) in sums.iter_mut().zip(numbers) {
            *sum = sum.wrapping_add(*number);
        }
    }
    sums.into_iter().fold(0, u64::wrapping_add)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_numbers_are_read() {
        assert_eq!(sum(&[1; 64]), 64);
        assert_eq!(sum(&[u64::MAX, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]), 119);
    }

    #[test]
    fn something_is_read_however_many_threads_are_asked_for() {
        assert!(measure(0) > 0);
    }
}
