//! Functions out of OpenAI's `tools`.

use serde_json::{Map, Value as Json, json};

use super::{FUNCTION_NAME_BYTES_MAX, FUNCTIONS_MAX, GrammarError};

/// Between the parts of arguments. Limited, for there are models that like spaces for ever.
const JSON_SPACE: &str = r"[ \t\r\n]{1,32}";

/// A function that the model may call.
#[derive(Debug)]
pub(super) struct Function {
    pub(super) name: String,
    /// The schema of its arguments, which are an object.
    pub(super) schema: Map<String, Json>,
    pub(super) is_strict: bool,
}

pub(super) fn read(tools: &Json) -> Result<Vec<Function>, GrammarError> {
    let tools = tools.as_array().map_or(&[][..], Vec::as_slice);
    if tools.len() > FUNCTIONS_MAX {
        return Err(GrammarError::TooManyTools { tools: tools.len() });
    }
    let function =
        |(index, tool)| Function::read(tool).map_err(|detail| GrammarError::Tool { index, detail });
    tools.iter().enumerate().map(function).collect()
}

impl Function {
    fn read(tool: &Json) -> Result<Self, &'static str> {
        let function = tool.get("function").and_then(Json::as_object).ok_or("it has no object `function`")?;
        let name = function.get("name").and_then(Json::as_str).ok_or("it has no `name`")?;
        let is_plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
        if !is_plain || name.is_empty() || name.len() > FUNCTION_NAME_BYTES_MAX {
            return Err("its `name` must have 1 to 64 letters, digits, underscores and dashes");
        }
        let is_strict = function.get("strict") == Some(&Json::Bool(true));
        let schema = match function.get("parameters") {
            // As OpenAI has it: a function without `parameters` has none.
            None | Some(Json::Null) => {
                json!({"type": "object", "properties": {}, "additionalProperties": false})
            }
            Some(schema) => schema.clone(),
        };
        let Json::Object(mut schema) = schema else { return Err("its `parameters` must be an object") };
        match schema.get("type") {
            None => _ = schema.insert("type".to_owned(), "object".into()),
            Some(kind) if kind == "object" => {}
            Some(_) => return Err("its `parameters` must be of type object"),
        }
        // llguidance's place for its options.
        schema.insert(
            "x-guidance".to_owned(),
            json!({"lenient": !is_strict, "whitespace_pattern": JSON_SPACE}),
        );
        Ok(Self { name: name.to_owned(), schema, is_strict })
    }

    pub(super) fn schema(&self) -> Json {
        Json::Object(self.schema.clone())
    }
}
