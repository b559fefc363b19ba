//! Files that must be refused, with words that the refusal must contain.

use crate::gguf::{Gguf, value_type};
use crate::safetensors::{entry, file, vectors};

/// A file to refuse.
#[derive(Debug)]
pub struct Hostile {
    /// What is wrong with it.
    pub name: &'static str,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// Words in the error.
    pub words: &'static str,
}

fn case(name: &'static str, words: &'static str, bytes: Vec<u8>) -> Hostile {
    Hostile { name, bytes, words }
}

fn made(name: &'static str, words: &'static str, gguf: Gguf) -> Hostile {
    case(name, words, gguf.build())
}

fn cut(mut bytes: Vec<u8>, left: usize) -> Vec<u8> {
    bytes.truncate(left);
    bytes
}

/// Every hostile GGUF file.
pub fn gguf() -> Vec<Hostile> {
    [gguf_beginnings(), gguf_metadata(), gguf_tensors(), gguf_numbers(), gguf_deepseek()]
        .into_iter()
        .flatten()
        .collect()
}

fn gguf_beginnings() -> Vec<Hostile> {
    let whole = Gguf::llama().build();
    let with = |change: fn(&mut Gguf)| {
        let mut gguf = Gguf::llama();
        change(&mut gguf);
        gguf
    };
    vec![
        case("nothing", "truncated", Vec::new()),
        case("another format", "not a GGUF file", b"PK\x03\x04 and so on".to_vec()),
        made("version 1", "version 1 is not known", with(|gguf| gguf.version = 1)),
        made("version 4", "version 4 is not known", with(|gguf| gguf.version = 4)),
        made("big endian", "big-endian", with(|gguf| gguf.version = 3_u32.swap_bytes())),
        case("cut in a count", "truncated: tensors takes 8 bytes", cut(whole.clone(), 12)),
        case("cut in the keys", "truncated", cut(whole.clone(), 90)),
        case("cut in the tensors' data", "copy the file again", cut(whole.clone(), whole.len() - 300)),
        made("more tensors than allowed", "tensors, at most", with(|gguf| gguf.tensor_count = Some(1 << 60))),
        made("more tensors than bytes", "has room for", with(|gguf| gguf.tensor_count = Some(100_000))),
        made("more keys than allowed", "keys, at most", with(|gguf| gguf.key_count = Some(u64::MAX))),
        made("more keys than bytes", "has room for", with(|gguf| gguf.key_count = Some(60_000))),
    ]
}

fn gguf_metadata() -> Vec<Hostile> {
    let huge = u64::MAX.to_le_bytes();
    let nested = [&value_type::ARRAY.to_le_bytes()[..], &1_u64.to_le_bytes(), &[0; 64]].concat();
    let mut endless_key = Gguf::empty().build();
    endless_key[16] = 1;
    endless_key.extend([&(1_u64 << 62).to_le_bytes()[..], &[b'a'; 32]].concat());
    vec![
        case("a key without end", "bytes in a key, at most", endless_key),
        made("an empty key", "empty key", Gguf::llama().u32("", 1)),
        made("a key that is no text", "not UTF-8", Gguf::llama().raw(b"\xff\xfe", 0, b"\0")),
        made("a key twice", "stands twice", Gguf::llama().u32("a.b", 1).u32("a.b", 2)),
        made("an unknown value type", "unknown type 13", Gguf::llama().raw(b"a", 13, &[0; 16])),
        made("a string without end", "bytes in a string, at most", Gguf::llama().raw(b"a", 8, &huge)),
        made("a string longer than the file", "truncated: a string takes", {
            Gguf::llama().raw(b"a", value_type::TEXT, &1_000_000_u64.to_le_bytes())
        }),
        made("an array without end", "announces 18446744073709551615", {
            Gguf::llama().array("a", value_type::U64, u64::MAX, &[])
        }),
        made("an array longer than the file", "announces 1000000 elements", {
            Gguf::llama().array("a", value_type::U64, 1_000_000, &[0; 64])
        }),
        made("an array of arrays", "array of arrays", Gguf::llama().raw(b"a", value_type::ARRAY, &nested)),
        made("alignment zero", "power of two", Gguf::llama().u32("general.alignment", 0)),
        made("alignment 24", "power of two", Gguf::llama().u32("general.alignment", 24)),
        made("alignment 2^31", "power of two", Gguf::llama().u32("general.alignment", 1 << 31)),
        made("alignment as text", "power of two", Gguf::llama().text("general.alignment", "32")),
    ]
}

fn gguf_tensors() -> Vec<Hostile> {
    let long_name = "n".repeat(64);
    let with = |shape: &[u64], tensor_type| Gguf::llama().tensor("t", shape, tensor_type, &[0; 64]);
    vec![
        made("a long name", "bytes in a tensor's name", Gguf::llama().f32(&long_name, &[1])),
        made("five dimensions", "5 dimensions", with(&[1, 1, 1, 1, 1], 0)),
        made("a dimension of zero", "impossible shape", with(&[4, 0], 0)),
        made("a shape that overflows", "impossible shape", with(&[1 << 40, 1 << 40], 0)),
        made("a shape that wraps to one", "impossible shape", with(&[1 << 32, 1 << 32, 1], 0)),
        made("bytes that overflow", "impossible shape", with(&[1 << 61], 0)),
        made("a removed type", "unknown type 4", with(&[32], 4)),
        made("an unknown type", "unknown type 4294967295", with(&[32], u32::MAX)),
        made("a type of products only", "no kernel can multiply", with(&[32], 9)),
        made("half a block", "not a multiple of 256", with(&[128], 12)),
        made("a tensor twice", "stands twice", Gguf::llama().f32("output_norm.weight", &[64])),
        made("tensors that overlap", "they overlap", Gguf::llama().f32("t", &[64]).at(0)),
        made("an offset that is not aligned", "it must begin at", Gguf::llama().f32("t", &[64]).at(1281)),
        made("a gap", "a gap", Gguf::llama().f32("t", &[64]).at(1 << 20)),
        made("an offset near the end of numbers", "a gap", Gguf::llama().f32("t", &[64]).at(u64::MAX - 31)),
        made("a tensor larger than the file", "ends at byte", with(&[1 << 20], 0)),
    ]
}

fn gguf_numbers() -> Vec<Hostile> {
    let experts =
        |count, used| Gguf::of("llama").u32("llama.expert_count", count).u32("llama.expert_used_count", used);
    let empty = |architecture| Gguf::empty().text("general.architecture", architecture);
    vec![
        made("no architecture", "\"general.architecture\" is missing", Gguf::empty()),
        made("an image encoder", "no language model", empty("clip")),
        made("no context length", "\"llama.context_length\" is missing", empty("llama")),
        made("a negative number of layers", "must hold a whole number", {
            empty("x").u32("x.context_length", 1).u32("x.embedding_length", 1).i32("x.block_count", -1)
        }),
        made("a thousand layers", "1 to 512 layers", {
            empty("x").u32("x.context_length", 1).u32("x.embedding_length", 1).u32("x.block_count", 1000)
        }),
        made("only prediction layers", "prediction layers", {
            Gguf::of("llama").u32("llama.nextn_predict_layers", 1)
        }),
        made("too many experts", "at most 1024 experts", experts(1025, 8)),
        made("more experts used than there are", "more experts are used", experts(8, 9)),
        made("experts never used", "never used", experts(8, 0)),
        made("heads that do not share evenly", "must be a multiple", {
            Gguf::of("llama").u32("llama.attention.head_count_kv", 3)
        }),
        made("an unknown rope scaling", "rope.scaling.type", {
            Gguf::of("llama").text("llama.rope.scaling.type", "spiral")
        }),
        made("an odd rope", "in pairs", Gguf::of("llama").u32("llama.rope.dimension_count", 15)),
        made("a rope longer than a head", "than a head has", {
            Gguf::of("llama").u32("llama.rope.dimension_count", 32).u32("llama.attention.key_length", 16)
        }),
        made("two tokens with one text", "the same text; the later one = 2", {
            let begun = empty("x").u32("x.context_length", 1).u32("x.embedding_length", 1);
            begun.u32("x.block_count", 1).texts("tokenizer.ggml.tokens", &["a", "b", "a"])
        }),
    ]
}

fn gguf_deepseek() -> Vec<Hostile> {
    let groups = |groups, used| {
        Gguf::of("deepseek2")
            .u32("deepseek2.expert_count", 16)
            .u32("deepseek2.expert_used_count", 4)
            .u32("deepseek2.expert_group_count", groups)
            .u32("deepseek2.expert_group_used_count", used)
    };
    let latent = |architecture: &str, indexer| {
        let key = |suffix| format!("{architecture}.{suffix}");
        Gguf::of(architecture)
            .u32(&key("attention.key_length_mla"), 48)
            .u32(&key("attention.value_length_mla"), 32)
            .u32(&key("attention.indexer.key_length"), indexer)
    };
    vec![
        made("all groups used", "fewer groups must be used", groups(4, 4)),
        made("no group used", "never used", groups(4, 0)),
        made("groups that experts do not fill", "fill their groups", groups(3, 1)),
        made("as many groups as experts", "fewer than experts", groups(16, 4)),
        made("no dimension without rope", "not rotated", {
            latent("deepseek2", 0).u32("deepseek2.rope.dimension_count", 48)
        }),
        made("V3.2 with short indexer keys", "too short", latent("deepseek32", 32)),
        made("V4 with two residual streams", "four residual streams", {
            latent("deepseek4", 64).u32("deepseek4.hyper_connection.count", 2)
        }),
    ]
}

/// Every hostile safetensors file.
pub fn safetensors() -> Vec<Hostile> {
    let two = |first: (u64, u64), second: (u64, u64)| {
        let first = entry("a", "F32", "[2]", first.0, first.1);
        let second = entry("b", "F32", "[2]", second.0, second.1);
        file(&format!("{{{first},{second}}}"), 16)
    };
    let one =
        |data_type, shape, begin, end| file(&format!("{{{}}}", entry("a", data_type, shape, begin, end)), 8);
    let deep = format!("{{\"a\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
    let lie = |length: u64| [&length.to_le_bytes()[..], b"{}"].concat();
    let whole = vectors(&[("a", 64)]);
    let end = whole.len();
    vec![
        case("nothing", "truncated", Vec::new()),
        case("a header without end", "at most", lie(u64::MAX)),
        case("a header longer than the file", "2 follow", lie(1000)),
        case("no brace", "opening brace", file(" {}", 0)),
        case("no JSON", "not valid", file("{\"a\":", 0)),
        case("deep nesting", "not valid", file(&deep, 0)),
        case("an unknown field", "unknown field", {
            file(r#"{"a":{"dtype":"F32","shape":[],"data_offsets":[0,4],"code":"x"}}"#, 4)
        }),
        case("metadata that is no text", "invalid type", file(r#"{"__metadata__":{"a":1}}"#, 0)),
        case("nine dimensions", "8 dimensions", one("F32", "[1,1,1,1,1,1,1,1,2]", 0, 8)),
        case("a negative dimension", "invalid value", one("F32", "[-2]", 0, 8)),
        case("a tensor twice", "stands twice", {
            let same = |begin, end| entry("a", "F32", "[1]", begin, end);
            file(&format!("{{{},{}}}", same(0, 4), same(4, 8)), 8)
        }),
        case("an unknown data type", "unknown data type \"Q4_K\"", one("Q4_K", "[2]", 0, 8)),
        case("a shape larger than its bytes", "its shape [3]", one("F32", "[3]", 0, 8)),
        case("a shape that overflows", "its shape", {
            one("F32", "[4294967296,4294967296,4294967296]", 0, 8)
        }),
        case("half a byte", "its shape [15]", one("F4", "[15]", 0, 8)),
        case("tensors that overlap", "they overlap", two((0, 8), (4, 12))),
        case("a hole", "a hole", two((0, 8), (12, 20))),
        case("an offset backwards", "impossible bytes", two((0, 8), (8, 0))),
        case("an offset backwards to the file's end", "impossible bytes", {
            let (first, second) = (entry("a", "F32", "[2]", 0, 8), entry("b", "F32", "[2]", 8, 0));
            file(&format!("{{{first},{second}}}"), 0)
        }),
        case("an offset near the end of numbers", "impossible bytes", one("F32", "[2]", 0, u64::MAX)),
        case("data cut short", "truncated or damaged", cut(whole.clone(), end - 1)),
        case("bytes after the data", "truncated or damaged", [whole, vec![0]].concat()),
    ]
}
