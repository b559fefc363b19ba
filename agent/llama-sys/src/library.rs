//! Opening the libraries of a kernel pack.

use std::ffi::{CStr, CString, OsStr, c_char, c_int, c_void};
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use libloading::os::unix::Library as Dl;
use sha2::{Digest, Sha256};

use crate::bindings::{self, Llama};

/// A file with the hash that it must have.
#[derive(Debug, Clone)]
pub struct PinnedFile {
    /// Absolute path.
    pub path: PathBuf,
    /// SHA-256, hexadecimal.
    pub sha256: String,
}

/// The libraries of a pack.
#[derive(Debug, Clone)]
pub struct PackFiles {
    /// `libggml-base.so`.
    pub ggml_base: PinnedFile,
    /// `libggml.so`.
    pub ggml: PinnedFile,
    /// `libllama.so`.
    pub llama: PinnedFile,
    /// Loadable backends: the one that says it fits this CPU best is taken.
    pub backends: Vec<PinnedFile>,
}

/// Why a pack cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// Structs go by value between us and the library: with other headers the stack is corrupted.
    #[error(
        "the kernel pack was built from headers {theirs}, this engine from {}: build both anew",
        bindings::HEADERS_SHA256
    )]
    Headers {
        /// What the pack names.
        theirs: String,
    },
    /// A file is missing or cannot be read.
    #[error("cannot read {}: build the kernel pack anew", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A file is not the one that was checked.
    #[error("{} has changed since its pack was made: build the kernel pack anew", path.display())]
    Changed {
        /// Which.
        path: PathBuf,
    },
    /// The dynamic loader refuses.
    #[error("cannot load {}", path.display())]
    Open {
        /// Which.
        path: PathBuf,
        /// What the loader says.
        source: libloading::Error,
    },
    /// No backend of the pack runs on this CPU.
    #[error("none of the pack's {backends} backends runs on this machine's CPU")]
    NoBackend {
        /// How many there are.
        backends: usize,
    },
    /// ggml refused the backend; its reason is in the log.
    #[error("ggml does not accept the backend {}", path.display())]
    BackendRefused {
        /// Which.
        path: PathBuf,
    },
    /// One process has one engine.
    #[error("llama.cpp is loaded already: a process can load it once")]
    Twice,
}

/// llama.cpp with one backend, ready to load a model.
pub struct Library {
    pub(crate) llama: Llama,
    version: String,
    backend: String,
}

static LOADED: OnceLock<()> = OnceLock::new();

impl Library {
    /// Checks the files against their hashes and loads them, for the life of the process.
    pub fn load(files: &PackFiles, headers_sha256: &str) -> Result<&'static Self, LoadError> {
        if headers_sha256 != bindings::HEADERS_SHA256 {
            return Err(LoadError::Headers { theirs: headers_sha256.to_owned() });
        }
        for file in [&files.ggml_base, &files.ggml, &files.llama].into_iter().chain(&files.backends) {
            check_hash(file)?;
        }
        LOADED.set(()).map_err(|()| LoadError::Twice)?;
        // Kept for ever: what they register must never be unmapped. The others find ggml-base by its name.
        std::mem::forget(open(&files.ggml_base.path)?);
        let ggml: &'static Dl = Box::leak(Box::new(open(&files.ggml.path)?));
        let llama = open(&files.llama.path)?;
        let failed = |source| LoadError::Open { path: files.llama.path.clone(), source };
        // SAFETY: the library is the one whose headers the bindings were generated from (checked above).
        let llama = unsafe { Llama::from_library(llama) }.map_err(failed)?;
        // SAFETY: the callback is a plain function that ignores its data pointer, and stays for ever.
        unsafe { llama.llama_log_set(Some(log_line), std::ptr::null_mut()) };
        let backend = best_backend(&files.backends)?;
        load_backend(ggml, &backend)?;
        // SAFETY: no argument; called once, before anything else.
        unsafe { llama.llama_backend_init() };
        // SAFETY: returns a static, NUL-terminated string.
        let version = unsafe { CStr::from_ptr(llama.llama_version()) }.to_string_lossy().into_owned();
        let name = backend.file_stem().unwrap_or_default().to_string_lossy();
        let backend = name.strip_prefix("lib").unwrap_or(&name).to_owned();
        Ok(Box::leak(Box::new(Self { llama, version, backend })))
    }

    /// llama.cpp's version.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The backend that was chosen, such as `ggml-cpu-zen4`.
    pub fn backend(&self) -> &str {
        &self.backend
    }
}

/// Ends this process at once. [`std::process::exit`] would run the destructors of llama.cpp's
/// libraries under a thread that still loads or computes, which crashes or hangs.
pub fn exit_now(status: u8) -> ! {
    unsafe extern "C" {
        // POSIX: never returns, runs nothing of the process, and any status is allowed.
        safe fn _exit(status: c_int) -> !;
    }
    _exit(c_int::from(status))
}

fn check_hash(file: &PinnedFile) -> Result<(), LoadError> {
    let failed = |source| LoadError::Read { path: file.path.clone(), source };
    let bytes = fs::read(&file.path).map_err(failed)?;
    let found: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    if found == file.sha256 { Ok(()) } else { Err(LoadError::Changed { path: file.path.clone() }) }
}

fn open(path: &Path) -> Result<Dl, LoadError> {
    // SAFETY: the file's hash was compared with the pack's manifest, which is trusted; its
    // initialisers are those of ggml and llama.cpp and have no preconditions.
    let opened = unsafe { Dl::open(Some(path), flags()) };
    opened.map_err(|source| LoadError::Open { path: path.to_owned(), source })
}

/// All symbols at once, so that a missing one is an error here, and none visible to others.
fn flags() -> c_int {
    libloading::os::unix::RTLD_NOW | libloading::os::unix::RTLD_LOCAL
}

/// Each backend tells by a score whether it runs on this CPU: 0 means no.
fn best_backend(backends: &[PinnedFile]) -> Result<PathBuf, LoadError> {
    let mut best: Option<(c_int, &Path)> = None;
    for backend in backends {
        let library = open(&backend.path)?;
        let failed = |source| LoadError::Open { path: backend.path.clone(), source };
        // SAFETY: ggml-backend-impl.h declares `int ggml_backend_score(void)`.
        let score = unsafe { library.get::<unsafe extern "C" fn() -> c_int>(b"ggml_backend_score") }
            .map_err(failed)?;
        // SAFETY: no argument; reads CPUID only.
        let score = unsafe { score() };
        if score > 0 && best.is_none_or(|(highest, _)| score > highest) {
            best = Some((score, &backend.path));
        }
    }
    let (_, path) = best.ok_or(LoadError::NoBackend { backends: backends.len() })?;
    Ok(path.to_owned())
}

/// Registers the backend. By name of the file: ggml searches folders and the environment otherwise.
fn load_backend(ggml: &'static Dl, path: &Path) -> Result<(), LoadError> {
    let failed = |source| LoadError::Open { path: path.to_owned(), source };
    // SAFETY: ggml-backend.h declares `ggml_backend_reg_t ggml_backend_load(const char * path)`.
    let load =
        unsafe { ggml.get::<unsafe extern "C" fn(*const c_char) -> *mut c_void>(b"ggml_backend_load") }
            .map_err(failed)?;
    let Ok(name) = CString::new(OsStr::as_bytes(path.as_os_str())) else {
        return Err(LoadError::BackendRefused { path: path.to_owned() });
    };
    // SAFETY: the path is NUL-terminated and outlives the call; the result is only compared with null.
    let registered = unsafe { load(name.as_ptr()) };
    if registered.is_null() { Err(LoadError::BackendRefused { path: path.to_owned() }) } else { Ok(()) }
}

/// llama.cpp's own lines go to standard error as they are: warnings and errors only.
unsafe extern "C" fn log_line(level: bindings::ggml_log_level, text: *const c_char, _data: *mut c_void) {
    if text.is_null() || !(bindings::GGML_LOG_LEVEL_WARN..=bindings::GGML_LOG_LEVEL_ERROR).contains(&level) {
        return;
    }
    // SAFETY: llama.cpp passes a NUL-terminated string that lives during the call.
    let text = unsafe { CStr::from_ptr(text) };
    // A log that cannot be written has nowhere to be reported.
    let _ = io::stderr().write_all(text.to_bytes());
}
