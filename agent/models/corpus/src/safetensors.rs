//! A writer of safetensors that writes what it is told, right or wrong.

/// A file with this JSON header and so many bytes of data.
pub fn file(header: &str, data_bytes: usize) -> Vec<u8> {
    let length = (header.len() as u64).to_le_bytes();
    [&length[..], header.as_bytes(), &vec![0; data_bytes]].concat()
}

/// One tensor's entry in a header.
pub fn entry(name: &str, data_type: &str, shape: &str, begin: u64, end: u64) -> String {
    format!(r#""{name}":{{"dtype":"{data_type}","shape":{shape},"data_offsets":[{begin},{end}]}}"#)
}

/// A valid file of vectors in BF16, each with a name and a length.
pub fn vectors(tensors: &[(&str, u64)]) -> Vec<u8> {
    let mut end = 0;
    let mut entries = vec![r#""__metadata__":{"format":"pt"}"#.to_owned()];
    for (name, length) in tensors {
        let begin = end;
        end += 2 * length;
        entries.push(entry(name, "BF16", &format!("[{length}]"), begin, end));
    }
    file(&format!("{{{}}}", entries.join(",")), end as usize)
}
