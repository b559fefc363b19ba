//! A compiled chat template, and its rendering within bounds.

use std::io;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::Value;
use minijinja::{AutoEscape, Environment, Error, ErrorKind};
use nabi_domain::{AddedToken, ChatTemplate, Piece, is_control_literal};

use crate::answer::AnswerFormat;
use crate::chat::Chat;
use crate::error::{RenderError, TemplateError};
use crate::history::HistoryForm;
use crate::lexicon::Lexicon;
use crate::pieces::Literals;
use crate::python::{self, Raised};
use crate::veil;

/// Largest template.
pub const TEMPLATE_BYTES_MAX: usize = 256 << 10;
/// Longest prompt.
pub const PROMPT_CHARS_MAX: usize = 8 << 20;
/// Steps of one rendering: instructions, and one for each 64 bytes that the template handles.
/// Bounds memory too, to 64 bytes a step.
pub const RENDER_FUEL_MAX: u64 = 8_000_000;
/// Deepest recursion of macros and blocks.
pub const RENDER_RECURSION_MAX: usize = 200;

const NAME: &str = "chat template";

/// A model's chat template, ready to render.
#[derive(Debug)]
pub struct Template {
    environment: Environment<'static>,
    lexicon: Lexicon,
    literals: Literals,
    bos_token: String,
    eos_token: String,
    answer_format: AnswerFormat,
    history: HistoryForm,
}

impl Template {
    /// Compiles a template, once for a model with these added tokens.
    ///
    /// # Errors
    /// When the template is no supported Jinja, or template or tokens pass a limit.
    pub fn compile(template: &ChatTemplate, tokens: &[AddedToken]) -> Result<Self, TemplateError> {
        let bytes = template.jinja.len();
        if bytes > TEMPLATE_BYTES_MAX {
            return Err(TemplateError::TooLarge { bytes });
        }
        if let Some(character) = template.jinja.chars().find(|&c| veil::is_veiled(c)) {
            return Err(TemplateError::ReservedCharacter { character });
        }
        if let Some(token) = tokens.iter().find(|token| !token.literal.chars().all(veil::is_veilable)) {
            return Err(TemplateError::Literal { id: token.id, literal: token.literal.clone() });
        }
        let jinja = without_generation_tags(&template.jinja);
        let environment = environment(jinja.clone()).map_err(|error| TemplateError::Syntax {
            line: error.line().unwrap_or_default(),
            detail: description(&error),
        })?;
        let literals = || tokens.iter().map(|token| token.literal.as_str());
        let control_literals: Vec<_> = literals().filter(|literal| is_control_literal(literal)).collect();
        let given = [template.bos_token.as_str(), template.eos_token.as_str()];
        let lexicon = Lexicon::new(&jinja, environment.syntax(), &given, &control_literals)?;
        let literals = Literals::new(tokens)?;
        let mut template = Self {
            answer_format: AnswerFormat::found(&jinja, tokens, &literals),
            history: HistoryForm::default(),
            environment,
            lexicon,
            literals,
            bos_token: template.bos_token.clone(),
            eos_token: template.eos_token.clone(),
        };
        template.history = HistoryForm::found(template.answer_format.reasoning(), |chat| {
            template.render_text(chat, None).map(|text| veil::unveil(&text))
        });
        Ok(template)
    }

    /// How the model marks reasoning and tool calls in its answers.
    pub fn answer_format(&self) -> &AnswerFormat {
        &self.answer_format
    }

    /// Whether the template shows tools to the model.
    pub fn takes_tools(&self) -> bool {
        self.history.takes_tools
    }

    /// Renders a chat. Texts are never empty, and never two in a row.
    ///
    /// # Errors
    /// When the chat or the prompt passes a limit, the chat has tools and the template no place for
    /// them, or the template refuses or fails on the chat.
    pub fn render(&self, chat: &Chat) -> Result<Vec<Piece>, RenderError> {
        if chat.offered_tools().is_some() && !self.takes_tools() {
            return Err(RenderError::NoTools);
        }
        Ok(self.literals.pieces(&self.render_text(chat, Some(&self.history))?))
    }

    /// The prompt with its veil.
    fn render_text(&self, chat: &Chat, history: Option<&HistoryForm>) -> Result<String, RenderError> {
        let mut variables = chat.veiled(&self.lexicon, history)?;
        variables.extend([
            ("bos_token".to_owned(), Value::from(self.bos_token.as_str())),
            ("eos_token".to_owned(), Value::from(self.eos_token.as_str())),
            ("strftime_now".to_owned(), python::strftime_at(chat.now)),
        ]);
        let mut prompt = Prompt { text: Vec::new(), chars: 0 };
        self.environment
            .get_template(NAME)
            .and_then(|template| {
                template.render_captured_to(Value::from_pairs(variables), &mut prompt).map(drop)
            })
            .map_err(|error| render_error(&error))?;
        Ok(String::from_utf8_lossy(&prompt.text).into_owned())
    }
}

/// As `transformers` sets up jinja2, with bounds.
fn environment(jinja: String) -> Result<Environment<'static>, Error> {
    let mut environment = Environment::new();
    environment.set_syntax(SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build()?);
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment.set_fuel(Some(RENDER_FUEL_MAX));
    environment.set_recursion_limit(RENDER_RECURSION_MAX);
    python::install(&mut environment);
    environment.add_template_owned(NAME, jinja)?;
    Ok(environment)
}

/// `{% generation %}` marks what the assistant wrote, for training; the text is the same without.
/// minijinja knows no such tag, so it becomes one that does nothing and keeps white space the same.
fn without_generation_tags(jinja: &str) -> String {
    let mut plain = String::with_capacity(jinja.len());
    let mut rest = jinja;
    while let Some(open) = rest.find("{%") {
        let end = rest[open..].find("%}").map_or(rest.len(), |close| open + close + 2);
        let tag = &rest[open..end];
        plain.push_str(&rest[..open]);
        match tag.trim_matches(|c: char| c.is_whitespace() || "{%-+}".contains(c)) {
            "generation" => plain.push_str(&tag.replace("generation", "if true")),
            "endgeneration" => plain.push_str(&tag.replace("endgeneration", "endif")),
            _ => plain.push_str(tag),
        }
        rest = &rest[end..];
    }
    plain + rest
}

fn render_error(error: &Error) -> RenderError {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(Raised(message)) = error.downcast_ref() {
            return RenderError::Refused { message: veil::unveil(message) };
        }
        match error.downcast_ref().map(Error::kind) {
            Some(ErrorKind::OutOfFuel) => return RenderError::OutOfFuel,
            Some(ErrorKind::WriteFailure) => return RenderError::TooLong,
            _ => cause = error.source(),
        }
    }
    RenderError::Failed { line: error.line().unwrap_or_default(), detail: description(error) }
}

fn description(error: &Error) -> String {
    veil::unveil(error.detail().map_or_else(|| error.kind().to_string(), str::to_owned).as_str())
}

/// The prompt as it grows, up to [`PROMPT_CHARS_MAX`].
struct Prompt {
    text: Vec<u8>,
    chars: usize,
}

impl io::Write for Prompt {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let is_first_of_char = |byte: &&u8| !matches!(byte, 0x80..=0xBF);
        self.chars += bytes.iter().filter(is_first_of_char).count();
        if self.chars > PROMPT_CHARS_MAX {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.text.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
