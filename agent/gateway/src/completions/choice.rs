//! The choices of a completion request as they come: with several prompts, those of the first
//! prompt come first.

use std::sync::Arc;

use nabi_wire::engine::{Delta, ScoredToken, Usage};
use serde_json::Value;

use super::fields::CompletionRequest;
use super::logprobs::{self, Logprobs};
use super::{Item, News};
use crate::answer;
use crate::engine::{Event, Session};
use crate::error::{ApiError, FieldError};
use crate::request::prompts::Prompt;

/// Log-probabilities of all prompts of one request together, each token's alternatives included.
const PROMPT_SCORES_MAX: usize = 1 << 20;

/// What an event adds to one choice.
#[derive(Debug)]
pub(super) struct Step {
    pub(super) index: usize,
    pub(super) text: String,
    pub(super) logprobs: Option<Logprobs>,
    pub(super) prompt_logprobs: Option<Value>,
    pub(super) finish_reason: Option<&'static str>,
}

/// All answers to a request.
pub(super) struct Completion {
    request: Arc<CompletionRequest>,
    prompts: Vec<PromptState>,
    /// Prompts whose answers have not ended.
    open: usize,
    /// Log-probabilities of prompts that have come.
    scores: usize,
    usage: Usage,
}

#[derive(Default)]
struct PromptState {
    /// Who answers it.
    session: Option<Arc<Session>>,
    scored: Vec<ScoredToken>,
    choices: Vec<ChoiceState>,
}

#[derive(Debug, Clone, Default)]
struct ChoiceState {
    has_begun: bool,
    /// Characters of the choice's text so far, as its tokens tell it.
    characters: usize,
    /// Of tokens whose text has not come.
    held: Vec<ScoredToken>,
}

impl Completion {
    pub(super) fn new(request: &Arc<CompletionRequest>) -> Self {
        let choices = vec![ChoiceState::default(); request.generation.choices as usize];
        let prompt = |_| PromptState { choices: choices.clone(), ..PromptState::default() };
        let prompts: Vec<_> = request.prompts.iter().map(prompt).collect();
        Self {
            request: Arc::clone(request),
            open: prompts.len(),
            scores: 0,
            prompts,
            usage: Usage::default(),
        }
    }

    pub(super) fn choices(&self) -> usize {
        self.prompts.len() * self.request.generation.choices as usize
    }

    /// What all answers took, once all have ended.
    pub(super) fn usage(&self) -> Option<Usage> {
        (self.open == 0).then_some(self.usage)
    }

    /// Reads on.
    pub(super) fn read(&mut self, Item { prompt, news }: Item) -> Result<Option<Step>, ApiError> {
        let event = match news {
            News::Event(event) => event,
            News::Begun(model) => {
                self.prompts[prompt].session = Some(model.session);
                return Ok(None);
            }
        };
        match event {
            Event::Prompt(mut tokens) => {
                self.scores += tokens.iter().map(|token| 1 + token.top.len()).sum::<usize>();
                if self.scores > PROMPT_SCORES_MAX {
                    return Err(self.too_many_scores().into());
                }
                self.prompts[prompt].scored.append(&mut tokens);
                Ok(None)
            }
            Event::Delta(delta) => self.step(prompt, delta).map(Some),
            Event::Finished(usage) => {
                answer::add(&mut self.usage, usage);
                self.open -= 1;
                Ok(None)
            }
            Event::Embedded(..) | Event::Tokens(_) => Ok(None),
        }
    }

    fn too_many_scores(&self) -> FieldError {
        let field = if self.request.prompt_logprobs.is_some() { "prompt_logprobs" } else { "logprobs" };
        FieldError::invalid(
            field,
            format_args!(
                "asks for more than {PROMPT_SCORES_MAX} log-probabilities of prompts: send fewer or shorter prompts"
            ),
        )
    }

    fn step(&mut self, prompt: usize, delta: Delta) -> Result<Step, ApiError> {
        let Self { request, prompts, .. } = self;
        let PromptState { session, scored, choices } = &mut prompts[prompt];
        let session = session.as_ref().ok_or(ApiError::Internal)?;
        let number = delta.choice as usize;
        // An engine gives no choice that was not asked for.
        let choice = choices.get_mut(number).ok_or(ApiError::EngineLost)?;
        let is_first = !std::mem::replace(&mut choice.has_begun, true);
        let mut step = Step {
            index: prompt * request.generation.choices as usize + number,
            text: String::new(),
            logprobs: None,
            prompt_logprobs: None,
            finish_reason: delta.end.map(answer::finish_reason),
        };
        let mut logprobs = request.logprobs.map(|_| Logprobs::default());
        if is_first {
            step.prompt_logprobs = request.prompt_logprobs.map(|top| logprobs::by_id(scored, top));
            if request.echo {
                let echo = Echo { request, prompt: &request.prompts[prompt], session };
                step.text = echo.text(scored);
                choice.characters = echo.score(scored, &mut logprobs);
            }
        }
        delta.pieces.iter().for_each(|piece| step.text.push_str(session.model.text(piece)));
        choice.held.extend(delta.logprobs);
        let is_shown = !step.text.is_empty() || step.finish_reason.is_some() || (is_first && request.echo);
        if let (Some(mut logprobs), true) = (logprobs, is_shown) {
            for token in choice.held.drain(..) {
                logprobs.push(&token, choice.characters, request.logprobs.unwrap_or(0));
                if !session.model.is_control(token.text.token) {
                    choice.characters += logprobs::characters(&token.text.bytes);
                }
            }
            step.logprobs = Some(logprobs);
        }
        Ok(step)
    }
}

/// The prompt as the beginning of an answer.
struct Echo<'a> {
    request: &'a CompletionRequest,
    prompt: &'a Prompt,
    session: &'a Session,
}

impl Echo<'_> {
    fn text(&self, scored: &[ScoredToken]) -> String {
        match self.prompt {
            Prompt::Text(text) => text.clone(),
            Prompt::Tokens(_) => {
                let bytes: Vec<u8> =
                    scored.iter().flat_map(|token| token.text.bytes.iter().copied()).collect();
                String::from_utf8_lossy(&bytes).into_owned()
            }
        }
    }

    /// Adds the prompt's tokens; gives the characters of its text.
    fn score(&self, scored: &[ScoredToken], logprobs: &mut Option<Logprobs>) -> usize {
        // The token that begins a text is not part of what the caller wrote.
        let is_added = matches!(self.prompt, Prompt::Text(_))
            && self.request.is_marked
            && self.session.model.card.bos.is_some();
        let mut characters = 0;
        for (index, token) in scored.iter().enumerate() {
            if let (Some(logprobs), Some(top)) = (logprobs.as_mut(), self.request.logprobs) {
                logprobs.push(token, characters, top);
            }
            if index > 0 || !is_added {
                characters += logprobs::characters(&token.text.bytes);
            }
        }
        characters
    }
}
