//! Folders and stores on a real disk.

use std::error::Error;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::UNIX_EPOCH;

use nabi_domain::ModelName;
use nabi_model_corpus::folder;
use nabi_model_corpus::gguf::{Gguf, split_llama};
use nabi_model_corpus::safetensors::{entry, file, vectors};
use nabi_models::{Inspected, Manifest, Store, StoreError, StoredFile, inspect, regular_file};
use tempfile::{TempDir, tempdir};

fn hugging_face() -> TempDir {
    let folder = tempdir().expect("a temporary folder");
    folder::write(folder.path()).expect("writes a folder");
    folder
}

type Change<'a> = Box<dyn FnOnce(&Path) + 'a>;

/// The refusal in words, after `change` made a good folder bad.
fn refusal(change: impl FnOnce(&Path)) -> String {
    let folder = hugging_face();
    change(folder.path());
    let error = inspect(folder.path()).expect_err("must be refused");
    let source = error.source().map(|source| format!(": {source}")).unwrap_or_default();
    format!("{error}{source}")
}

fn names(inspected: &Inspected) -> Vec<&str> {
    inspected.files.iter().map(|file| file.name.as_str()).collect()
}

#[test]
fn a_folder_is_described_by_its_headers() {
    let folder = hugging_face();
    let inspected = inspect(folder.path()).expect("a model");
    assert_eq!(names(&inspected), folder::TAKEN);
    assert_eq!((inspected.parameters, inspected.quantization.as_str()), (48, "BF16"));
    assert!(inspected.remote_code);

    // Packed weights are named by their method, the context may be nested.
    let packed = file(&format!("{{{}}}", entry("embed", "I32", "[8]", 0, 32)), 32);
    fs::write(folder.path().join("model-00001-of-00002.safetensors"), packed).expect("writes");
    fs::write(folder.path().join("model-00002-of-00002.safetensors"), vectors(&[("head", 1)]))
        .expect("writes");
    let config = r#"{"architectures":["X"],"text_config":{"max_position_embeddings":7},
        "quantization_config":{"quant_method":"awq"}}"#;
    fs::write(folder.path().join("config.json"), config).expect("writes");
    let inspected = inspect(folder.path()).expect("a model");
    assert_eq!((inspected.quantization.as_str(), inspected.context_tokens), ("awq", 7));
    assert!(!inspected.remote_code);
}

#[test]
fn a_folder_that_is_not_whole_is_refused_in_words() {
    let remove =
        |name: &'static str| move |folder: &Path| fs::remove_file(folder.join(name)).expect("removes");
    let write = |name: &'static str, content: &'static str| {
        move |folder: &Path| fs::write(folder.join(name), content).expect("writes")
    };
    let index = "model.safetensors.index.json";
    let first = "model-00001-of-00002.safetensors";
    let cases: [(&str, Change); 14] = [
        ("no config.json", Box::new(remove("config.json"))),
        ("neither tokenizer.json nor", Box::new(remove("tokenizer.json"))),
        ("2 .safetensors files but no model.safetensors.index.json", Box::new(remove(index))),
        ("could not be read", Box::new(remove(first))),
        ("not a plain file name", Box::new(write(index, r#"{"weight_map":{"a":"../m.safetensors"}}"#))),
        (
            "\"ghost\" is not in",
            Box::new(|folder: &Path| {
                let map = folder::INDEX.replace("\"head\"", "\"ghost\"");
                fs::write(folder.join(index), map).expect("writes");
            }),
        ),
        (
            "names the tensor \"embed\" twice",
            Box::new(|folder: &Path| {
                let map = folder::INDEX.replace("\"head\"", "\"embed\"");
                fs::write(folder.join(index), map).expect("writes");
            }),
        ),
        ("config.json is not valid", Box::new(write("config.json", "{"))),
        ("says nothing of architectures", Box::new(write("config.json", "{}"))),
        ("says nothing of max_position", Box::new(write("config.json", r#"{"architectures":["X"]}"#))),
        (
            "at most 1048576 are allowed",
            Box::new(|folder: &Path| {
                fs::write(folder.join("config.json"), vec![b' '; (1 << 20) + 1]).expect("writes");
            }),
        ),
        (
            "config.json is not valid",
            Box::new(|folder: &Path| {
                let deep = format!("{{\"architectures\":{}", "[".repeat(10_000));
                fs::write(folder.join("config.json"), deep).expect("writes");
            }),
        ),
        (
            "pickles run code",
            Box::new(|folder: &Path| {
                remove("model-00001-of-00002.safetensors")(folder);
                remove("model-00002-of-00002.safetensors")(folder);
            }),
        ),
        (
            "is a symbolic link",
            Box::new(|folder: &Path| {
                fs::remove_file(folder.join("tokenizer.json")).expect("removes");
                symlink("/etc/passwd", folder.join("tokenizer.json")).expect("links");
            }),
        ),
    ];
    for (words, change) in cases {
        let refusal = refusal(change);
        assert!(refusal.contains(words), "{words}: {refusal}");
    }
}

#[test]
fn parts_of_a_split_model_that_were_renamed_or_mixed_are_refused() {
    let folder = tempdir().expect("a temporary folder");
    let parts = split_llama(2);
    for (name, bytes) in &parts {
        fs::write(folder.path().join(name), bytes).expect("writes");
    }
    let second = folder.path().join(&parts[1].0);
    assert_eq!(names(&inspect(&second).expect("a model")), [&parts[0].0, &parts[1].0]);

    let renamed = folder.path().join("model.gguf");
    fs::write(&renamed, &parts[0].1).expect("writes");
    let refusal = inspect(&renamed).expect_err("renamed").to_string();
    assert!(refusal.contains("not named like NAME-00001-of-00002.gguf"), "{refusal}");

    fs::write(&second, &parts[0].1).expect("writes");
    let refusal = inspect(&second).expect_err("the first part twice").to_string();
    assert!(refusal.contains("is part 1 of 2"), "{refusal}");
}

fn stored(store: &Path, name: &str) -> Manifest {
    let folder = store.join(name);
    fs::create_dir(&folder).expect("makes a folder");
    fs::write(folder.join("a.gguf"), Gguf::llama().build()).expect("writes");
    let inspected = inspect(&folder.join("a.gguf")).expect("a model");
    let metadata = fs::metadata(folder.join("a.gguf")).expect("there");
    let file = StoredFile {
        name: "a.gguf".into(),
        bytes: metadata.len(),
        sha256: "00".repeat(32),
        mtime_ns: regular_file::mtime_ns(&metadata),
    };
    let manifest =
        Manifest::new(inspected.summary(name.parse().expect("a name")), inspected.shape.clone(), vec![file]);
    manifest.write(&folder).expect("writes");
    manifest
}

#[test]
fn the_store_shows_models_and_nothing_else() {
    let folder = tempdir().expect("a temporary folder");
    let (b, a) = (stored(folder.path(), "b"), stored(folder.path(), "a"));
    let partial = folder.path().join(".import-c");
    fs::create_dir_all(&partial).expect("makes a folder");
    b.write(&partial).expect("writes");
    fs::create_dir(folder.path().join("no-manifest")).expect("makes a folder");

    let store = Store::open(folder.path()).expect("the store");
    let listed: Result<Vec<_>, _> = store.list().expect("lists").into_iter().collect();
    let listed: Vec<_> = listed.expect("whole").into_iter().map(|model| model.manifest).collect();
    assert_eq!(listed, [a, b]);
    for name in ["no-manifest", "c"] {
        let name: ModelName = name.parse().expect("a name");
        assert!(matches!(store.get(&name), Err(StoreError::Unknown { .. })), "{name}");
    }

    fs::write(folder.path().join("b/nabi-manifest.json"), "{}").expect("writes");
    let listed = store.list().expect("lists");
    assert!(listed[0].is_ok() && listed[1].is_err(), "one damaged model hides no other");
    assert!(Store::open(&folder.path().join("missing")).is_err());
}

#[test]
fn a_file_that_changed_after_its_import_is_named() {
    let folder = tempdir().expect("a temporary folder");
    stored(folder.path(), "tiny");
    let store = Store::open(folder.path()).expect("the store");
    let name: ModelName = "tiny".parse().expect("a name");
    let path = folder.path().join("tiny/a.gguf");
    assert_eq!(store.check_unchanged(&name).expect("unchanged").entry_point(), path);

    let refusal = || store.check_unchanged(&name).expect_err("changed").to_string();
    let bytes = fs::read(&path).expect("reads");
    // As after a write of as many bytes, however coarse the file system's clock is.
    let touched = fs::File::options().write(true).open(&path).and_then(|file| file.set_modified(UNIX_EPOCH));
    touched.expect("touches");
    assert!(
        refusal()
            .contains("\"a.gguf\" was written to since its import; check it with `nabi model verify tiny`")
    );
    fs::write(&path, &bytes[1..]).expect("writes less");
    assert!(refusal().contains("changed its size"));
    fs::remove_file(&path).expect("removes");
    assert!(refusal().contains("is missing"));
    symlink("/etc/passwd", &path).expect("links");
    assert!(refusal().contains("no regular file"));
}
