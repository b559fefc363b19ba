//! Published models on machines that offices buy: engine, place, settings and memory, or what is missing.
//!
//! Machines are constructed from vendors' figures; sizes of models are those of the catalogue, which names
//! where each is from. What is expected was computed by the plan, and read.

use nabi_domain::hardware::Maker;
use nabi_domain::plan::{
    Candidate, Devices, Engine, Placement, Plan, Room, Unfit, WayOut, Wish, catalogue, largest_context, plan,
};

/// What a machine has, from what is sold.
fn machine(name: &str) -> Room {
    let gib = |gib: u64| gib << 30;
    let on_processors = |memory: u64, cores: u32, sockets: u32, gb_per_s: u64| Room {
        memory_bytes: gib(memory) / 100 * 90,
        taken_bytes: 0,
        threads: cores - 1,
        sockets,
        read_bytes_per_s: Some(gb_per_s * 1_000_000_000),
        devices: Vec::new(),
        engines: vec![Engine::LlamaCpp, Engine::Vllm],
    };
    let with = |host: Room, maker: Maker, name: &str, count: u32, memory: u64| Room {
        devices: vec![Devices {
            maker,
            name: name.into(),
            count,
            memory_bytes: gib(memory),
            read_bytes_per_s: None,
        }],
        ..host
    };
    let server = || on_processors(1536, 96, 2, 400);
    match name {
        "laptop 8 GiB" => on_processors(8, 4, 1, 30),
        "office PC 16 GiB" => on_processors(16, 6, 1, 40),
        "mini PC 64 GiB" => on_processors(64, 16, 1, 70),
        "2 x E5-2690 v3, 256 GiB" => on_processors(256, 24, 2, 100),
        "2 x Xeon Gold 6248, 768 GiB" => on_processors(768, 40, 2, 200),
        "EPYC 7702, 512 GiB" => on_processors(512, 64, 1, 146),
        "2 x EPYC 7763, 1 TiB" => on_processors(1024, 128, 2, 290),
        "EPYC 9654, 768 GiB" => on_processors(768, 96, 1, 370),
        "2 x EPYC 9654, 1.5 TiB" => server(),
        "RTX 4090 and 64 GiB" => with(on_processors(64, 16, 1, 70), Maker::Nvidia, "RTX 4090", 1, 24),
        "4 x L40S" => with(server(), Maker::Nvidia, "L40S", 4, 48),
        "8 x A100 80 GB" => with(server(), Maker::Nvidia, "A100", 8, 80),
        "8 x H100" => with(server(), Maker::Nvidia, "H100", 8, 80),
        "8 x H200" => with(server(), Maker::Nvidia, "H200", 8, 141),
        "8 x MI300X" => with(server(), Maker::Amd, "MI300X", 8, 192),
        "8 x Ascend 910B" => with(server(), Maker::Huawei, "910B", 8, 64),
        "8 x Hygon K100-AI" => with(server(), Maker::Hygon, "K100-AI", 8, 64),
        _ => panic!("there is no machine {name:?} here"),
    }
}

/// `Q4_K_M`, or `original` for what DeepSeek published.
fn planned(machine_name: &str, model: &str, file: &str, wish: Wish) -> String {
    let room = machine(machine_name);
    let model = catalogue().iter().find(|entry| entry.name == model).expect("an entry");
    let (vllm, llama_cpp) = match file {
        "original" => (Some(model.vllm()), None),
        _ => {
            let file = model.files.iter().find(|entry| entry.quantization == file).expect("a file");
            (None, model.llama_cpp(file))
        }
    };
    let candidate =
        Candidate { architecture: &model.architecture, llama_cpp: llama_cpp.as_ref(), vllm: vllm.as_ref() };
    match plan(candidate, wish, &room) {
        Ok(plan) => fits(&plan, llama_cpp.as_ref().map(|shape| largest_context(shape, &room))),
        Err(unfit) => does_not(&unfit),
    }
}

fn gb(bytes: u64) -> String {
    format!("{:.1}", bytes as f64 / 1e9)
}

fn fits(plan: &Plan, most: Option<u32>) -> String {
    let Plan { placement, threads, sequences, context_tokens, memory, .. } = plan;
    let place = match placement {
        Placement::Processors => format!("{threads} threads"),
        Placement::Devices { name, count } => format!("{count} x {name}"),
    };
    let most = most.map(|most| format!(", at most {most}")).unwrap_or_default();
    format!(
        "{place}: {sequences} x {context_tokens}{most}, {}+{} GB",
        gb(memory.weights_bytes),
        gb(memory.total_bytes() - memory.weights_bytes)
    )
}

fn does_not(unfit: &Unfit) -> String {
    let Unfit::Memory { needs_bytes, has_bytes, ways_out } = unfit else { return unfit.to_string() };
    let ways = ways_out.iter().map(|way| match way {
        WayOut::Settings { sequences, context_tokens } => format!("{sequences} x {context_tokens}"),
        WayOut::StopOthers => "stop others".into(),
        WayOut::SmallerFile { bytes_max } => format!("file of {}", gb(*bytes_max)),
        WayOut::MachineMemory { bytes_min } => format!("machine of {}", gb(*bytes_min)),
    });
    let ways: Vec<String> = ways.collect();
    format!("needs {}, has {}: {}", gb(*needs_bytes), gb(*has_bytes), ways.join(", "))
}

/// Machine, model, file, what is expected.
const CASES: &[(&str, &str, &str, &str)] = &[
    (
        "laptop 8 GiB",
        "DeepSeek-R1-Distill-Qwen-1.5B",
        "Q8_0",
        "3 threads: 4 x 8192, at most 131072, 1.9+1.0 GB",
    ),
    (
        "laptop 8 GiB",
        "DeepSeek-R1-Distill-Qwen-7B",
        "Q4_K_M",
        "3 threads: 4 x 8192, at most 50432, 4.7+2.0 GB",
    ),
    (
        "laptop 8 GiB",
        "DeepSeek-R1-Distill-Qwen-7B",
        "Q8_0",
        "needs 8.3, has 7.7: file of 7.6, machine of 9.2",
    ),
    (
        "laptop 8 GiB",
        "DeepSeek-R1-Distill-Llama-8B",
        "Q4_K_M",
        "3 threads: 2 x 8192, at most 20480, 4.9+2.3 GB",
    ),
    (
        "laptop 8 GiB",
        "DeepSeek-R1-Distill-Qwen-14B",
        "Q4_K_M",
        "needs 9.2, has 7.7: file of 7.5, machine of 10.2",
    ),
    (
        "office PC 16 GiB",
        "DeepSeek-R1-Distill-Qwen-7B",
        "Q8_0",
        "5 threads: 4 x 8192, at most 124672, 8.1+2.0 GB",
    ),
    (
        "office PC 16 GiB",
        "DeepSeek-R1-0528-Qwen3-8B",
        "Q8_0",
        "5 threads: 4 x 8192, at most 44800, 8.7+5.0 GB",
    ),
    ("office PC 16 GiB", "DeepSeek-V2-Lite", "Q4_K_M", "5 threads: 4 x 8192, at most 156160, 10.4+1.1 GB"),
    ("office PC 16 GiB", "DeepSeek-V2-Lite", "Q6_K", "5 threads: 4 x 8192, at most 39680, 14.1+1.1 GB"),
    (
        "office PC 16 GiB",
        "DeepSeek-R1-Distill-Qwen-14B",
        "Q4_K_M",
        "5 threads: 2 x 8192, at most 32000, 9.0+3.3 GB",
    ),
    (
        "office PC 16 GiB",
        "DeepSeek-R1-Distill-Qwen-32B",
        "Q2_K",
        "5 threads: 1 x 8192, at most 11264, 12.3+2.3 GB",
    ),
    (
        "office PC 16 GiB",
        "DeepSeek-R1-Distill-Qwen-32B",
        "Q4_K_M",
        "needs 20.2, has 15.5: file of 15.2, machine of 22.4",
    ),
    ("mini PC 64 GiB", "DeepSeek-V2-Lite", "Q8_0", "15 threads: 4 x 16384, at most 163840, 16.7+2.2 GB"),
    (
        "mini PC 64 GiB",
        "DeepSeek-R1-Distill-Qwen-14B",
        "Q8_0",
        "15 threads: 4 x 8192, at most 131072, 15.7+6.6 GB",
    ),
    (
        "mini PC 64 GiB",
        "DeepSeek-R1-Distill-Qwen-32B",
        "Q4_K_M",
        "15 threads: 4 x 8192, at most 131072, 19.9+8.8 GB",
    ),
    (
        "mini PC 64 GiB",
        "DeepSeek-R1-Distill-Llama-70B",
        "Q4_K_M",
        "15 threads: 4 x 8192, at most 58368, 42.5+10.9 GB",
    ),
    (
        "mini PC 64 GiB",
        "DeepSeek-R1-Distill-Llama-70B",
        "Q8_0",
        "needs 75.3, has 61.8: file of 61.5, machine of 83.7",
    ),
    (
        "mini PC 64 GiB",
        "DeepSeek-V4-Flash",
        "UD-IQ1_S",
        "needs 82.7, has 61.8: file of 61.6, machine of 91.9",
    ),
    (
        "2 x E5-2690 v3, 256 GiB",
        "DeepSeek-R1-Distill-Llama-70B",
        "Q8_0",
        "23 threads: 4 x 8192, at most 131072, 75.0+10.9 GB",
    ),
    (
        "2 x E5-2690 v3, 256 GiB",
        "DeepSeek-V4-Flash",
        "UD-Q4_K_XL",
        "23 threads: 8 x 32768, at most 1048576, 155.1+2.3 GB",
    ),
    (
        "2 x E5-2690 v3, 256 GiB",
        "DeepSeek-R1",
        "UD-Q2_K_XL",
        "23 threads: 4 x 32768, at most 163840, 226.6+9.6 GB",
    ),
    (
        "2 x E5-2690 v3, 256 GiB",
        "DeepSeek-R1",
        "Q4_K_M",
        "needs 405.2, has 247.4: file of 247.0, machine of 450.2",
    ),
    (
        "2 x E5-2690 v3, 256 GiB",
        "DeepSeek-V3.1",
        "UD-Q2_K_XL",
        "needs 256.4, has 247.4: file of 247.0, machine of 284.8",
    ),
    ("EPYC 7702, 512 GiB", "DeepSeek-R1", "Q2_K_L", "63 threads: 8 x 32768, at most 163840, 244.2+18.8 GB"),
    ("EPYC 7702, 512 GiB", "DeepSeek-R1", "Q4_K_M", "63 threads: 8 x 32768, at most 163840, 404.8+18.8 GB"),
    ("EPYC 7702, 512 GiB", "DeepSeek-R1", "Q5_K_M", "63 threads: 8 x 32768, at most 163840, 475.4+18.8 GB"),
    ("EPYC 7702, 512 GiB", "DeepSeek-V3.2", "Q4_K_M", "63 threads: 8 x 32768, at most 163840, 405.3+22.9 GB"),
    (
        "EPYC 7702, 512 GiB",
        "DeepSeek-V4-Flash",
        "UD-Q8_K_XL",
        "63 threads: 8 x 32768, at most 1048576, 161.9+2.4 GB",
    ),
    (
        "EPYC 7702, 512 GiB",
        "DeepSeek-V4-Pro",
        "IQ1_M",
        "63 threads: 8 x 32768, at most 1048576, 372.0+3.4 GB",
    ),
    (
        "EPYC 7702, 512 GiB",
        "DeepSeek-V4.1-Flash",
        "Q3_K_M",
        "no engine that is installed here computes models of the architecture deepseek41 in this format",
    ),
    (
        "2 x Xeon Gold 6248, 768 GiB",
        "DeepSeek-R1",
        "Q6_K",
        "39 threads: 8 x 32768, at most 163840, 551.0+18.8 GB",
    ),
    (
        "2 x Xeon Gold 6248, 768 GiB",
        "DeepSeek-R1",
        "Q8_0",
        "39 threads: 8 x 32768, at most 163840, 712.0+18.8 GB",
    ),
    (
        "2 x Xeon Gold 6248, 768 GiB",
        "DeepSeek-V3.1",
        "UD-Q5_K_XL",
        "39 threads: 8 x 32768, at most 163840, 485.0+18.8 GB",
    ),
    (
        "2 x Xeon Gold 6248, 768 GiB",
        "DeepSeek-V3.2",
        "Q4_K_M",
        "39 threads: 8 x 32768, at most 163840, 405.3+22.9 GB",
    ),
    (
        "2 x Xeon Gold 6248, 768 GiB",
        "DeepSeek-V4-Flash",
        "UD-Q8_K_XL",
        "39 threads: 8 x 32768, at most 1048576, 161.9+2.3 GB",
    ),
    (
        "2 x Xeon Gold 6248, 768 GiB",
        "DeepSeek-V4-Pro",
        "UD-Q4_K_XL",
        "needs 849.4, has 742.2: file of 741.8, machine of 943.7",
    ),
    ("EPYC 9654, 768 GiB", "DeepSeek-R1", "Q4_K_M", "95 threads: 16 x 32768, at most 163840, 404.8+37.3 GB"),
    ("EPYC 9654, 768 GiB", "DeepSeek-V3.1", "Q8_0", "95 threads: 8 x 32768, at most 163840, 712.0+18.9 GB"),
    (
        "EPYC 9654, 768 GiB",
        "DeepSeek-V4-Flash",
        "UD-Q4_K_XL",
        "95 threads: 16 x 32768, at most 1048576, 155.1+4.5 GB",
    ),
    (
        "EPYC 9654, 768 GiB",
        "DeepSeek-R1-Distill-Llama-70B",
        "Q4_K_M",
        "95 threads: 4 x 32768, at most 131072, 42.5+43.3 GB",
    ),
    (
        "EPYC 9654, 768 GiB",
        "DeepSeek-R1-Distill-Qwen-1.5B",
        "Q4_K_M",
        "95 threads: 16 x 32768, at most 131072, 1.1+15.3 GB",
    ),
    ("2 x EPYC 7763, 1 TiB", "DeepSeek-R1", "Q8_0", "127 threads: 16 x 32768, at most 163840, 712.0+37.4 GB"),
    (
        "2 x EPYC 7763, 1 TiB",
        "DeepSeek-V3.2",
        "Q8_0",
        "127 threads: 16 x 32768, at most 163840, 712.9+45.6 GB",
    ),
    (
        "2 x EPYC 7763, 1 TiB",
        "DeepSeek-V4-Pro",
        "UD-Q8_K_XL",
        "127 threads: 16 x 32768, at most 1048576, 873.0+6.5 GB",
    ),
    (
        "2 x EPYC 9654, 1.5 TiB",
        "DeepSeek-V4-Pro",
        "UD-Q8_K_XL",
        "95 threads: 16 x 32768, at most 1048576, 873.0+6.5 GB",
    ),
    (
        "2 x EPYC 9654, 1.5 TiB",
        "DeepSeek-V4-Pro",
        "IQ1_M",
        "95 threads: 16 x 32768, at most 1048576, 372.0+6.5 GB",
    ),
    (
        "2 x EPYC 9654, 1.5 TiB",
        "DeepSeek-V4.1-Flash",
        "original",
        "no engine that is installed here computes models of the architecture deepseek41 in this format",
    ),
    (
        "RTX 4090 and 64 GiB",
        "DeepSeek-R1-Distill-Qwen-7B",
        "original",
        "1 x RTX 4090: 1 x 32768, 15.2+6.2 GB",
    ),
    ("RTX 4090 and 64 GiB", "DeepSeek-R1-Distill-Qwen-14B", "original", "needs 36.0, has 18.9: file of 12.5"),
    (
        "RTX 4090 and 64 GiB",
        "DeepSeek-R1-Distill-Qwen-32B",
        "Q4_K_M",
        "15 threads: 4 x 8192, at most 131072, 19.9+8.8 GB",
    ),
    ("4 x L40S", "DeepSeek-R1-Distill-Qwen-32B", "original", "4 x L40S: 11 x 32768, 16.4+27.9 GB"),
    ("4 x L40S", "DeepSeek-R1-Distill-Llama-70B", "original", "4 x L40S: 2 x 32768, 35.3+9.7 GB"),
    ("4 x L40S", "DeepSeek-V4-Flash", "original", "4 x L40S: 2 x 32768, 41.7+4.6 GB"),
    ("8 x A100 80 GB", "DeepSeek-R1-Distill-Llama-70B", "original", "4 x A100: 14 x 32768, 35.3+41.9 GB"),
    ("8 x A100 80 GB", "DeepSeek-V4-Flash", "original", "4 x A100: 225 x 32768, 41.7+35.6 GB"),
    ("8 x A100 80 GB", "DeepSeek-R1", "original", "needs 707.0, has 584.1: file of 565.7"),
    ("8 x H100", "DeepSeek-R1", "original", "needs 707.0, has 584.1: file of 565.7"),
    ("8 x H100", "DeepSeek-V4-Flash", "original", "4 x H100: 225 x 32768, 41.7+35.6 GB"),
    ("8 x H100", "DeepSeek-V4.1-Flash", "original", "8 x H100: 83 x 32768, 63.8+13.4 GB"),
    ("8 x H200", "DeepSeek-R1", "original", "8 x H200: 19 x 32768, 86.1+48.0 GB"),
    ("8 x H200", "DeepSeek-V3.1", "original", "8 x H200: 19 x 32768, 86.1+48.0 GB"),
    ("8 x H200", "DeepSeek-V3.2", "original", "8 x H200: 29 x 32768, 86.1+50.0 GB"),
    ("8 x H200", "DeepSeek-V4-Flash", "original", "2 x H200: 256 x 32768, 83.4+39.9 GB"),
    ("8 x H200", "DeepSeek-V4-Pro", "original", "8 x H200: 102 x 32768, 111.6+24.6 GB"),
    ("8 x H200", "DeepSeek-V4.1-Flash", "original", "4 x H200: 39 x 32768, 127.6+8.6 GB"),
    ("8 x H200", "DeepSeek-V2-Lite", "original", "1 x H200: 98 x 32768, 31.4+104.2 GB"),
    ("8 x MI300X", "DeepSeek-R1", "original", "8 x MI300X: 41 x 32768, 86.1+98.7 GB"),
    ("8 x MI300X", "DeepSeek-V4-Pro", "original", "8 x MI300X: 256 x 32768, 111.6+55.2 GB"),
    ("8 x MI300X", "DeepSeek-R1-Distill-Llama-70B", "original", "2 x MI300X: 20 x 32768, 70.6+111.7 GB"),
    (
        "8 x Ascend 910B",
        "DeepSeek-R1",
        "original",
        "no engine that is installed here computes models of the architecture deepseek2 in this format",
    ),
    ("8 x Ascend 910B", "DeepSeek-R1", "Q8_0", "95 threads: 16 x 32768, at most 163840, 712.0+37.3 GB"),
    (
        "8 x Hygon K100-AI",
        "DeepSeek-R1-Distill-Llama-70B",
        "original",
        "no engine that is installed here computes models of the architecture llama in this format",
    ),
    (
        "8 x Hygon K100-AI",
        "DeepSeek-R1-Distill-Llama-70B",
        "Q4_K_M",
        "95 threads: 8 x 32768, at most 131072, 42.5+86.2 GB",
    ),
];

#[test]
fn published_models_on_machines_that_offices_buy() {
    assert!(CASES.len() >= 60);
    let mut wrong = String::new();
    for &(machine, model, file, expected) in CASES {
        let planned = planned(machine, model, file, Wish::default());
        if planned != expected {
            wrong += &format!("    ({machine:?}, {model:?}, {file:?}, {planned:?}),\n");
        }
    }
    assert!(wrong.is_empty(), "planned otherwise:\n{wrong}");
}

#[test]
fn a_wish_is_followed_or_refused_with_what_would_fit() {
    let wish = |sequences, context_tokens| Wish { sequences, context_tokens, anyway: false };
    for (machine, model, file, wish, expected) in [
        (
            "office PC 16 GiB",
            "DeepSeek-R1-Distill-Qwen-7B",
            "Q8_0",
            wish(Some(1), Some(100_000)),
            "5 threads: 1 x 100000, at most 124672, 8.1+5.9 GB",
        ),
        (
            "office PC 16 GiB",
            "DeepSeek-R1-Distill-Qwen-7B",
            "Q8_0",
            wish(Some(8), None),
            "5 threads: 8 x 8192, at most 124672, 8.1+3.9 GB",
        ),
        (
            "office PC 16 GiB",
            "DeepSeek-R1-Distill-Qwen-7B",
            "Q8_0",
            wish(Some(8), Some(32_768)),
            "needs 23.3, has 15.5: 4 x 8192, machine of 25.9",
        ),
        (
            "office PC 16 GiB",
            "DeepSeek-R1-Distill-Qwen-7B",
            "Q8_0",
            wish(None, Some(200_000)),
            "it was trained for a context of 131072 tokens, and 200000 were asked for",
        ),
        (
            "8 x H200",
            "DeepSeek-R1",
            "original",
            wish(Some(8), Some(65_536)),
            "8 x H200: 8 x 65536, 86.1+41.1 GB",
        ),
        (
            "8 x H200",
            "DeepSeek-R1",
            "original",
            wish(Some(64), Some(65_536)),
            "needs 3046.5, has 1055.7: 9 x 65536",
        ),
    ] {
        assert_eq!(planned(machine, model, file, wish), expected, "{machine}, {model} {file}, {wish:?}");
    }
}

#[test]
fn what_runs_beside_takes_its_part() {
    let room = Room { taken_bytes: 8_000_000_000, ..machine("office PC 16 GiB") };
    let model =
        catalogue().iter().find(|entry| entry.name == "DeepSeek-R1-Distill-Qwen-7B").expect("an entry");
    let shape = model.llama_cpp(model.files.last().expect("a file")).expect("known");
    let candidate = Candidate { architecture: "qwen2", llama_cpp: Some(&shape), vllm: None };
    let unfit = plan(candidate, Wish::default(), &room).expect_err("too large beside");
    assert_eq!(does_not(&unfit), "needs 8.3, has 7.5: stop others, file of 7.3");
    let anyway =
        plan(candidate, Wish { anyway: true, ..Wish::default() }, &room).expect("the operator insists");
    assert_eq!((anyway.sequences, anyway.context_tokens, anyway.prefixes_bytes_max), (1, 512, 0));
}
