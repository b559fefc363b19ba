//! Where an answer is in its grammar.

use llguidance::toktrie::SimpleVob;

/// Bytes of llguidance's message that are told on.
const MESSAGE_BYTES_MAX: usize = 300;

/// A grammar, and where an answer is in it. Clones go on independently of each other: one that
/// becomes too complex does not take the others with it.
pub struct Matcher(llguidance::Matcher);

impl Clone for Matcher {
    fn clone(&self) -> Self {
        Self(self.0.deep_clone())
    }
}

/// Which tokens may come next.
pub struct Mask(SimpleVob);

impl Mask {
    /// One bit for each token, the first token's lowest.
    pub fn words(&self) -> &[u32] {
        self.0.as_slice()
    }

    /// One token that may come.
    pub(super) fn first(&self) -> Option<u32> {
        let (at, word) = self.words().iter().enumerate().find(|&(_, &word)| word != 0)?;
        Some(at as u32 * u32::BITS + word.trailing_zeros())
    }
}

/// Why a grammar cannot be used, or no further.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the grammar cannot be used: {what}")]
pub struct GrammarError {
    /// For whoever wrote the grammar.
    pub what: String,
}

impl From<anyhow::Error> for GrammarError {
    fn from(error: anyhow::Error) -> Self {
        let text = format!("{error:#}");
        // Dumps of llguidance's state follow in lines of their own.
        let what = text.split("\n<").next().unwrap_or_default().trim();
        let end = what.floor_char_boundary(MESSAGE_BYTES_MAX);
        Self { what: what[..end].into() }
    }
}

impl Matcher {
    pub(super) fn new(parser: llguidance::TokenParser) -> Self {
        Self(llguidance::Matcher::new(Ok(parser)))
    }

    /// The tokens with which the answer can go on. The model's end tokens are among them exactly
    /// where the answer may end, and alone where it must.
    pub fn mask(&mut self) -> Result<Mask, GrammarError> {
        let mask = self.0.compute_mask_or_eos();
        mask.map(Mask).map_err(|error| self.explained(error))
    }

    /// The answer goes on with one of [`Self::mask`]'s tokens.
    pub fn accept(&mut self, token: u32) -> Result<(), GrammarError> {
        if self.0.is_stopped() && !self.0.is_error() {
            // Only an end token was left.
            return Ok(());
        }
        self.0.consume_token(token).map_err(|error| self.explained(error))
    }

    fn explained(&self, error: anyhow::Error) -> GrammarError {
        let error = GrammarError::from(error);
        // llguidance has only the name of the reason for this.
        match error.what.as_str() {
            "NoExtensionBias" => GrammarError { what: "no token of this model can go on with it".into() },
            _ => error,
        }
    }
}
