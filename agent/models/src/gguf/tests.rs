use std::io;

use nabi_model_corpus::gguf::{Gguf, split_llama, value_type};
use nabi_model_corpus::hostile;
use proptest::prelude::*;

use super::*;

fn read(bytes: &[u8]) -> Result<Header, GgufError> {
    read_header(bytes, bytes.len() as u64, &[TOKENS])
}

fn describe_bytes(bytes: &[u8]) -> Result<Description, GgufError> {
    describe(&read(bytes)?)
}

#[test]
fn a_header_is_read_as_it_was_written() {
    let scales: Vec<u8> = [0.5_f32, 1.0].iter().flat_map(|scale| scale.to_le_bytes()).collect();
    let bytes = Gguf::llama()
        .i32("signed", -7)
        .array("layers", value_type::U32, 2, &[3, 0, 0, 0, 4, 0, 0, 0])
        .array("scales", 6, 2, &scales)
        .build();
    let header = read(&bytes).expect("valid");
    assert_eq!(header.text("general.architecture").expect("a string"), Some("llama"));
    assert_eq!(header.get("signed"), Some(&Value::Signed(ValueType::I32, -7)));
    assert_eq!(header.integers("layers").expect("numbers"), [3, 4]);
    assert!(header.integers("scales").is_err(), "fractions are no layers");
    assert_eq!(header.integer("missing").expect("nothing"), None);
    let Some(Value::Array(tokens)) = header.get(TOKENS) else { panic!("kept when asked for") };
    assert_eq!(tokens.texts().collect::<Vec<_>>(), [&b"<s>"[..], b"</s>", b"a", b"b"]);
    let tensor = &header.tensors[0];
    assert_eq!(
        (tensor.name.as_str(), tensor.shape, tensor.bytes),
        ("token_embd.weight", [64, 4, 1, 1], 1024)
    );
    assert_eq!(header.data_offset + 1024 + 256, bytes.len() as u64);
    let description = describe(&header).expect("a model");
    assert_eq!(description, Description { architecture: "llama".into(), context_tokens: 128 });
}

#[test]
fn long_arrays_and_strings_are_not_kept_unless_asked_for() {
    let tokens: Vec<String> = (0..5000).map(|id| format!("token{id}")).collect();
    let tokens: Vec<&str> = tokens.iter().map(String::as_str).collect();
    let text = "x".repeat(STRING_KEPT_BYTES_MAX as usize + 1);
    let bytes = Gguf::llama().texts("long", &tokens).text("text", &text).build();
    let kept = |names: &[&str]| {
        let header = read_header(&bytes[..], bytes.len() as u64, names).expect("valid");
        assert!(matches!(header.get("text"), Some(Value::LongText { bytes: 1_048_577 })));
        let Some(Value::Array(array)) = header.get("long") else { panic!("an array") };
        assert_eq!(array.elements, 5000);
        array.texts().count()
    };
    assert_eq!(kept(&[]), 0);
    assert_eq!(kept(&["long"]), 5000);
}

#[test]
fn a_header_without_end_is_left_at_the_limit() {
    // Ten strings of 60 MiB in a file that is said to be endless.
    let mut header = Gguf::empty();
    header.key_count = Some(10);
    let text = |no: u64| {
        let key = [&1_u64.to_le_bytes()[..], &[b'a' + no as u8], &value_type::TEXT.to_le_bytes()].concat();
        io::Cursor::new([key, (60_u64 << 20).to_le_bytes().to_vec()].concat())
            .chain(io::repeat(b'x').take(60 << 20))
    };
    let texts = (0..10)
        .map(text)
        .fold(Box::new(io::Cursor::new(header.build())) as Box<dyn io::Read>, |before, text| {
            Box::new(before.chain(text))
        });
    let error = read_header(texts, u64::MAX, &[]).expect_err("too long");
    assert!(matches!(error, GgufError::Limit { what: "bytes in the header", .. }), "{error}");
}

#[test]
fn every_hostile_file_is_refused_in_words() {
    for case in hostile::gguf() {
        let error = describe_bytes(&case.bytes).expect_err(case.name).to_string();
        assert!(error.contains(case.words), "{}: {error}", case.name);
    }
}

#[test]
fn block_sizes_are_those_of_their_names() {
    // K-quants and i-quants have super-blocks of 256, the older ones blocks of 32; bits for each
    // weight follow.
    let bits = |name: &str| {
        let known = TENSOR_TYPES.iter().find(|known| known.name == name).expect(name);
        known.block_bytes as f64 * 8.0 / known.block_elements as f64
    };
    let expected = [
        ("Q4_0", 4.5),
        ("Q8_0", 8.5),
        ("Q4_K", 4.5),
        ("Q6_K", 6.5625),
        ("IQ1_S", 1.5625),
        ("IQ2_XXS", 2.0625),
        ("IQ4_XS", 4.25),
        ("TQ1_0", 1.6875),
        ("MXFP4", 4.25),
        ("NVFP4", 4.5),
    ];
    for (name, expected) in expected {
        assert!((bits(name) - expected).abs() < 1e-9, "{name}: {}", bits(name));
    }
    let mut ids: Vec<u32> = TENSOR_TYPES.iter().map(|known| known.id).collect();
    ids.dedup();
    assert_eq!(ids.len(), TENSOR_TYPES.len());
}

#[test]
fn names_of_parts_are_taken_apart_and_made() {
    let name = SplitName::parse("DeepSeek-V3-Q4_K_M-00002-of-00009.gguf").expect("a part");
    assert_eq!((name.part, name.count), (2, 9));
    assert_eq!(name.of_part(9), "DeepSeek-V3-Q4_K_M-00009-of-00009.gguf");
    for other in
        ["a.gguf", "a-1-of-2.gguf", "a-00001-of-0000x.gguf", "a-00001-of-00002.bin", "a-+0001-of-00002.gguf"]
    {
        assert_eq!(SplitName::parse(other), None, "{other}");
    }
}

#[test]
fn parts_must_be_all_there_in_order_and_of_one_model() {
    let parts = split_llama(3);
    let headers: Vec<_> = parts.iter().map(|(name, bytes)| (name, read(bytes).expect("valid"))).collect();
    assert_eq!(SplitSet::count(&headers[2].1).expect("split"), 3);
    let gather = |order: &[usize]| {
        let mut set = SplitSet::new(3);
        for index in order {
            let (name, header) = &headers[*index];
            set.add(name, header)?;
        }
        set.finish()
    };
    gather(&[0, 1, 2]).expect("complete");
    assert!(matches!(gather(&[0, 2, 1]), Err(SplitError::Position { part: 3, .. })));
    assert!(matches!(gather(&[0, 1]), Err(SplitError::Tensors { found: 2, expected: 3 })));
    assert!(matches!(gather(&[1]), Err(SplitError::Position { part: 2, .. })));

    let unsplit = read(&Gguf::llama().build()).expect("valid");
    assert_eq!(SplitSet::count(&unsplit).expect("one"), 1);
    // llama.cpp aborts on a part's number that is not of 16 bits.
    let wide = Gguf::llama().u32("split.no", 0).u32("split.count", 3).build();
    let wide = read(&wide).expect("valid alone");
    assert!(matches!(SplitSet::new(3).add("wide", &wide), Err(SplitError::Keys { .. })));
}

prop_compose! {
    fn any_model()(
        keys in prop::collection::btree_map("[a-z]{1,8}\\.[a-z]{1,8}", any::<u32>(), 0..8),
        rows in prop::collection::vec((1_u64..40, 1_u64..4), 0..6),
        tokens in prop::collection::vec("\\PC{0,6}", 0..20),
    ) -> Gguf {
        let tokens: Vec<&str> = tokens.iter().map(String::as_str).collect();
        let gguf = Gguf::of("llama").texts("some.tokens", &tokens);
        let gguf = keys.iter().fold(gguf, |gguf, (key, value)| gguf.u32(key, *value));
        rows.iter().enumerate().fold(gguf, |gguf, (no, (row, rows))| {
            gguf.f32(&format!("t{no}"), &[row * 8, *rows])
        })
    }
}

proptest! {
    #[test]
    fn what_is_valid_is_read(model in any_model()) {
        prop_assert!(describe_bytes(&model.build()).is_ok());
    }

    #[test]
    fn a_cut_file_is_refused(model in any_model(), cut in any::<prop::sample::Index>()) {
        let whole = model.f32("last", &[8]).build();
        // The padding after the last tensor is nobody's.
        let needed = whole.len() - 31;
        prop_assert!(read(&whole[..cut.index(needed)]).is_err());
    }

    #[test]
    fn a_damaged_file_never_panics_and_keeps_its_promises(
        model in any_model(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let mut bytes = model.build();
        for (place, value) in damage {
            let place = place.index(bytes.len());
            bytes[place] = value;
        }
        if let Ok(header) = read(&bytes) {
            for tensor in &header.tensors {
                prop_assert!(header.data_offset + tensor.offset + tensor.bytes <= bytes.len() as u64);
            }
            let _ = describe(&header);
        }
    }
}
