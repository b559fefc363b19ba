//! Reads an answer as it comes.

use nabi_domain::Piece;

use super::format::{AnswerFormat, PromptTail};
use super::llama;
use super::marker::{Marker, Scan, is_token_byte, scan};
use super::markup::CallMarkup;
use super::output::{AnswerFault, Output, Part};
use super::reader::{CallReader, Ending, Input, Pause};
use super::text::TextRun;

/// White space after a text marker for which a call's first brace is awaited.
const OPENER_WHITE_BYTES_MAX: usize = 64;

/// What an answer can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AnswerOptions {
    /// How the prompt ends, from [`AnswerFormat::prompt_tail`].
    pub prompt_tail: PromptTail,
    /// Whether the request offers tools, and their calls are not forbidden. Otherwise the markup of
    /// calls is content like any other text; but tokens of it are never shown.
    pub has_tools: bool,
}

/// What is known only at an answer's end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finish {
    /// The last parts.
    pub parts: Vec<Part>,
    /// What was wrong first, if anything. Calls that have their [`Part::CallEnd`] are whole even so.
    pub fault: Option<AnswerFault>,
}

/// Turns an answer's pieces into its parts, as early as each is certain.
///
/// How the answer is cut into pieces and pushes makes no difference to what comes out. Held back is
/// only what may be the beginning of a marker, and white space that may stand before one.
#[derive(Debug)]
pub struct AnswerParser {
    format: AnswerFormat,
    has_tools: bool,
    /// Markers that mean something within content, and within reasoning.
    content_signs: Vec<(Sign, Marker)>,
    reasoning_signs: Vec<(Sign, Marker)>,
    input: Input,
    output: Output,
    stage: Stage,
    run: TextRun,
    fault: Option<AnswerFault>,
}

#[derive(Debug)]
enum Stage {
    Reasoning,
    Content,
    Calls(Box<dyn CallReader>),
    /// All that still comes is left out.
    Closed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sign {
    ReasoningOpen,
    ReasoningClose,
    Calls,
}

impl AnswerParser {
    /// For one answer of the model that has this format.
    pub fn new(format: &AnswerFormat, options: AnswerOptions) -> Self {
        let mut parser = Self {
            format: format.clone(),
            has_tools: options.has_tools,
            content_signs: signs(format, options.has_tools, false),
            reasoning_signs: signs(format, options.has_tools, true),
            input: Input::default(),
            output: Output::default(),
            stage: Stage::Content,
            run: TextRun::default(),
            fault: None,
        };
        if options.prompt_tail == PromptTail::InReasoning {
            parser.enter(Stage::Reasoning);
        }
        parser
    }

    /// Reads on. Tokens are those that the model emitted as such; the text of all other tokens comes
    /// as text, in whole characters.
    pub fn push(&mut self, pieces: &[Piece]) -> Vec<Part> {
        let bytes = self.input.more();
        for piece in pieces {
            self.format.alphabet().write(piece, bytes);
        }
        while self.step() {}
        self.output.take()
    }

    /// Ends the answer.
    pub fn finish(mut self, ending: Ending) -> Finish {
        let is_held = !self.input.rest().is_empty();
        match &mut self.stage {
            Stage::Calls(reader) => {
                let mut result = reader.end(ending, &mut self.output);
                if is_held && result.is_ok() {
                    result = Err(self.output.incomplete());
                }
                self.fault = self.fault.take().or(result.err());
            }
            Stage::Reasoning | Stage::Content => self.end_text(ending),
            Stage::Closed => {}
        }
        Finish { parts: self.output.take(), fault: self.fault }
    }

    /// What is held back is text if the model left it at that.
    fn end_text(&mut self, ending: Ending) {
        let held = self.input.rest();
        let has_token = held.iter().copied().any(is_token_byte);
        if has_token || (ending == Ending::Cut && !held.is_empty()) {
            self.fault.get_or_insert(self.output.incomplete());
        } else {
            self.pass_next(held.len());
        }
        let Self { run, output, stage, .. } = self;
        run.end(|text| stage.pass(output, text));
    }

    /// False when nothing can be done without more input.
    fn step(&mut self) -> bool {
        match &mut self.stage {
            Stage::Closed => {
                self.input.skip(|_| true);
                false
            }
            Stage::Calls(reader) => match reader.read(&mut self.input, &mut self.output) {
                Ok(Pause::Wait) => false,
                Ok(Pause::Over) => {
                    self.enter(Stage::Content);
                    true
                }
                Err(fault) => {
                    reader.skip_call();
                    self.output.abandon_call();
                    if fault == AnswerFault::TooManyCalls {
                        self.stage = Stage::Closed;
                    }
                    self.fault.get_or_insert(fault);
                    true
                }
            },
            Stage::Reasoning | Stage::Content => self.read_text(),
        }
    }

    fn read_text(&mut self) -> bool {
        if self.may_be_bare_call() {
            // White space before it is text, however it is cut from what follows.
            let white = self.input.rest().len() - self.input.rest().trim_ascii_start().len();
            self.pass_next(white);
            if self.input.rest().starts_with(b"{") {
                match llama::is_call(self.input.rest()) {
                    None => return false,
                    Some(true) => {
                        self.enter_calls();
                        return true;
                    }
                    Some(false) => {}
                }
            }
        }
        let is_reasoning = matches!(self.stage, Stage::Reasoning);
        let signs = if is_reasoning { &self.reasoning_signs } else { &self.content_signs };
        let markers: Vec<_> = signs.iter().map(|(_, marker)| marker).collect();
        match scan(self.input.rest(), &markers) {
            Scan::Missing { safe } => {
                self.pass_next(safe);
                false
            }
            Scan::Found { at, which } => {
                let (sign, marker) = signs[which].clone();
                self.pass_next(at);
                self.meet(sign, &marker)
            }
        }
    }

    /// Whether a call without an opener may begin here, for models that write such.
    fn may_be_bare_call(&self) -> bool {
        self.has_tools
            && matches!(self.format.calls(), Some(CallMarkup::Llama))
            && matches!(self.stage, Stage::Content)
            && self.run.is_at_start()
    }

    /// A marker is next. False when it is open whether it is meant as one.
    fn meet(&mut self, sign: Sign, marker: &Marker) -> bool {
        let len = marker.bytes().len();
        if !marker.has_token() {
            match self.is_meant(sign, len) {
                None => return false,
                Some(true) => {}
                Some(false) => {
                    self.pass_next(len);
                    return true;
                }
            }
        }
        match (sign, &self.stage) {
            (Sign::Calls, _) => self.enter_calls(),
            (Sign::ReasoningOpen, Stage::Content) => {
                self.input.advance(len);
                self.enter(Stage::Reasoning);
            }
            (Sign::ReasoningClose, Stage::Reasoning) => {
                self.input.advance(len);
                self.enter(Stage::Content);
            }
            // Opened twice, or closed without an opening: a token that says nothing.
            (Sign::ReasoningOpen | Sign::ReasoningClose, _) => self.input.advance(len),
        }
        true
    }

    /// Whether text that reads as a marker is one, and not only mentioned; `None` where that is open.
    fn is_meant(&self, sign: Sign, len: usize) -> Option<bool> {
        match sign {
            Sign::ReasoningOpen => Some(self.run.is_at_start()),
            Sign::ReasoningClose => Some(true),
            Sign::Calls if self.run.is_in_fence() => Some(false),
            Sign::Calls if !matches!(self.format.calls(), Some(CallMarkup::Hermes(_))) => Some(true),
            Sign::Calls => {
                let after = &self.input.rest()[len..];
                let white = after.len() - after.trim_ascii_start().len();
                match after.get(white) {
                    _ if white > OPENER_WHITE_BYTES_MAX => Some(false),
                    Some(byte) => Some(*byte == b'{'),
                    None => None,
                }
            }
        }
    }

    fn enter(&mut self, stage: Stage) {
        self.run.markup();
        self.stage = stage;
    }

    fn enter_calls(&mut self) {
        if let Some(markup) = self.format.calls() {
            let reader = markup.reader();
            self.enter(Stage::Calls(reader));
        }
    }

    /// The next `len` bytes are text.
    fn pass_next(&mut self, len: usize) {
        let Self { run, input, output, stage, .. } = self;
        run.push(&input.rest()[..len], |text| stage.pass(output, text));
        input.advance(len);
    }
}

impl Stage {
    fn pass(&self, output: &mut Output, text: &str) {
        if matches!(self, Self::Reasoning) { output.reasoning(text) } else { output.content(text) }
    }
}

/// Text may look like a marker and not be meant so: within reasoning it opens no call, and outside
/// it closes no reasoning. A token is always meant.
fn signs(format: &AnswerFormat, has_tools: bool, is_reasoning: bool) -> Vec<(Sign, Marker)> {
    let mut signs = Vec::new();
    if let Some(markup) = format.reasoning() {
        signs.push((Sign::ReasoningOpen, markup.open.clone()));
        if is_reasoning || markup.close.has_token() {
            signs.push((Sign::ReasoningClose, markup.close.clone()));
        }
    }
    if let (Some(markup), true) = (format.calls(), has_tools) {
        let openers = markup.openers().into_iter();
        let openers = openers.filter(|opener| !is_reasoning || opener.has_token());
        signs.extend(openers.map(|opener| (Sign::Calls, opener)));
    }
    signs
}
