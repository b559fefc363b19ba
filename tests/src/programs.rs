//! Where the programs and packs lie that `make test` builds before it runs the tests.

use std::path::PathBuf;

/// A program of the workspace, built beside this test or program.
///
/// # Panics
/// When it was not built.
pub fn program(name: &str) -> PathBuf {
    let own = std::env::current_exe().expect("a program knows its own path");
    let mut folder = own.parent().expect("a program lies in a folder");
    if folder.ends_with("deps") {
        folder = folder.parent().expect("tests lie in TARGET/PROFILE/deps");
    }
    let program = folder.join(name);
    assert!(program.exists(), "{} is not built: run the tests by `make test`", program.display());
    program
}

/// Nabi's cache, outside the checkout: packs, models, Python environments.
pub fn cache() -> PathBuf {
    match std::env::var_os("XDG_CACHE_HOME") {
        Some(cache) => PathBuf::from(cache).join("nabi"),
        None => PathBuf::from(std::env::var_os("HOME").expect("HOME is set")).join(".cache/nabi"),
    }
}

/// The kernel pack of llama.cpp.
///
/// # Panics
/// When it was not built.
pub fn pack() -> PathBuf {
    let pack = std::env::var_os("NABI_PACK").map_or_else(|| cache().join("packs/llama-cpp"), PathBuf::from);
    assert!(
        pack.join("pack.toml").exists(),
        "there is no kernel pack in {}: run `make pack`",
        pack.display()
    );
    pack
}

/// The demo model, SmolLM2-135M-Instruct.
///
/// # Panics
/// When it was not fetched.
pub fn demo_model() -> PathBuf {
    let model = std::env::var_os("NABI_DEMO_MODEL")
        .map_or_else(|| cache().join("demo-model/SmolLM2-135M-Instruct.Q4_1.gguf"), PathBuf::from);
    assert!(model.exists(), "the demo model is missing: run `provisioning/demo-model.sh`");
    model
}
