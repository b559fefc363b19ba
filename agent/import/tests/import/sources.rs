//! What an import takes, refuses and leaves behind.

use std::fs;
use std::os::unix::fs::symlink;

use nabi_domain::ModelFormat;
use nabi_model_corpus::gguf::{Gguf, split_llama};
use nabi_model_corpus::{folder, hostile};
use nabi_wire::import::ImportEvent;
use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use crate::support::{Bench, names};

#[test]
fn a_gguf_file_becomes_a_model() {
    let bench = Bench::new();
    let bytes = Gguf::llama().build();
    let end = bench.import("tiny", &bench.write("tiny.gguf", &bytes));
    let summary = end.done();
    assert_eq!((summary.format, summary.architecture.as_str()), (ModelFormat::Gguf, "llama"));
    assert_eq!((summary.parameters, summary.quantization.as_str()), (64 * 4 + 64, "F32"));
    assert_eq!((summary.context_tokens, summary.bytes), (128, bytes.len() as u64));
    let last_progress = end.events.iter().rev().nth(1).expect("progress before the end");
    let (done_bytes, total_bytes) = (bytes.len() as u64, bytes.len() as u64);
    assert_eq!(*last_progress, ImportEvent::Progress { file: "tiny.gguf".into(), done_bytes, total_bytes });

    let stored = bench.stored("tiny");
    assert_eq!(&stored.manifest.summary, summary);
    assert_eq!(fs::read(stored.entry_point()).expect("the copy"), bytes);
    assert_eq!(bench.names(), ["tiny"], "no journal, no lock, no partial copy");
    assert_eq!(names(&stored.folder), ["nabi-manifest.json", "tiny.gguf"]);
}

#[test]
fn any_part_of_a_split_model_brings_them_all() {
    let bench = Bench::new();
    let parts = split_llama(3);
    for (name, bytes) in &parts {
        bench.write(name, bytes);
    }
    let end = bench.import("split", &bench.source(&parts[1].0));
    assert_eq!(end.done().parameters, 3 * 64 * 4);
    let stored = bench.stored("split");
    assert!(stored.entry_point().ends_with("tiny-00001-of-00003.gguf"));
    assert_eq!(stored.manifest.files.len(), 3);

    fs::remove_file(bench.source(&parts[2].0)).expect("removes a part");
    let failed = bench.import("other", &bench.source(&parts[0].0));
    assert!(failed.failed().contains("tiny-00003-of-00003.gguf"), "{}", failed.failed());
}

#[test]
fn of_a_hugging_face_folder_only_weights_and_texts_are_taken() {
    let bench = Bench::new();
    folder::write(&bench.source("hf")).expect("writes a folder");
    let end = bench.import("hf", &bench.source("hf"));
    let summary = end.done();
    assert_eq!(summary.format, ModelFormat::HuggingFace);
    assert_eq!((summary.architecture.as_str(), summary.context_tokens), ("LlamaForCausalLM", 4096));
    assert_eq!((summary.parameters, summary.quantization.as_str()), (48, "BF16"));
    assert!(end.log.contains("auto_map"), "the code that is left behind is mentioned");

    let stored = bench.stored("hf");
    let taken: Vec<_> = stored.manifest.files.iter().map(|file| file.name.as_str()).collect();
    assert_eq!(taken, folder::TAKEN);
    assert_eq!(names(&stored.folder).len(), folder::TAKEN.len() + 1);
    assert_eq!(stored.entry_point(), stored.folder);
}

#[test]
fn a_name_is_given_once_and_the_same_content_twice_is_no_fault() {
    let bench = Bench::new();
    let source = bench.write("tiny.gguf", &Gguf::llama().build());
    bench.import("tiny", &source).done();
    let stored = bench.stored("tiny");

    let again = bench.import("tiny", &source);
    assert_eq!(again.done(), &stored.manifest.summary);
    assert!(again.log.contains("already imported"));
    assert_eq!(bench.stored("tiny").manifest, stored.manifest);

    let mut other = Gguf::llama().build();
    *other.last_mut().expect("a byte") = 1;
    fs::write(&source, other).expect("writes");
    for source in [source, bench.write("other.gguf", &Gguf::llama().build())] {
        let failed = bench.import("tiny", &source);
        assert!(failed.failed().contains("`--name OTHER`"), "{}", failed.failed());
    }
    assert_eq!(bench.stored("tiny").manifest, stored.manifest);
}

#[test]
fn every_hostile_file_is_refused_and_leaves_nothing() {
    let bench = Bench::new();
    for case in hostile::gguf() {
        let failed = bench.import("bad", &bench.write("bad.gguf", &case.bytes));
        assert!(failed.failed().contains(case.words), "{}: {}", case.name, failed.failed());
    }
    for case in hostile::safetensors() {
        folder::write(&bench.source("hf")).expect("writes a folder");
        bench.write("hf/model-00002-of-00002.safetensors", &case.bytes);
        let failed = bench.import("bad", &bench.source("hf"));
        assert!(failed.failed().contains(case.words), "{}: {}", case.name, failed.failed());
    }
    assert!(bench.names().is_empty());
    bench.import("good", &bench.write("good.gguf", &Gguf::llama().build())).done();
}

#[test]
fn links_pipes_devices_and_the_store_itself_are_no_sources() {
    let bench = Bench::new();
    let source = bench.write("tiny.gguf", &Gguf::llama().build());
    bench.import("tiny", &source).done();
    folder::write(&bench.source("hf")).expect("writes a folder");
    let shard = bench.source("hf/model-00001-of-00002.safetensors");
    fs::rename(&shard, bench.source("elsewhere")).expect("renames");
    symlink(bench.source("elsewhere"), &shard).expect("links");
    mkfifo(&bench.source("pipe.gguf"), Mode::S_IRWXU).expect("makes a pipe");

    for (source, words) in [
        (bench.source("hf"), "cp -rL"),
        (bench.source("pipe.gguf"), "not a regular file"),
        ("/dev/zero".into(), "not a regular file"),
        (bench.store_folder().join("tiny/tiny.gguf"), "inside the model store"),
        (bench.store_folder(), "inside the model store"),
        (bench.source("missing.gguf"), "could not be read"),
        (bench.source(""), "no config.json"),
    ] {
        let failed = bench.import("other", &source);
        assert!(failed.failed().contains(words), "{source:?}: {}", failed.failed());
    }
    // The path that the operator names may be a link.
    symlink(&source, bench.source("link.gguf")).expect("links");
    bench.import("linked", &bench.source("link.gguf")).done();
    assert_eq!(bench.names(), ["linked", "tiny"]);
}

#[test]
fn two_runs_for_one_name_exclude_each_other() {
    let bench = Bench::new();
    let source = bench.write_large("large.gguf", 300);
    let mut first = bench.start("import", "large", Some(&source));
    first.wait_for(1);
    first.signal(Signal::SIGSTOP);
    for end in [bench.import("large", &source), bench.remove("large"), bench.verify("large")] {
        assert!(end.failed().contains("is running"), "{}", end.failed());
    }
    bench.import("other", &bench.write("tiny.gguf", &Gguf::llama().build())).done();
    first.signal(Signal::SIGCONT);
    first.end().done();
    assert_eq!(bench.names(), ["large", "other"]);
}
