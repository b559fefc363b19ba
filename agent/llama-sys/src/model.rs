//! Weights and vocabulary.

use std::ffi::{CStr, CString, c_char, c_void};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::ptr::NonNull;

use crate::bindings::{self, llama_model, llama_token, llama_vocab};
use crate::library::Library;

/// Largest metadata value: chat templates have up to some 30 KB.
const METADATA_BYTES_MAX: usize = 1 << 20;

/// Why a model cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// The path has a NUL byte.
    #[error("the path {} cannot be given to llama.cpp", path.display())]
    Path {
        /// Which.
        path: PathBuf,
    },
    /// llama.cpp refused; the log has its reason.
    #[error("llama.cpp cannot load {}: `nabi logs` has its reason", path.display())]
    Load {
        /// Which.
        path: PathBuf,
    },
    /// A model of a kind that this engine does not run.
    #[error("{} is {kind}, which this engine does not serve", path.display())]
    Kind {
        /// Which.
        path: PathBuf,
        /// What it is.
        kind: &'static str,
    },
}

/// Text that llama.cpp cannot tokenise.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot tokenise a text of {bytes} bytes")]
pub struct TokenizeError {
    /// Its length.
    pub bytes: usize,
}

/// How the vectors of a text's tokens become one vector of the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pooling {
    /// Their mean.
    Mean,
    /// The first one.
    First,
    /// The last one.
    Last,
    /// They become a score for a pair of texts.
    Rank,
}

/// How the tokenizer treats a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenKind {
    /// Made by merges from text.
    Text,
    /// Matched as a whole where control tokens are allowed; without text of its own.
    Control,
    /// Matched as a whole, and text.
    UserDefined,
}

/// A loaded model. What is offered here reads constant data: shared by threads freely.
pub struct Model {
    library: &'static Library,
    raw: NonNull<llama_model>,
    vocab: NonNull<llama_vocab>,
    vocabulary_tokens: u32,
}

// SAFETY: after loading, llama.cpp does not change a model or its vocabulary; the functions used
// below take const pointers and keep no state (llama-vocab.cpp makes a session for each call).
unsafe impl Send for Model {}
// SAFETY: as above.
unsafe impl Sync for Model {}

impl Model {
    /// Loads a GGUF file (of a split one, the first). `progress` gets 0.0 to 1.0; false gives up.
    pub fn load(
        library: &'static Library,
        path: &Path,
        mut progress: impl FnMut(f32) -> bool,
    ) -> Result<Self, ModelError> {
        let Ok(name) = CString::new(path.as_os_str().as_bytes()) else {
            return Err(ModelError::Path { path: path.to_owned() });
        };
        let llama = &library.llama;
        let mut progress: &mut dyn FnMut(f32) -> bool = &mut progress;
        // SAFETY: no argument, plain struct.
        let mut params = unsafe { llama.llama_model_default_params() };
        params.progress_callback = Some(on_progress);
        params.progress_callback_user_data = (&raw mut progress).cast();
        // SAFETY: the path is NUL-terminated; `progress` outlives the call, during which alone it is used.
        let raw = unsafe { llama.llama_model_load_from_file(name.as_ptr(), params) };
        let raw = NonNull::new(raw).ok_or_else(|| ModelError::Load { path: path.to_owned() })?;
        // SAFETY: the model is loaded; its vocabulary lives as long as it does.
        let vocab = unsafe { llama.llama_model_get_vocab(raw.as_ptr()) };
        let Some(vocab) = NonNull::new(vocab.cast_mut()) else {
            // SAFETY: made above, freed once.
            unsafe { llama.llama_model_free(raw.as_ptr()) };
            return Err(ModelError::Load { path: path.to_owned() });
        };
        // SAFETY: valid vocabulary.
        let tokens = unsafe { llama.llama_vocab_n_tokens(vocab.as_ptr()) };
        let model = Self { library, raw, vocab, vocabulary_tokens: u32::try_from(tokens).unwrap_or(0) };
        match model.unfit() {
            Some(kind) => Err(ModelError::Kind { path: path.to_owned(), kind }),
            None => Ok(model),
        }
    }

    /// What kind of model it is, if this layer has no way to run it.
    fn unfit(&self) -> Option<&'static str> {
        let (llama, raw) = (&self.library.llama, self.raw());
        // SAFETY: valid model, in each of these calls.
        let (encodes, decodes, recurrent, diffusion) = unsafe {
            (
                llama.llama_model_has_encoder(raw),
                llama.llama_model_has_decoder(raw),
                llama.llama_model_is_recurrent(raw),
                llama.llama_model_is_diffusion(raw),
            )
        };
        if encodes && decodes {
            Some("a model with an encoder and a decoder")
        } else if recurrent {
            Some("a purely recurrent model")
        } else if diffusion {
            Some("a diffusion model")
        } else {
            None
        }
    }

    /// Whether part of a sequence's state is of fixed size and overwritten by each token, so that
    /// the state cannot be cut back: recurrent layers, or attention with a window.
    pub fn forgets(&self) -> bool {
        let (llama, raw) = (&self.library.llama, self.raw());
        // SAFETY: valid model, twice.
        unsafe { llama.llama_model_is_hybrid(raw) || llama.llama_model_n_swa(raw) > 0 }
    }

    /// How it gives vectors for texts; none if it generates text. Encoders whose file does not say
    /// how are taken to mean the mean, as most do.
    pub fn pooling(&self) -> Option<Pooling> {
        let architecture = self.metadata("general.architecture")?;
        match self.metadata(&format!("{architecture}.pooling_type")).as_deref() {
            Some("1") => Some(Pooling::Mean),
            Some("2") => Some(Pooling::First),
            Some("3") => Some(Pooling::Last),
            Some("4") => Some(Pooling::Rank),
            _ => (!self.is_causal(&architecture)).then_some(Pooling::Mean),
        }
    }

    /// Whether a token sees only those before it.
    fn is_causal(&self, architecture: &str) -> bool {
        self.metadata(&format!("{architecture}.attention.causal")).as_deref() != Some("false")
    }

    /// The length of the vectors that it gives for texts.
    pub fn vector_numbers(&self) -> u32 {
        // SAFETY: valid model.
        let numbers = unsafe { self.library.llama.llama_model_n_embd_out(self.raw()) };
        u32::try_from(numbers).unwrap_or(0)
    }

    pub(crate) fn library(&self) -> &'static Library {
        self.library
    }

    pub(crate) fn raw(&self) -> *mut llama_model {
        self.raw.as_ptr()
    }

    /// The context in tokens that the model was trained for.
    pub fn trained_context_tokens(&self) -> u32 {
        // SAFETY: valid model.
        let tokens = unsafe { self.library.llama.llama_model_n_ctx_train(self.raw.as_ptr()) };
        u32::try_from(tokens).unwrap_or(0)
    }

    /// Tokens in the vocabulary.
    pub fn vocabulary_tokens(&self) -> u32 {
        self.vocabulary_tokens
    }

    /// A value of the file's header, as text; none of more than 1 MiB.
    pub fn metadata(&self, key: &str) -> Option<String> {
        let key = CString::new(key).ok()?;
        let mut buffer = vec![0_u8; 4096];
        loop {
            // SAFETY: valid model and key; the length given is the buffer's.
            let length = unsafe {
                let (out, size) = (buffer.as_mut_ptr().cast(), buffer.len());
                self.library.llama.llama_model_meta_val_str(self.raw.as_ptr(), key.as_ptr(), out, size)
            };
            let length = usize::try_from(length).ok()?;
            if length < buffer.len() {
                buffer.truncate(length);
                return Some(String::from_utf8_lossy(&buffer).into_owned());
            }
            if length >= METADATA_BYTES_MAX {
                return None;
            }
            buffer.resize(length + 1, 0);
        }
    }

    fn token(&self, id: u32) -> Option<llama_token> {
        (id < self.vocabulary_tokens).then(|| id.cast_signed())
    }

    /// How a token is written in the vocabulary.
    pub fn token_text(&self, id: u32) -> Option<String> {
        let token = self.token(id)?;
        // SAFETY: valid vocabulary, id in range; the string belongs to the model.
        let text = unsafe { self.library.llama.llama_vocab_get_text(self.vocab.as_ptr(), token) };
        // SAFETY: not null, NUL-terminated.
        (!text.is_null()).then(|| unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned())
    }

    /// How the tokenizer treats a token.
    pub fn token_kind(&self, id: u32) -> Option<TokenKind> {
        let token = self.token(id)?;
        // SAFETY: valid vocabulary, id in range.
        let attributes = unsafe { self.library.llama.llama_vocab_get_attr(self.vocab.as_ptr(), token) };
        Some(if attributes & (bindings::LLAMA_TOKEN_ATTR_CONTROL | bindings::LLAMA_TOKEN_ATTR_UNKNOWN) != 0 {
            TokenKind::Control
        } else if attributes & bindings::LLAMA_TOKEN_ATTR_USER_DEFINED != 0 {
            TokenKind::UserDefined
        } else {
            TokenKind::Text
        })
    }

    /// What a token adds to the text: bytes, since a character may lie across tokens. Empty for
    /// control tokens.
    pub fn token_bytes(&self, id: u32) -> Vec<u8> {
        let Some(token) = self.token(id) else { return Vec::new() };
        let mut buffer = vec![0_u8; 64];
        loop {
            let size = i32::try_from(buffer.len()).unwrap_or(i32::MAX);
            // SAFETY: valid vocabulary, id in range; the length given is the buffer's.
            let length = unsafe {
                let out = buffer.as_mut_ptr().cast::<c_char>();
                self.library.llama.llama_token_to_piece(self.vocab.as_ptr(), token, out, size, 0, false)
            };
            match usize::try_from(length) {
                Ok(length) => {
                    buffer.truncate(length);
                    return buffer;
                }
                // The negative of the length that is needed.
                Err(_) => buffer.resize(length.unsigned_abs() as usize, 0),
            }
        }
    }

    /// Whether an answer ends with this token.
    pub fn ends(&self, id: u32) -> bool {
        // SAFETY: valid vocabulary, id in range.
        self.token(id)
            .is_some_and(|t| unsafe { self.library.llama.llama_vocab_is_eog(self.vocab.as_ptr(), t) })
    }

    /// The token that begins a sequence.
    pub fn bos(&self) -> Option<u32> {
        // SAFETY: valid vocabulary.
        u32::try_from(unsafe { self.library.llama.llama_vocab_bos(self.vocab.as_ptr()) }).ok()
    }

    /// The token that ends a sequence.
    pub fn eos(&self) -> Option<u32> {
        // SAFETY: valid vocabulary.
        u32::try_from(unsafe { self.library.llama.llama_vocab_eos(self.vocab.as_ptr()) }).ok()
    }

    /// Whether the tokenizer puts [`Self::bos`] before plain text.
    pub fn adds_bos(&self) -> bool {
        // SAFETY: valid vocabulary.
        unsafe { self.library.llama.llama_vocab_get_add_bos(self.vocab.as_ptr()) }
    }

    /// The tokens that the tokenizer puts before and after a text, where it asks for any.
    pub fn text_ends(&self) -> (Option<u32>, Option<u32>) {
        let (llama, vocab) = (&self.library.llama, self.vocab.as_ptr());
        // SAFETY: valid vocabulary, in each of these calls.
        let (adds_eos, adds_separator, separator) = unsafe {
            (
                llama.llama_vocab_get_add_eos(vocab),
                llama.llama_vocab_get_add_sep(vocab),
                llama.llama_vocab_sep(vocab),
            )
        };
        let before = self.adds_bos().then(|| self.bos()).flatten();
        let after = if adds_separator {
            u32::try_from(separator).ok()
        } else {
            adds_eos.then(|| self.eos()).flatten()
        };
        (before, after)
    }

    /// The tokens around the parts of a text whose middle is wanted: before the text before, before
    /// the text after, and at the end.
    pub fn fill_in(&self) -> Option<[u32; 3]> {
        let (llama, vocab) = (&self.library.llama, self.vocab.as_ptr());
        // SAFETY: valid vocabulary, in each of these calls.
        let tokens = unsafe {
            [
                llama.llama_vocab_fim_pre(vocab),
                llama.llama_vocab_fim_suf(vocab),
                llama.llama_vocab_fim_mid(vocab),
            ]
        };
        match tokens.map(u32::try_from) {
            [Ok(prefix), Ok(suffix), Ok(middle)] => Some([prefix, suffix, middle]),
            _ => None,
        }
    }

    /// The tokens of plain text. Control tokens are not recognised; user-defined ones are.
    pub fn tokenize(&self, text: &str) -> Result<Vec<u32>, TokenizeError> {
        let failed = TokenizeError { bytes: text.len() };
        let bytes = i32::try_from(text.len()).map_err(|_| failed.clone())?;
        // A token has at least one byte; a tokenizer may add a space in front.
        let mut tokens: Vec<llama_token> = vec![0; text.len() + 8];
        let room = i32::try_from(tokens.len()).map_err(|_| failed.clone())?;
        // SAFETY: text and buffer with their lengths; valid vocabulary.
        let count = unsafe {
            let (text, out) = (text.as_ptr().cast(), tokens.as_mut_ptr());
            self.library.llama.llama_tokenize(self.vocab.as_ptr(), text, bytes, out, room, false, false)
        };
        tokens.truncate(usize::try_from(count).map_err(|_| failed.clone())?);
        tokens.into_iter().map(|token| u32::try_from(token).map_err(|_| failed.clone())).collect()
    }
}

impl Drop for Model {
    fn drop(&mut self) {
        // SAFETY: made by `load`, freed once; a `Context` holds the model by `Arc` and goes first.
        unsafe { self.library.llama.llama_model_free(self.raw.as_ptr()) };
    }
}

unsafe extern "C" fn on_progress(done: f32, data: *mut c_void) -> bool {
    // SAFETY: `data` points to the closure reference on `load`'s stack, alive during the load.
    let progress = unsafe { &mut *data.cast::<&mut dyn FnMut(f32) -> bool>() };
    progress(done)
}
