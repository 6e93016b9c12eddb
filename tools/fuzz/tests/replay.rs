//! Every target over the committed corpus, and over changes of it, the same ones every time. `FUZZ_TRIES=100` tries a
//! hundred times as many.

#![expect(clippy::unwrap_used, reason = "a test")]

use std::{fs, path::Path};

use parlo_fuzz::{Mutator, TARGETS, Target};

fn corpus(target: &Target) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target.name);
    let mut files: Vec<_> = fs::read_dir(&folder).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    files.into_iter().map(|file| fs::read(file).unwrap()).collect()
}

fn replay(name: &str) {
    let target = TARGETS.iter().find(|target| target.name == name).unwrap();
    let inputs = corpus(target);
    assert!(!inputs.is_empty());
    for input in inputs.iter().chain([&Vec::new()]) {
        (target.run)(input);
    }
    let times = std::env::var("FUZZ_TRIES").ok().and_then(|times| times.parse().ok()).unwrap_or(1);
    let mut mutator = Mutator::new(1);
    for n in 0..times * target.tries {
        let input = mutator.next(&inputs);
        let done = std::panic::catch_unwind(|| (target.run)(&input));
        assert!(done.is_ok(), "{name} fails at change {n}: {input:02x?}");
    }
}

macro_rules! replays {
    ($($name:ident)*) => {
        $(#[test]
        fn $name() {
            replay(stringify!($name));
        })*

        #[test]
        fn every_target_is_replayed() {
            let names: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
            assert_eq!(names, [$(stringify!($name)),*]);
        }
    };
}

replays!(media control offer key session door call file archive payload plain entropy_model manifest);

#[test]
fn the_corpus_is_what_is_made_of_real_packets() {
    for target in TARGETS {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target.name);
        for (name, bytes) in parlo_fuzz::seeds(target.name) {
            let found = fs::read(folder.join(&name)).unwrap_or_default();
            assert!(found == bytes, "{}/{name}: cargo run -p parlo-fuzz --example seeds", target.name);
        }
    }
}
