//! What the engine says of itself, and how it answers.

use nabi_domain::{AddedToken, ChatTemplate, Piece};
use nabi_wire::engine::{Delta, FinishReason, ModelCard, Refusal};
use serde::{Deserialize, Serialize};

/// A whole script; as JSON, each field may be left out.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Script {
    /// What the engine says of its model.
    pub card: ModelCard,
    /// So long it says that it is loading.
    pub loading_ms: u64,
    /// The first rule that matches a prompt answers it; with none, its words come back.
    pub rules: Vec<Rule>,
}

impl Default for Script {
    fn default() -> Self {
        Self { card: card(), loading_ms: 0, rules: Vec::new() }
    }
}

/// How prompts with a certain text are answered.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// A text that the prompt contains within one of its pieces; empty matches every prompt.
    pub contains: String,
    /// What happens, in this order. A script without an end finishes with `stop`.
    pub steps: Vec<Step>,
}

/// One step of an answer.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// Send this as one delta of one token of the first choice.
    Text(String),
    /// The same for another choice.
    Choice(u32, String),
    /// Send a token whose text is not complete yet.
    Token(u32),
    /// Send an added token as itself.
    Added(u32),
    /// Send this; its id is set to the request's.
    Delta(Box<Delta>),
    /// Say at the end that so many of the prompt's tokens had been computed before.
    Cached(u32),
    /// Wait so many milliseconds.
    WaitMs(u64),
    /// Wait until the test releases it; in the program, until it is aborted.
    Hold,
    /// End all choices that have not ended, and the answer.
    Finish(FinishReason),
    /// Refuse the request, or fail in its middle.
    Refuse(Refusal),
    /// End the whole engine as a crash would.
    Die,
}

impl Script {
    /// The steps for a prompt, or none when its words are to come back.
    pub(crate) fn steps(&self, pieces: &[Piece]) -> Option<&[Step]> {
        let holds =
            |text: &str| pieces.iter().any(|piece| matches!(piece, Piece::Text(part) if part.contains(text)));
        let matches = |rule: &&Rule| rule.contains.is_empty() || holds(&rule.contains);
        self.rules.iter().find(matches).map(|rule| rule.steps.as_slice())
    }
}

/// A model with a ChatML template, whose tokens are words.
pub fn card() -> ModelCard {
    let added = |id, literal: &str| AddedToken { id, literal: literal.into(), special: true };
    ModelCard {
        name: "stub".parse().expect("a valid name"),
        architecture: "stub".into(),
        context_tokens: 4096,
        vocabulary_tokens: 65_536,
        template: Some(ChatTemplate {
            jinja: "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] \
                    + '<|im_end|>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}\
                    {% endif %}"
                .into(),
            bos_token: "<|im_start|>".into(),
            eos_token: "<|im_end|>".into(),
        }),
        added_tokens: vec![added(0, "<|endoftext|>"), added(1, "<|im_start|>"), added(2, "<|im_end|>")],
        bos: None,
        engine: "stub".into(),
        kernel: "none".into(),
        sequences_max: 256,
        generates: true,
        embedding_numbers: None,
        fill_in: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_of_a_file_says_only_what_differs() {
        let script: Script = serde_json::from_str(
            r#"{"loading_ms": 50, "rules": [
                {"contains": "hello", "steps": [{"text": "Hi"}, {"wait_ms": 5}, {"token": 7}, {"finish": "Length"}]},
                {"contains": "full", "steps": [{"refuse": {"QueueFull": {"queue_requests_max": 3}}}]},
                {"contains": "", "steps": ["hold", "die"]}
            ]}"#,
        )
        .expect("a script");
        assert_eq!((script.loading_ms, script.card.name.as_str()), (50, "stub"));
        let steps = |text: &str| script.steps(&[Piece::Token(1), Piece::Text(text.into())]);
        assert!(matches!(
            steps("oh hello"),
            Some([Step::Text(_), Step::WaitMs(5), Step::Token(7), Step::Finish(FinishReason::Length)])
        ));
        assert!(matches!(steps("full"), Some([Step::Refuse(Refusal::QueueFull { queue_requests_max: 3 })])));
        assert!(matches!(steps("other"), Some([Step::Hold, Step::Die])));
        assert!(Script::default().steps(&[Piece::Text("x".into())]).is_none());
        assert!(serde_json::from_str::<Script>(r#"{"rule": []}"#).is_err());
    }
}
