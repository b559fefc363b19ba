//! What a machine is good for: of many models, how each would run.

use serde::{Deserialize, Serialize};

use super::{Candidate, CatalogueModel, Engine, ModelShape, Placement, Plan, Room, Speed, Unfit, Wish};
use super::{largest_context, plan, speed};

/// A model, and how it would run by itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Capacity {
    /// Its name: in the store, or as published.
    pub name: String,
    /// Of the file, as its publisher calls it; of a published folder, `original`.
    pub quantization: String,
    /// All weights.
    pub weights_bytes: u64,
    /// Whether it is in the store.
    pub is_stored: bool,
    /// How it would run, or why not.
    pub outcome: Outcome,
}

/// Whether a model can be run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Outcome {
    /// It can.
    Fits {
        /// How.
        plan: Plan,
        /// How fast, where that can be told.
        speed: Option<Speed>,
        /// The longest context of a single request.
        context_tokens_max: u32,
    },
    /// It cannot.
    Unfit(Unfit),
}

fn capacity(candidate: Candidate<'_>, wish: Wish, room: &Room) -> Outcome {
    match plan(candidate, wish, room) {
        Err(unfit) => Outcome::Unfit(unfit),
        Ok(plan) => {
            let on_processors = match (plan.engine, &plan.placement) {
                (Engine::LlamaCpp, Placement::Processors) => candidate.llama_cpp,
                _ => None,
            };
            let context_tokens_max = match on_processors {
                Some(shape) => largest_context(shape, room),
                None => plan.context_tokens,
            };
            let speed = on_processors.map(|shape| speed(shape, &plan, room));
            Outcome::Fits { plan, speed, context_tokens_max }
        }
    }
}

/// Of a model in the store.
#[must_use]
pub fn of_stored(
    name: &str,
    quantization: &str,
    architecture: &str,
    shape: &ModelShape,
    room: &Room,
) -> Capacity {
    let candidate = Candidate { architecture, llama_cpp: Some(shape), vllm: None };
    Capacity {
        name: name.to_owned(),
        quantization: quantization.to_owned(),
        weights_bytes: shape.weights_bytes(),
        is_stored: true,
        outcome: capacity(candidate, Wish::default(), room),
    }
}

/// Of a published model: its largest file that fits, or else its smallest.
#[must_use]
pub fn of_published(model: &CatalogueModel, room: &Room) -> Capacity {
    let of = |quantization: &str, weights_bytes: u64, candidate: Candidate<'_>| Capacity {
        name: model.name.clone(),
        quantization: quantization.to_owned(),
        weights_bytes,
        is_stored: false,
        outcome: capacity(candidate, Wish::default(), room),
    };
    let architecture = model.architecture.as_str();
    let vllm = model.vllm();
    let original =
        of("original", vllm.weights_bytes, Candidate { architecture, llama_cpp: None, vllm: Some(&vllm) });
    if matches!(original.outcome, Outcome::Fits { .. }) {
        return original;
    }
    let mut smallest = original;
    for file in model.files.iter().rev() {
        let Some(shape) = model.llama_cpp(file) else { return smallest };
        let candidate = Candidate { architecture, llama_cpp: Some(&shape), vllm: None };
        smallest = of(&file.quantization, shape.weights_bytes(), candidate);
        if matches!(smallest.outcome, Outcome::Fits { .. }) {
            break;
        }
    }
    smallest
}
