//! The makers give the bytes on which the golden vectors were made.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use nabi_makers::{
    Kind, Model, Standalone, StandaloneKind, Tokenizer, tokenizer_folder, write_self_test,
    write_self_test_huggingface,
};
use sha2::{Digest as _, Sha256};

fn golden_sums() -> BTreeMap<PathBuf, String> {
    let list = Path::new(env!("CARGO_MANIFEST_DIR")).join("../golden/models.sha256");
    let text = std::fs::read_to_string(&list).expect("tests/golden/models.sha256 is in the repository");
    text.lines()
        .map(|line| line.split_once("  ").expect("each line is a sum, two spaces, a path"))
        .map(|(sum, path)| (path.into(), sum.to_owned()))
        .collect()
}

fn sums_below(root: &Path, folder: &Path, sums: &mut BTreeMap<PathBuf, String>) {
    for entry in std::fs::read_dir(folder).expect("the folder was just made") {
        let path = entry.expect("the entry is readable").path();
        if path.is_dir() {
            sums_below(root, &path, sums);
        } else {
            let bytes = std::fs::read(&path).expect("the file was just made");
            let name = path.strip_prefix(root).expect("it is below the root");
            sums.insert(name.into(), hex::encode(Sha256::digest(bytes)));
        }
    }
}

fn tokenizer() -> Tokenizer {
    // The error's text says which script to run.
    Tokenizer::cut_from_folder(&tokenizer_folder()).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn every_file_has_the_sum_on_which_the_goldens_were_made() {
    let tokenizer = tokenizer();
    let root = tempfile::tempdir().expect("a temporary folder");
    for kind in Kind::ALL {
        let folder = root.path().join(kind.name());
        let model = Model::new(kind, &tokenizer, None).expect("nothing is disturbed");
        model.write_huggingface(&folder.join("hf")).expect("the folder is writable");
        model.write_gguf(&folder.join("model.gguf")).expect("the folder is writable");
    }
    for kind in StandaloneKind::ALL {
        let folder = root.path().join(kind.name());
        let model = Standalone::new(kind, None).expect("nothing is disturbed");
        model.write_huggingface(&folder.join("hf")).expect("the folder is writable");
        model.write_gguf(&folder.join("model.gguf")).expect("the folder is writable");
    }
    let folder = root.path().join("self-test");
    write_self_test(&folder.join("store"), 0).expect("the folder is writable");
    write_self_test_huggingface(&folder.join("hf")).expect("the folder is writable");
    let mut sums = BTreeMap::new();
    sums_below(root.path(), root.path(), &mut sums);
    assert_eq!(sums, golden_sums(), "if a maker was changed on purpose, run `make golden`");
}

#[test]
fn a_layer_that_does_not_exist_cannot_be_disturbed() {
    let error = Model::new(Kind::DeepseekV3, &tokenizer(), Some(4)).err().expect("V3 has layers 0 to 3");
    assert!(error.to_string().contains("layers 0 to 3"), "{error}");
    let error = Standalone::new(StandaloneKind::BertMean, Some(3)).err().expect("it has layers 0 to 2");
    assert!(error.to_string().contains("layers 0 to 2"), "{error}");
}
