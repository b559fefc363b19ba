//! Reading a kernel pack's manifest.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use nabi_domain::pack::{MANIFEST_BYTES_MAX, MANIFEST_FILE, PackManifest};
use nabi_llama_sys::{HEADERS_SHA256, PackFiles, PinnedFile};

/// A pack whose manifest was checked; its files are checked when they are loaded.
pub(crate) struct Pack {
    pub(crate) manifest: PackManifest,
    pub(crate) files: PackFiles,
}

impl Pack {
    pub(crate) fn read(folder: &Path) -> Result<Self> {
        let path = folder.join(MANIFEST_FILE);
        let doing = || format!("cannot read the kernel pack {}: build it with `make pack`", path.display());
        ensure!(
            fs::metadata(&path).with_context(doing)?.len() <= MANIFEST_BYTES_MAX,
            "{} is too long",
            path.display()
        );
        let text = fs::read_to_string(&path).with_context(doing)?;
        let manifest: PackManifest = toml::from_str(&text).with_context(doing)?;
        manifest.check(HEADERS_SHA256)?;
        let pinned = |name: &str| -> Result<PinnedFile> {
            let file = manifest.files.iter().find(|file| file.path == name);
            let file = file.with_context(|| format!("the pack {} lacks {name}", folder.display()))?;
            Ok(PinnedFile { path: folder.join(name), sha256: file.sha256.clone() })
        };
        let files = PackFiles {
            ggml_base: pinned("libggml-base.so")?,
            ggml: pinned("libggml.so")?,
            llama: pinned("libllama.so")?,
            backends: manifest
                .files
                .iter()
                .filter(|file| file.path.starts_with("backends/"))
                .map(|file| pinned(&file.path))
                .collect::<Result<_>>()?,
        };
        Ok(Self { manifest, files })
    }
}
