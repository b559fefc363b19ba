//! A model as a Hugging Face folder.

use std::collections::HashMap;

use safetensors::tensor::{Dtype, TensorView};
use serde::Serialize;
use serde_json::json;

use crate::error::MakeError;
use crate::model::Model;
use crate::weights::Tensor;

/// The files of the folder: name and content.
pub(crate) fn files(model: &Model<'_>) -> Result<Vec<(&'static str, Vec<u8>)>, MakeError> {
    let config = &model.config;
    let generation = json!({ "bos_token_id": config.bos_token_id, "eos_token_id": config.eos_token_id });
    Ok(vec![
        ("config.json", pretty(config)),
        ("generation_config.json", pretty(&generation)),
        ("tokenizer.json", pretty(model.tokenizer.json())),
        ("tokenizer_config.json", pretty(model.tokenizer.config())),
        ("model.safetensors", safetensors(&model.tensors)?),
    ])
}

/// The bytes of a safetensors file.
pub(crate) fn safetensors(tensors: &[Tensor]) -> Result<Vec<u8>, MakeError> {
    let bytes: Vec<Vec<u8>> = tensors.iter().map(|tensor| little_endian(&tensor.values)).collect();
    let views = tensors
        .iter()
        .zip(&bytes)
        .map(|(tensor, bytes)| Ok((&tensor.name, TensorView::new(Dtype::F32, tensor.shape.clone(), bytes)?)))
        .collect::<Result<Vec<_>, MakeError>>()?;
    // transformers refuses a file that does not say which framework's layout it has.
    let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    Ok(::safetensors::serialize(views, Some(metadata))?)
}

/// The bytes of an F32 tensor in a file.
pub(crate) fn little_endian(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// JSON as people read it, the same on every machine.
pub(crate) fn pretty(value: &impl Serialize) -> Vec<u8> {
    let mut text = serde_json::to_vec_pretty(value).expect("maps with string keys have a JSON form");
    text.push(b'\n');
    text
}
