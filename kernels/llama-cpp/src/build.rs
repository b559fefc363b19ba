//! From the sources within the crate `llama-cpp-sys-2`, patched, to installed libraries.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

/// Where the sources come from: fetched by Cargo, pinned by the lock file.
const SOURCE_CRATE: &str = "llama-cpp-sys-2";

/// Shared libraries, every CPU variant as a loadable backend, no OpenMP (its threads cannot be
/// bounded by us), nothing tuned to the machine that builds.
const CMAKE_DEFINITIONS: [&str; 14] = [
    "CMAKE_BUILD_TYPE=Release",
    "BUILD_SHARED_LIBS=ON",
    "GGML_BACKEND_DL=ON",
    "GGML_CPU_ALL_VARIANTS=ON",
    "GGML_NATIVE=OFF",
    "GGML_OPENMP=OFF",
    "LLAMA_BUILD_COMMON=OFF",
    "LLAMA_BUILD_TESTS=OFF",
    "LLAMA_BUILD_EXAMPLES=OFF",
    "LLAMA_BUILD_TOOLS=OFF",
    "LLAMA_BUILD_SERVER=OFF",
    "LLAMA_BUILD_APP=OFF",
    // A library that lacks a symbol must fail here, not on the machine that loads it.
    "CMAKE_SHARED_LINKER_FLAGS=-Wl,-z,defs",
    "CMAKE_MODULE_LINKER_FLAGS=-Wl,-z,defs",
];

/// What `cmake --install` wrote.
pub(crate) struct Installed {
    pub(crate) libraries: PathBuf,
    pub(crate) backends: PathBuf,
    pub(crate) headers: PathBuf,
}

/// Builds below `folder`; a second call compiles only what changed.
pub(crate) fn build(folder: &Path) -> Result<Installed> {
    let sources = folder.join("llama.cpp");
    if !sources.join(".patched").exists() {
        prepare_sources(&sources)?;
    }
    let (objects, prefix) = (folder.join("objects"), folder.join("installed"));
    // A compiler that was killed leaves half an object behind, which make takes for a whole one.
    let unfinished = folder.join(".unfinished");
    if unfinished.exists() && objects.exists() {
        fs::remove_dir_all(&objects).with_context(|| format!("cannot clear {}", objects.display()))?;
    }
    fs::write(&unfinished, "").with_context(|| format!("cannot write {}", unfinished.display()))?;
    let definitions = CMAKE_DEFINITIONS.iter().map(|definition| format!("-D{definition}"));
    // Assertions name their file: from the sources' root, not from where this machine keeps them.
    let files = format!("-ffile-prefix-map={}/=", sources.display());
    let places = [
        format!("-DCMAKE_C_FLAGS={files}"),
        format!("-DCMAKE_CXX_FLAGS={files}"),
        format!("-DCMAKE_INSTALL_PREFIX={}", prefix.display()),
        // `lib` on every distribution, so that the paths below are known.
        "-DCMAKE_INSTALL_LIBDIR=lib".into(),
    ];
    run(Command::new("cmake")
        .arg("-S")
        .arg(&sources)
        .arg("-B")
        .arg(&objects)
        .args(definitions)
        .args(places))?;
    // Named, since make takes no number for "as many as there are files".
    let jobs = std::thread::available_parallelism().map_or(1, usize::from).to_string();
    run(Command::new("cmake").arg("--build").arg(&objects).args(["--parallel", &jobs]))?;
    run(Command::new("cmake").arg("--install").arg(&objects))?;
    fs::remove_file(&unfinished).with_context(|| format!("cannot remove {}", unfinished.display()))?;
    Ok(Installed {
        libraries: prefix.join("lib"),
        backends: prefix.join("bin"),
        headers: prefix.join("include"),
    })
}

/// Copies the sources and applies our patches, each of which says in its first lines why it is there.
fn prepare_sources(sources: &Path) -> Result<()> {
    if sources.exists() {
        fs::remove_dir_all(sources).with_context(|| format!("cannot clear {}", sources.display()))?;
    }
    let parent = sources.parent().context("the build folder has no parent")?;
    fs::create_dir_all(parent).with_context(|| format!("cannot create {}", parent.display()))?;
    run(Command::new("cp").arg("-r").arg(fetched_sources()?).arg(sources))?;
    let mut patches: Vec<PathBuf> = fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/patches"))
        .context("cannot list the patches")?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()?;
    patches.sort();
    for patch in patches {
        run(Command::new("patch").args(["-p1", "--fuzz=0", "-d"]).arg(sources).arg("-i").arg(&patch))?;
    }
    fs::write(sources.join(".patched"), "").context("cannot mark the sources as patched")
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    manifest_path: PathBuf,
}

/// Where Cargo unpacked the sources.
fn fetched_sources() -> Result<PathBuf> {
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
    let output = Command::new("cargo")
        .args(["metadata", "--locked", "--format-version=1", "--manifest-path", manifest])
        .output()
        .context("cannot run cargo metadata")?;
    ensure!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    let metadata: Metadata = serde_json::from_slice(&output.stdout).context("cannot read cargo metadata")?;
    let package = metadata.packages.into_iter().find(|package| package.name == SOURCE_CRATE);
    let package = package.with_context(|| format!("Cargo did not fetch {SOURCE_CRATE}"))?;
    Ok(package.manifest_path.with_file_name("llama.cpp"))
}

fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("cannot run {command:?}: is it installed?"))?;
    ensure!(status.success(), "{command:?} ended with {status}");
    Ok(())
}
