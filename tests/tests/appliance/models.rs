//! Models: imported, served together, stopped, found damaged, removed.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::FileExt as _;
use std::process::Stdio;

use nabi_makers::{Kind, Model, Tokenizer, tokenizer_folder};
use nabi_model_corpus::gguf::Gguf;
use nabi_models::manifest::MANIFEST_NAME;
use nabi_tests::appliance::{State, wait_for};
use nabi_tests::programs::demo_model;
use serde_json::json;

use crate::import::ATTEMPTS_MAX;
use crate::{TINY, argument, serve_tiny, tiny};

#[test]
fn a_model_lives_from_import_to_removal() {
    let state = State::empty();
    let up = state.up(&[]);
    let tiny = tiny();
    let imported = state.done(&["model", "import", argument(&tiny.path()), "--name", TINY]);
    let summary = &imported["imported"];
    assert_eq!((&summary["name"], &summary["architecture"]), (&TINY.into(), &"deepseek2".into()));
    assert_eq!((&summary["format"], &summary["quantization"]), (&"gguf".into(), &"F32".into()));
    let again = state.done(&["model", "import", argument(&tiny.path()), "--name", TINY]);
    assert_eq!(&again["imported"], summary, "the same content may come twice");
    let listed = |served: bool| json!([{"summary": summary, "served": served}]);
    assert_eq!(state.done(&["model", "list"])["models"]["stored"], listed(false));
    let verified = state.done(&["model", "verify", TINY]);
    assert_eq!(verified["verified"], json!({"name": TINY, "files": 1, "bytes": summary["bytes"]}));

    let serving = state.done(&["model", "serve", TINY]);
    assert!(serving["serving"]["card"]["first_token_ms"].as_u64().is_some_and(|ms| ms > 0), "{serving}");
    up.client().say(TINY, "hello", json!({"max_tokens": 3})).text();
    assert_eq!(state.done(&["model", "list"])["models"]["stored"], listed(true));
    assert!(state.fails(&["model", "remove", TINY]).contains("nabi model stop"));

    assert_eq!(state.done(&["model", "stop", TINY])["stopped"], TINY);
    assert!(state.fails(&["model", "stop", TINY]).contains("is not served"));
    assert_eq!(state.done(&["model", "remove", TINY])["removed"], TINY);
    for verb in ["serve", "verify", "remove"] {
        assert!(state.fails(&["model", verb, TINY]).contains("there is no model"), "{verb}");
    }
    assert!(state.models().is_empty());
}

#[test]
fn without_json_a_person_can_read_it() {
    let state = State::empty();
    let up = serve_tiny(&state, &[]);
    let pid = state.engine_pid(TINY);
    for (verb, words) in [
        (&["status"][..], vec![format!("{} serves", up.address()), format!("{TINY}: ready (process {pid})")]),
        (
            &["model", "list"],
            vec![format!("served  {TINY}: deepseek2, "), " parameters, F32, context 5120".into()],
        ),
        (&["model", "verify", TINY], vec![format!("{TINY}: 1 files, "), "all as imported".into()]),
        (&["key", "list"], vec!["inference  demo\n".into()]),
        (&["ca"], vec!["-----BEGIN CERTIFICATE-----\n".into(), "-----END CERTIFICATE-----\n".into()]),
        (
            &["logs", "supervisor"],
            vec!["supervisor: 20".into(), " INFO the first token is proven model=".into()],
        ),
        (&["alias", "list"], vec!["nabi alias set NAME MODEL".into()]),
        (&["version"], vec!["engine wire ".into(), "pack llama-cpp".into()]),
    ] {
        let output = state.verb_command(verb).output().expect("nabi runs");
        let said = String::from_utf8(output.stdout).expect("text");
        assert!(output.status.success(), "{verb:?}");
        for words in words {
            assert!(said.contains(&words), "{verb:?}: {words:?} in {said}");
        }
    }
}

#[test]
fn a_model_with_a_damaged_manifest_is_named_and_can_be_replaced() {
    let state = State::empty();
    let _up = state.up(&[]);
    let tiny = tiny();
    let path = tiny.path();
    state.done(&["model", "import", argument(&path), "--name", "whole"]);
    state.done(&["model", "import", argument(&path), "--name", TINY]);
    fs::write(state.path("models").join(TINY).join(MANIFEST_NAME), "{").expect("written");
    let listed = state.done(&["model", "list"]);
    assert_eq!(state.models(), ["whole"], "it hides no other");
    let damaged = listed["models"]["damaged"].as_array().expect("a list");
    assert_eq!((damaged.len(), &damaged[0]["name"]), (1, &TINY.into()));
    assert!(damaged[0]["reason"].as_str().is_some_and(|reason| reason.contains("import the model again")));
    assert!(state.fails(&["model", "serve", TINY]).contains("import the model again"));
    state.done(&["model", "remove", TINY]);
    assert_eq!(state.done(&["model", "list"])["models"]["damaged"], json!([]));
}

#[test]
fn two_models_are_served_and_one_of_them_stops() {
    let state = State::empty();
    let up = serve_tiny(&state, &[]);
    let client = up.client();
    state.done(&["model", "import", argument(&demo_model()), "--name", "SmolLM2"]);
    for _ in 0..3 {
        state.done(&["model", "serve", "SmolLM2"]);
        client.say("SmolLM2", "hello", json!({"max_tokens": 3})).text();
        client.say(TINY, "hello", json!({"max_tokens": 3})).text();
        assert_eq!(client.get("/readyz").status, 200);

        state.done(&["model", "stop", "SmolLM2"]);
        assert_eq!(client.say("SmolLM2", "hello", json!({})).error(), (404, "model_not_found"));
        client.say(TINY, "hello", json!({"max_tokens": 3})).text();
    }
}

#[test]
fn a_hugging_face_folder_is_kept_but_not_served() {
    let state = State::empty();
    let up = serve_tiny(&state, &[]);
    let tokenizer = Tokenizer::cut_from_folder(&tokenizer_folder()).expect("DeepSeek's tokenizer");
    let model = Model::new(Kind::DeepseekV2Lite, &tokenizer, None).expect("nothing is disturbed");
    let folder = state.path("DeepSeek-tiny");
    model.write_huggingface(&folder).expect("the folder is writable");
    let imported = state.done(&["model", "import", argument(&folder)]);
    assert_eq!(imported["imported"]["format"], "huggingface");
    let said = state.fails(&["model", "serve", "DeepSeek-tiny"]);
    assert!(said.contains("Hugging Face folder") && said.contains("as GGUF"), "{said}");
    let status = state.status();
    assert_eq!(status["engines"].as_array().map(Vec::len), Some(1), "it is not tried again: {status}");
    assert_eq!(up.client().get("/readyz").status, 200);
    assert_eq!(state.done(&["model", "verify", "DeepSeek-tiny"])["verified"]["name"], "DeepSeek-tiny");
}

/// A model whose headers are right, and which no engine can load.
fn import_empty_llama(state: &State) {
    let path = state.path("empty-llama.gguf");
    fs::write(&path, Gguf::llama().build()).expect("written");
    state.done(&["model", "import", argument(&path)]);
}

#[test]
fn a_model_that_the_engine_cannot_load_is_not_kept_served() {
    let state = State::empty();
    let _up = state.up(&[]);
    import_empty_llama(&state);
    let said = state.fails(&["model", "serve", "empty-llama"]);
    assert!(said.contains("empty-llama cannot be served: "), "{said}");
    assert_eq!(state.status()["engines"], json!([]), "it is not tried again");
    assert_eq!(state.done(&["model", "list"])["models"]["stored"][0]["served"], false);
}

#[test]
fn a_model_that_cannot_be_loaded_is_not_kept_though_its_operator_left() {
    let state = State::empty();
    let _up = state.up(&[]);
    import_empty_llama(&state);
    // Until the operator leaves before the engine has refused it: as a rule, the first time.
    let mut attempts = 0;
    while !leaves_while_it_loads(&state) {
        attempts += 1;
        assert!(attempts < ATTEMPTS_MAX, "it is refused before anybody could leave");
    }
    wait_for("it is not tried again", || (state.status()["engines"] == json!([])).then_some(()));
}

/// An operator who is gone as soon as loading begins; false if there was no such moment.
fn leaves_while_it_loads(state: &State) -> bool {
    let mut serve = state.verb_command(&["model", "serve", "empty-llama"]);
    let mut operator = serve.stderr(Stdio::piped()).spawn().expect("nabi starts");
    let mut said = String::new();
    BufReader::new(operator.stderr.take().expect("piped")).read_line(&mut said).expect("a line");
    operator.kill().expect("killed");
    operator.wait().expect("ended");
    said.contains("loading empty-llama")
}

#[test]
fn a_file_that_changed_after_its_import_is_found_and_not_served() {
    let state = State::empty();
    let up = state.up(&[]);
    let tiny = tiny();
    let import = ["model", "import", argument(&tiny.path()), "--name", TINY].map(str::to_owned);
    let import: Vec<_> = import.iter().map(String::as_str).collect();
    state.done(&import);
    let stored = File::options().write(true).open(state.path("models").join(TINY).join("model.gguf"));
    let stored = stored.expect("the stored file");
    let end = stored.metadata().expect("readable").len();
    stored.write_all_at(b"bit rot", end - 100).expect("written");

    for verb in [&["model", "serve", TINY], &["model", "verify", TINY], &import[..]] {
        let said = state.fails(verb);
        assert!(said.contains("model.gguf") && said.contains("import it again"), "{verb:?}: {said}");
    }
    state.done(&["model", "remove", TINY]);
    state.done(&import);
    state.done(&["model", "serve", TINY]);
    up.client().say(TINY, "hello", json!({"max_tokens": 3})).text();
}
