//! From installed libraries to a pack's folder.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use nabi_domain::pack::{self, PackFile, PackManifest};

use crate::build::Installed;

/// Writes beside `folder` first, so that a pack is there whole or not at all.
pub(crate) fn write_pack(installed: &Installed, folder: &Path) -> Result<()> {
    let partial = folder.with_extension("partial");
    clear(&partial)?;
    fs::create_dir_all(partial.join("backends"))
        .with_context(|| format!("cannot create {}", partial.display()))?;
    let mut files = Vec::new();
    for library in ["libggml-base.so", "libggml.so", "libllama.so"] {
        files.push(copy(&installed.libraries.join(library), &partial, library)?);
    }
    for backend in backends(&installed.backends)? {
        let name = backend.file_name().and_then(OsStr::to_str).context("a backend's name is not text")?;
        files.push(copy(&backend, &partial, &format!("backends/{name}"))?);
    }
    let cmake = installed.libraries.join("cmake");
    let manifest = PackManifest {
        name: "llama-cpp".into(),
        engine: pack::ENGINE_LLAMA_CPP.into(),
        llama_version: installed_version(&cmake.join("llama/llama-config-version.cmake"))?,
        ggml_version: installed_version(&cmake.join("ggml/ggml-config-version.cmake"))?,
        headers_sha256: headers_sha256(&installed.headers)?,
        files,
    };
    let text = toml::to_string(&manifest).context("cannot write the manifest as TOML")?;
    fs::write(partial.join(pack::MANIFEST_FILE), text).context("cannot write the manifest")?;
    clear(folder)?;
    fs::rename(&partial, folder).with_context(|| format!("cannot move the pack to {}", folder.display()))
}

fn clear(folder: &Path) -> Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| format!("cannot clear {}", folder.display()))?;
    }
    Ok(())
}

/// The loadable backends, in the order of their names.
fn backends(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))? {
        let path = entry?.path();
        if path.extension() == Some(OsStr::new("so")) {
            found.push(path);
        }
    }
    ensure!(!found.is_empty(), "{} holds no backend: was llama.cpp built?", folder.display());
    found.sort();
    Ok(found)
}

fn copy(from: &Path, pack: &Path, name: &str) -> Result<PackFile> {
    let bytes = fs::read(from).with_context(|| format!("cannot read {}", from.display()))?;
    fs::write(pack.join(name), &bytes).with_context(|| format!("cannot write {name}"))?;
    Ok(PackFile { path: name.into(), sha256: pack::sha256_hex(&bytes) })
}

/// `set(PACKAGE_VERSION "0.6.0")` in what cmake installed.
fn installed_version(file: &Path) -> Result<String> {
    let text = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let version =
        text.lines().find_map(|line| line.trim().strip_prefix("set(PACKAGE_VERSION \"")?.strip_suffix("\")"));
    Ok(version.with_context(|| format!("{} names no version", file.display()))?.to_owned())
}

/// One hash over the headers that the bindings are generated from.
pub(crate) fn headers_sha256(include: &Path) -> Result<String> {
    let mut all = Vec::new();
    for name in pack::HEADERS {
        let text = fs::read(include.join(name)).with_context(|| format!("cannot read the header {name}"))?;
        all.extend_from_slice(name.as_bytes());
        all.push(b'\n');
        all.extend_from_slice(&text);
    }
    Ok(pack::sha256_hex(&all))
}
