//! Each format's calls as Lark.

use super::functions::Function;
use super::lark::{Lark, marker, quoted};
use super::{GrammarError, alternatives, parameters};
use crate::answer::deepseek::DeepSeek;
use crate::answer::dsml::Dsml;
use crate::answer::marker::Marker;
use crate::answer::markup::CallMarkup;
use crate::answer::mistral::Mistral;

/// What begins with a format's opener and holds calls.
#[derive(Debug)]
pub(super) struct Block {
    /// `None` where calls begin with their brace.
    opener: Option<Marker>,
    /// What follows the opener.
    rest: String,
    /// What stands between blocks, where each holds one call and there may be more.
    separator: Option<String>,
}

impl Block {
    pub(super) fn new(
        markup: &CallMarkup,
        functions: &[Function],
        parallel: bool,
        lark: &mut Lark,
    ) -> Result<Self, GrammarError> {
        match markup {
            CallMarkup::DeepSeek(markup) => deepseek(markup, functions, parallel, lark),
            CallMarkup::Dsml(markup) => dsml(markup, functions, parallel, lark),
            CallMarkup::Hermes(markup) => {
                let call = json_calls("arguments", functions, lark)?;
                let rest = format!("\"\\n\" {call} \"\\n\" {}", marker(&markup.close));
                let separator = parallel.then(|| quoted("\n"));
                Ok(Self { opener: Some(markup.open.clone()), rest, separator })
            }
            // Its templates take one call only.
            CallMarkup::Llama => {
                let rest = json_calls("parameters", functions, lark)?;
                Ok(Self { opener: None, rest, separator: None })
            }
            CallMarkup::Mistral(markup) => mistral(markup, functions, parallel, lark),
        }
    }

    /// At least one call and nothing else.
    pub(super) fn forced(&self, lark: &mut Lark) -> String {
        let opener = self.opener.as_ref().map(marker).unwrap_or_default();
        format!("{}? {}", lark.white(), self.begun_by(&opener))
    }

    /// Any text, and calls if the model likes.
    pub(super) fn optional(&self, lark: &mut Lark) -> String {
        match &self.opener {
            Some(opener) => {
                let begin = lark.until(opener);
                format!("({}? | {})", lark.any_text(), self.begun_by(&begin))
            }
            // Text with a brace first would be a call to who reads it.
            None => {
                let text = lark.terminal("/[ \\n\\r\\t]*[^{ \\n\\r\\t](?s:.*)/");
                format!("({text} | {})?", self.rest)
            }
        }
    }

    fn begun_by(&self, begin: &str) -> String {
        let Self { opener, rest, separator } = self;
        match (opener, separator) {
            (Some(opener), Some(separator)) => {
                format!("{begin} {rest} ({separator} {} {rest})*", marker(opener))
            }
            _ => format!("{begin} {rest}"),
        }
    }
}

/// One call, or with `parallel` more.
fn repeated(call: &str, separator: &str, parallel: bool) -> String {
    if parallel { format!("{call} ({separator} {call})*") } else { call.to_owned() }
}

/// `{"name": …, "arguments": …}`, written so that the schema stays a root of its own.
fn json_calls(arguments_key: &str, functions: &[Function], lark: &mut Lark) -> Result<String, GrammarError> {
    alternatives(functions, lark, |function, lark| {
        let begin = format!("{{\"name\": \"{}\", \"{arguments_key}\": ", function.name);
        let arguments = lark.json(&function.schema());
        Ok(format!("{} {arguments} \"}}\"", quoted(&begin)))
    })
}

fn deepseek(
    markup: &DeepSeek,
    functions: &[Function],
    parallel: bool,
    lark: &mut Lark,
) -> Result<Block, GrammarError> {
    let [call_begin, separator, call_end] =
        [&markup.call_begin, &markup.separator, &markup.call_end].map(marker);
    let call = alternatives(functions, lark, |function, lark| {
        let arguments = lark.json(&function.schema());
        let name = &function.name;
        Ok(if markup.is_fenced {
            let begin = quoted(&format!("{name}\n```json\n"));
            format!("{call_begin} \"function\" {separator} {begin} {arguments} \"\\n```\" {call_end}")
        } else {
            format!("{call_begin} {} {separator} {arguments} {call_end}", quoted(name))
        })
    })?;
    let between = if markup.is_fenced { "\"\\n\"?" } else { "" };
    let rest = format!("{} {}", repeated(&call, between, parallel), marker(&markup.calls_end));
    Ok(Block { opener: Some(markup.calls_begin.clone()), rest, separator: None })
}

fn mistral(
    markup: &Mistral,
    functions: &[Function],
    parallel: bool,
    lark: &mut Lark,
) -> Result<Block, GrammarError> {
    let opener = Some(markup.open.clone());
    if !markup.is_named {
        let call = json_calls("arguments", functions, lark)?;
        let rest = format!("\"[\" {} \"]\"", repeated(&call, "\", \"", parallel));
        return Ok(Block { opener, rest, separator: None });
    }
    let call_id = markup.has_call_id.then(|| lark.terminal("/[a-zA-Z0-9]{9}/"));
    let call_id = call_id.map_or_else(String::new, |id| format!("{} {id}", marker(&markup.call_id)));
    let rest = alternatives(functions, lark, |function, lark| {
        let arguments = lark.json(&function.schema());
        Ok(format!("{} {call_id} {} {arguments}", quoted(&function.name), marker(&markup.arguments)))
    })?;
    Ok(Block { opener, rest, separator: parallel.then(String::new) })
}

fn dsml(
    markup: &Dsml,
    functions: &[Function],
    parallel: bool,
    lark: &mut Lark,
) -> Result<Block, GrammarError> {
    let [invoke, invoke_end] = [&markup.invoke, &markup.invoke_end].map(marker);
    let call = alternatives(functions, lark, |function, lark| {
        let head = quoted(&format!(" name=\"{}\">\n", function.name));
        let parameters = parameters::rule(markup, function, lark)?;
        Ok(format!("{invoke} {head} {parameters} {invoke_end} \"\\n\""))
    })?;
    let rest = format!("\"\\n\" {} {}", repeated(&call, "", parallel), marker(&markup.close[0]));
    Ok(Block { opener: Some(markup.open[0].clone()), rest, separator: None })
}
