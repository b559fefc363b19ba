//! A few thousand inputs for each target, the same on every run: the seeds, and what comes of
//! changing them. The long runs are `make fuzz`.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use nabi_fuzz::TARGETS;
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

const CASES_EACH: u32 = 2_000;
const CHANGES_MAX: usize = 6;
const BYTES_MAX: usize = 1024;

#[derive(Debug, Clone)]
enum Input {
    Seed(Index, Vec<Change>),
    Bytes(Vec<u8>),
}

impl Input {
    fn bytes(self, seeds: &[Vec<u8>]) -> Vec<u8> {
        match self {
            Self::Seed(seed, changes) => {
                let mut bytes = seed.get(seeds).clone();
                changes.iter().for_each(|change| apply(change, &mut bytes, seeds));
                bytes
            }
            Self::Bytes(bytes) => bytes,
        }
    }
}

#[derive(Debug, Clone)]
enum Change {
    Set(Index, u8),
    Insert(Index, Vec<u8>),
    Remove(Index, usize),
    Repeat(Index, usize),
    Splice(Index, Index),
}

fn input() -> impl Strategy<Value = Input> {
    prop_oneof![
        (any::<Index>(), prop::collection::vec(change(), 0..CHANGES_MAX))
            .prop_map(|(seed, changes)| Input::Seed(seed, changes)),
        prop::collection::vec(any::<u8>(), 0..BYTES_MAX).prop_map(Input::Bytes),
    ]
}

fn change() -> impl Strategy<Value = Change> {
    let at = any::<Index>;
    prop_oneof![
        (at(), any::<u8>()).prop_map(|(at, byte)| Change::Set(at, byte)),
        (at(), prop::collection::vec(any::<u8>(), 1..9)).prop_map(|(at, bytes)| Change::Insert(at, bytes)),
        (at(), 1_usize..9).prop_map(|(at, count)| Change::Remove(at, count)),
        (at(), 1_usize..9).prop_map(|(at, count)| Change::Repeat(at, count)),
        (at(), at()).prop_map(|(at, seed)| Change::Splice(at, seed)),
    ]
}

fn apply(change: &Change, bytes: &mut Vec<u8>, seeds: &[Vec<u8>]) {
    let place = |at: &Index| at.index(bytes.len() + 1);
    match change {
        Change::Set(at, byte) => {
            let place = place(at);
            if let Some(old) = bytes.get_mut(place) {
                *old = *byte;
            }
        }
        Change::Insert(at, more) => {
            let place = place(at);
            bytes.splice(place..place, more.iter().copied());
        }
        Change::Remove(at, count) => {
            let place = place(at);
            bytes.drain(place..(place + count).min(bytes.len()));
        }
        Change::Repeat(at, count) => {
            let place = place(at);
            let run = bytes[place..(place + count).min(bytes.len())].to_vec();
            bytes.splice(place..place, run);
        }
        // Both cut at the same place.
        Change::Splice(at, seed) => {
            let place = place(at);
            bytes.truncate(place);
            bytes.extend(seed.get(seeds).iter().skip(place));
        }
    }
}

#[test]
fn every_target_holds_for_its_seeds_and_for_what_comes_of_them() {
    for target in TARGETS {
        let seeds = (target.seeds)();
        assert!(!seeds.is_empty(), "{}", target.name);
        seeds.iter().for_each(|seed| (target.run)(seed));
        let config = Config { cases: CASES_EACH, failure_persistence: None, ..Config::default() };
        let mut runner = TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
        let result = runner.run(&input(), |input| {
            (target.run)(&input.bytes(&seeds));
            Ok(())
        });
        result.unwrap_or_else(|error| panic!("{}: {error}", target.name));
    }
}

#[test]
fn each_target_has_its_program_for_cargo_fuzz() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("libfuzzer/fuzz_targets");
    let files = fs::read_dir(folder).expect("the folder of targets");
    let file_name = |file: std::io::Result<fs::DirEntry>| file.expect("readable").file_name();
    let files: BTreeSet<_> = files.map(|file| file_name(file).into_string().expect("text")).collect();
    let expected: BTreeSet<_> = TARGETS.map(|target| format!("{}.rs", target.name)).into();
    assert_eq!(files, expected);
}
