//! Sticks and disks that bring models: here plain folders, as the system would mount them.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use nabi_model_corpus::gguf::split_llama;
use nabi_tests::appliance::State;
use serde_json::Value;

use crate::{argument, tiny};

fn media(state: &State) -> Vec<Value> {
    state.done(&["media", "list"])["media"].as_array().expect("a list").clone()
}

fn stick(media: &Path, name: &str, about: &str) -> std::path::PathBuf {
    let stick = media.join(name);
    fs::create_dir_all(&stick).expect("a folder");
    fs::create_dir_all(media.join(".about")).expect("a folder");
    fs::write(media.join(".about").join(name), about).expect("written");
    stick
}

#[test]
fn attached_media_are_listed_with_their_models_and_those_that_are_broken_with_the_reason() {
    let state = State::empty();
    let folder = state.path("media");
    let _up = state.up(&["--media", argument(&folder)]);
    assert!(media(&state).is_empty());

    let good = stick(&folder, "4A21-0B3C", "device=sdb1\nfile_system=vfat\nlabel=MODELS\n");
    fs::copy(tiny().path(), good.join("tiny.gguf")).expect("copied");
    fs::write(good.join("broken.gguf"), "nothing of the kind").expect("written");
    symlink("4A21-0B3C", folder.join("MODELS")).expect("a link");
    let broken = folder.join(".about/BAD");
    fs::write(broken, "device=sdc1\nfile_system=ext4\nlabel=\nproblem=bad superblock\n").expect("written");

    let listed = media(&state);
    let names: Vec<_> = listed.iter().map(|medium| medium["name"].as_str().expect("a name")).collect();
    assert_eq!(names, ["4A21-0B3C", "BAD"], "a link is no medium of its own");
    assert_eq!((&listed[0]["label"], &listed[0]["device"]), (&"MODELS".into(), &"sdb1".into()));
    let models = listed[0]["content"]["readable"]["models"].as_array().expect("models");
    assert_eq!(models[0]["path"], "4A21-0B3C/broken.gguf");
    assert!(models[0]["found"]["problem"]["reason"].is_string(), "{models:?}");
    assert_eq!(models[1]["path"], "4A21-0B3C/tiny.gguf");
    assert_eq!(models[1]["found"]["model"]["architecture"], "deepseek2");
    assert_eq!(listed[1]["content"]["unreadable"]["reason"], "bad superblock");

    // By its label too.
    let path = folder.join("MODELS/tiny.gguf");
    state.done(&["model", "import", argument(&path)]);
    assert_eq!(state.models(), ["tiny"]);
}

#[test]
fn a_model_that_is_spread_over_media_is_put_together() {
    let state = State::empty();
    let folder = state.path("media");
    let _up = state.up(&["--media", argument(&folder)]);
    let parts = split_llama(3);
    let (first, second) = (stick(&folder, "ONE", ""), folder.join("TWO/models"));
    for index in [0, 2] {
        fs::write(first.join(&parts[index].0), &parts[index].1).expect("written");
    }
    let import = || state.verb(&["model", "import", argument(&first.join(&parts[0].0)), "--name", "split"]);
    let said = import().expect_err("a part is missing");
    assert!(said.contains(&parts[1].0) && said.contains("insert the stick"), "{said}");

    fs::create_dir_all(&second).expect("a folder");
    fs::write(second.join(&parts[1].0), &parts[1].1).expect("written");
    import().expect("all parts are there");
    state.done(&["model", "verify", "split"]);
}

#[test]
fn a_link_on_a_stick_does_not_choose_what_is_read() {
    let state = State::empty();
    let folder = state.path("media");
    let _up = state.up(&["--media", argument(&folder)]);
    let tiny = tiny();
    let link = stick(&folder, "STICK", "").join("link.gguf");
    symlink(tiny.path(), &link).expect("a link");
    assert!(state.fails(&["model", "import", argument(&link)]).contains("leads off its stick"));
    let models = media(&state)[0]["content"]["readable"]["models"].clone();
    assert_eq!(models, Value::Array(Vec::new()));
}
