//! What a machine is good for, as text.

use std::fmt::Write as _;

use nabi_domain::plan::{Capacity, Devices, Engine, Outcome, Placement, Plan, Room, Speed, Unfit};

use super::{bytes, plain};

/// Names are longer than this in few cases.
const NAME_COLUMNS: usize = 31;
const FILE_COLUMNS: usize = 12;

/// A line for each model; those in the store come first.
pub(super) fn capacity(room: &Room, models: &[Capacity]) -> String {
    let mut text = self::room(room);
    for (title, stored) in
        [("\nin the store, each alone", true), ("\npublished by DeepSeek, each alone", false)]
    {
        let mut rows = models.iter().filter(|model| model.is_stored == stored).peekable();
        if rows.peek().is_some() {
            let _ = writeln!(text, "{title}");
        }
        for model in rows {
            let _ = writeln!(
                text,
                "  {:NAME_COLUMNS$} {:FILE_COLUMNS$} {}",
                plain(&model.name),
                plain(&model.quantization),
                outcome(model)
            );
        }
    }
    if models.iter().any(|model| matches!(&model.outcome, Outcome::Fits { speed: Some(_), .. })) {
        text += "\nSpeeds are estimates from how fast memory is read; small models and old processors are slower.\n";
    }
    text
}

fn room(room: &Room) -> String {
    let Room { memory_bytes, threads, read_bytes_per_s, devices, engines, .. } = room;
    let read = match read_bytes_per_s {
        Some(read) => format!("which read {} in a second (measured)", bytes(*read)),
        None => "whose reading speed is not measured".into(),
    };
    let of = if *threads == 1 { "1 thread" } else { &format!("{threads} threads") };
    let mut text = format!("for models  {} of memory, {of} {read}\n", bytes(*memory_bytes));
    for Devices { name, count, memory_bytes, .. } in devices {
        let use_of_it =
            if engines.contains(&Engine::Vllm) { "" } else { ", for which no engine is installed" };
        let _ =
            writeln!(text, "            {count} x {}, {} each{use_of_it}", plain(name), bytes(*memory_bytes));
    }
    text
}

fn outcome(model: &Capacity) -> String {
    match &model.outcome {
        Outcome::Fits { plan, speed, context_tokens_max } => fits(plan, speed.as_ref(), *context_tokens_max),
        Outcome::Unfit(Unfit::Memory { needs_bytes, has_bytes, .. }) if !model.is_stored => {
            format!("too large: needs {}, has {}", bytes(*needs_bytes), bytes(*has_bytes))
        }
        Outcome::Unfit(unfit) => format!("cannot be served: {unfit}"),
    }
}

fn fits(plan: &Plan, speed: Option<&Speed>, context_tokens_max: u32) -> String {
    let Plan { sequences, context_tokens, memory, placement, .. } = plan;
    let place = match placement {
        Placement::Processors => String::new(),
        Placement::Devices { name, count } => format!(" on each of {count} x {}", plain(name)),
    };
    let mut text =
        format!("{}{place}: {sequences} at a time with {context_tokens} tokens", bytes(memory.total_bytes()));
    if context_tokens_max > *context_tokens {
        let _ = write!(text, " (one alone with {context_tokens_max})");
    }
    if let Some(Speed { one_tokens_per_s, all_tokens_per_s, .. }) = speed {
        let each = all_tokens_per_s / f64::from((*sequences).max(1));
        let _ = write!(text, "; about {} tokens/s alone", rate(*one_tokens_per_s));
        if *sequences > 1 {
            let _ = write!(text, ", {} each together", rate(each));
        }
    }
    text
}

fn rate(tokens_per_s: f64) -> String {
    if tokens_per_s < 10.0 { format!("{tokens_per_s:.1}") } else { format!("{tokens_per_s:.0}") }
}

#[cfg(test)]
mod tests {
    use nabi_domain::plan::{CacheFormat, Memory};

    use super::*;

    fn room() -> Room {
        Room {
            memory_bytes: 230_000_000_000,
            taken_bytes: 0,
            threads: 15,
            sockets: 1,
            read_bytes_per_s: Some(146_000_000_000),
            devices: Vec::new(),
            engines: vec![Engine::LlamaCpp],
        }
    }

    fn model(is_stored: bool, outcome: Outcome) -> Capacity {
        let (name, quantization) = ("DeepSeek-R1".to_owned(), "Q4_K_M".to_owned());
        Capacity { name, quantization, weights_bytes: 1, is_stored, outcome }
    }

    #[test]
    fn each_model_is_a_line_that_says_how_or_why_not() {
        let memory = Memory {
            weights_bytes: 9_000_000_000,
            cache_bytes: 1_000_000_000,
            graph_bytes: 500_000_000,
            process_bytes: 0,
        };
        let plan = Plan {
            engine: Engine::LlamaCpp,
            placement: Placement::Processors,
            threads: 15,
            sequences: 4,
            context_tokens: 8192,
            cache: CacheFormat::F16,
            memory,
            prefixes_bytes_max: 0,
        };
        let speed = Speed { one_tokens_per_s: 13.4, all_tokens_per_s: 30.0, is_measured: true };
        let fits = Outcome::Fits { plan, speed: Some(speed), context_tokens_max: 32_768 };
        let has =
            Unfit::Memory { needs_bytes: 412_000_000_000, has_bytes: 230_000_000_000, ways_out: Vec::new() };
        let text = capacity(&room(), &[model(true, fits), model(false, Outcome::Unfit(has))]);
        for part in [
            "for models  230.0 GB of memory, 15 threads which read 146.0 GB in a second (measured)\n",
            "in the store, each alone\n",
            " Q4_K_M       10.5 GB: 4 at a time with 8192 tokens (one alone with 32768); about 13 tokens/s alone, \
             7.5 each together\n",
            "published by DeepSeek, each alone\n",
            " Q4_K_M       too large: needs 412.0 GB, has 230.0 GB\n",
            "estimates",
        ] {
            assert!(text.contains(part), "{part:?} is not in\n{text}");
        }
    }

    #[test]
    fn nothing_is_said_of_speeds_where_there_are_none() {
        let none = Unfit::NoEngine { architecture: "deepseek41".into() };
        let text =
            capacity(&Room { read_bytes_per_s: None, ..room() }, &[model(false, Outcome::Unfit(none))]);
        assert!(text.contains("not measured") && !text.contains("estimates"), "{text}");
        assert!(
            text.contains("no engine that is installed here computes models of the architecture deepseek41")
        );
    }
}
