//! Other people's programs against Nabi: OpenAI's packages, an evaluation tool, a fuzzer of
//! OpenAPI documents. What they check lies in tests/conformance; this starts what they talk to.

mod lm_eval;
mod openai;
mod schemathesis;
mod scripts;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

/// A folder or file of `tests/conformance`.
fn conformance(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("conformance").join(path)
}

/// Runs a script of `provisioning`, which prints a path. Tests run together, and two of them may
/// want the same folder.
fn provision(script: &str, arguments: &[&str]) -> PathBuf {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../provisioning").join(script);
    let output = Command::new(&script).args(arguments).output();
    let output = output.unwrap_or_else(|error| panic!("{}: {error}", script.display()));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    PathBuf::from(String::from_utf8(output.stdout).expect("a path is text").trim_end())
}

/// The folder of a Python environment that has the pinned packages of `tests/conformance/FOLDER`.
fn python_environment(folder: &str) -> PathBuf {
    let requirements = conformance(folder).join("requirements.txt");
    provision("python-venv.sh", &[folder, text(&requirements)])
}

/// A path as an argument.
fn text(path: &Path) -> &str {
    path.to_str().expect("paths of tests are text")
}

/// Runs a program whose exit status says whether the tests in it passed. What it says is returned,
/// standard error last.
fn passes(command: &mut Command) -> String {
    // Python would leave its byte code beside the tests.
    let output = command.env("PYTHONDONTWRITEBYTECODE", "1").output();
    let output = output.unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    assert!(output.status.success(), "{command:?}: {}\n{said}", output.status);
    said
}
