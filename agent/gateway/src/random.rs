//! Ids that nobody can guess.

/// 128 random bits as 32 hexadecimal digits.
pub(crate) fn hex() -> String {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).expect("the kernel's random source works once the machine has booted");
    hex::encode(bytes)
}
