//! What is stored: verified and removed.

use std::fs;

use nabi_model_corpus::gguf::{Gguf, split_llama};

use crate::support::Bench;

#[test]
fn verify_names_every_file_that_differs() {
    let bench = Bench::new();
    for (name, bytes) in split_llama(4) {
        bench.write(&name, &bytes);
    }
    bench.import("split", &bench.source("tiny-00001-of-00004.gguf")).done();
    let verified = bench.verify("split");
    let last = format!("{:?}", verified.events.last());
    assert!(last.contains("Verified { files: 4"), "{last}");

    let folder = bench.stored("split").folder;
    let part = |no: u32| folder.join(format!("tiny-{no:05}-of-00004.gguf"));
    let mut bytes = fs::read(part(2)).expect("a part");
    *bytes.last_mut().expect("a byte") ^= 1;
    fs::write(part(2), &bytes).expect("writes");
    fs::remove_file(part(3)).expect("removes");
    fs::write(part(4), &bytes[1..]).expect("writes");
    let end = bench.verify("split");
    for words in [
        "3 of 4 files",
        "00002-of-00004.gguf has another content",
        "3-of-00004.gguf is missing",
        "another size",
    ] {
        assert!(end.failed().contains(words), "{words}: {}", end.failed());
    }
    assert!(bench.verify("nothing").failed().contains("there is no model nothing"));
}

#[test]
fn remove_deletes_all_that_bears_the_name() {
    let bench = Bench::new();
    let source = bench.write("tiny.gguf", &Gguf::llama().build());
    bench.import("tiny", &source).done();
    bench.import("kept", &source).done();
    assert_eq!(bench.remove("tiny").code, Some(0));
    assert_eq!(bench.names(), ["kept"]);
    assert!(bench.remove("tiny").failed().contains("there is no model tiny"));

    // What kills in the middle of an import and of a removal leave.
    for leftover in [".import-tiny", ".remove-tiny"] {
        fs::create_dir(bench.store_folder().join(leftover)).expect("makes a leftover");
        assert_eq!(bench.remove("tiny").code, Some(0), "{leftover}");
        assert_eq!(bench.names(), ["kept"]);
    }
    fs::create_dir(bench.store_folder().join(".remove-tiny")).expect("makes a leftover");
    bench.import("tiny", &source).done();
    assert_eq!(bench.names(), ["kept", "tiny"]);
}
