//! Bytes that nobody can guess.

/// So many random bytes.
pub(crate) fn bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the kernel's random source works once the machine has booted");
    bytes
}

/// 128 random bits as 32 hexadecimal digits.
pub(crate) fn hex() -> String {
    hex::encode(bytes::<16>())
}
