//! From one prompt of a completion request to what the engine is asked.

use nabi_domain::Piece;
use nabi_wire::engine::{CREDIT_UNBOUNDED, Generate, ModelCard, Refusal};

use super::fields::CompletionRequest;
use crate::answer::STREAM_CREDIT_TOKENS;
use crate::caller::{Caller, ReadyModel, Wanted};
use crate::engine::{Answer, Origin};
use crate::error::{ApiError, Code, FieldError};
use crate::request::prompts::{self, Prompt};

/// Makes the prompt and sends it, by the configuration as it is now.
pub(super) fn send(
    request: &CompletionRequest,
    index: usize,
    caller: &Caller,
) -> Result<(ReadyModel, Answer), ApiError> {
    let model = caller.model(&request.generation.model, Wanted::Text)?;
    let card = &model.session.model.card;
    let prompt = &request.prompts[index];
    // All of them, so that an answer to one has not begun when another is refused.
    for prompt in &request.prompts {
        prompt.check("prompt", card)?;
        let begins = request.suffix.is_some() || (request.is_marked && card.bos.is_some());
        if prompt.is_empty() && !(begins && matches!(prompt, Prompt::Text(_))) {
            return Err(ApiError::Refused { refusal: Refusal::PromptEmpty, param: Some("prompt".into()) });
        }
    }
    let biases = request.generation.sampling.logit_bias.iter().map(|(token, _)| *token);
    prompts::check_tokens("logit_bias", biases, card)?;

    let mut generate = Generate::new(0, pieces(request, prompt, card)?);
    request.generation.apply(&mut generate);
    (generate.share, generate.salt) = (caller.share, caller.salt);
    generate.logprobs = request.logprobs;
    generate.prompt_logprobs = request.engine_prompt_logprobs(prompt);
    generate.credit_tokens = if request.generation.stream { STREAM_CREDIT_TOKENS } else { CREDIT_UNBOUNDED };
    let grammar = request.generation.grammar.as_ref().map(|(_, field)| *field);
    let answer = model.session.generate(generate, Origin { prompt: "prompt", grammar })?;
    Ok((model, answer))
}

fn pieces(request: &CompletionRequest, prompt: &Prompt, card: &ModelCard) -> Result<Vec<Piece>, FieldError> {
    let Some(suffix) = &request.suffix else { return Ok(prompt.pieces(card, request.is_marked)) };
    let Some(fill_in) = card.fill_in else {
        return Err(FieldError {
            param: "suffix".into(),
            code: Code::UnsupportedParameter,
            message: "'suffix' is not supported by this model: it cannot fill in".into(),
        });
    };
    let begin = card.bos.filter(|_| request.is_marked).map(Piece::Token);
    let before = prompt.pieces(card, false);
    let after = [Piece::Token(fill_in.suffix), Piece::Text(suffix.clone()), Piece::Token(fill_in.middle)];
    let pieces = begin.into_iter().chain([Piece::Token(fill_in.prefix)]).chain(before).chain(after);
    Ok(pieces.collect())
}

#[cfg(test)]
mod tests {
    use nabi_wire::engine::FillIn;

    use super::*;

    #[test]
    fn the_gap_lies_between_the_tokens_of_the_model() {
        let fill_in = Some(FillIn { prefix: 10, suffix: 11, middle: 12 });
        let card = ModelCard { fill_in, bos: Some(1), ..nabi_stub_engine::card() };
        let request = CompletionRequest { suffix: Some("after".into()), ..CompletionRequest::default() };
        let made = pieces(&request, &Prompt::Text("before".into()), &card).expect("it fills in");
        let text = |text: &str| Piece::Text(text.into());
        let token = Piece::Token;
        assert_eq!(made, [token(1), token(10), text("before"), token(11), text("after"), token(12)]);
        let error = pieces(&request, &Prompt::Text("x".into()), &ModelCard { fill_in: None, ..card });
        assert_eq!(error.expect_err("it does not").param, "suffix");
    }
}
