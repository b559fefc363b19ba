//! Requests as each route reads them, before any model is asked: pure, for tests and fuzzing.

use nabi_prompt::Chat;
use nabi_wire::engine::Generate;

use crate::error::ApiError;
use crate::{chat, completions, embeddings, tokenize};

/// Routes that take a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    /// `POST /v1/chat/completions`
    Chat,
    /// `POST /v1/completions`
    Completions,
    /// `POST /v1/embeddings`
    Embeddings,
    /// `POST /tokenize`
    Tokenize,
    /// `POST /detokenize`
    Detokenize,
}

/// What a body asks for, as far as it does not depend on a model.
#[derive(Debug, Default)]
pub struct Request {
    /// The chat to make a prompt of.
    pub chat: Option<Chat>,
    /// What the engine would be asked, without the prompt.
    pub generate: Option<Generate>,
}

/// The answer to a body that is refused.
#[derive(Debug)]
pub struct Refused {
    /// Of HTTP.
    pub status: u16,
    /// JSON in OpenAI's form.
    pub body: String,
}

impl From<ApiError> for Refused {
    fn from(error: ApiError) -> Self {
        let body = serde_json::to_string(&error.body()).expect("an error has only texts");
        Self { status: error.status().as_u16(), body }
    }
}

impl Route {
    /// Reads a body.
    ///
    /// # Errors
    /// When the route refuses it, whatever model it names.
    pub fn read(self, body: &[u8]) -> Result<Request, Refused> {
        match self {
            Self::Chat => {
                let request = chat::fields::TABLE.parse(body)?.request;
                let mut generate = Generate::new(0, Vec::new());
                request.generation.apply(&mut generate);
                Ok(Request { chat: Some(request.chat), generate: Some(generate) })
            }
            Self::Completions => {
                let request = completions::fields::TABLE.parse(body)?.request;
                let mut generate = Generate::new(0, Vec::new());
                request.generation.apply(&mut generate);
                (generate.logprobs, generate.prompt_logprobs) = (request.logprobs, request.prompt_logprobs);
                Ok(Request { chat: None, generate: Some(generate) })
            }
            Self::Embeddings => {
                embeddings::TABLE.parse(body).map(|_| Request::default()).map_err(Refused::from)
            }
            Self::Tokenize => {
                let request = tokenize::TOKENIZE.parse(body)?.request;
                Ok(Request { chat: request.chat, generate: None })
            }
            Self::Detokenize => {
                tokenize::DETOKENIZE.parse(body).map(|_| Request::default()).map_err(Refused::from)
            }
        }
    }
}
