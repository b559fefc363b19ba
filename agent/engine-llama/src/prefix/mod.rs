//! Computed prefixes: which of them a sequence may use, and where they are kept.
//!
//! A sequence that ends leaves its keys and values in its slot until the slot is needed, then in
//! memory, then on disk. A new one takes what it finds of its own tokens, under its own salt.

mod disk;
mod index;
mod place;
mod saved;

use nabi_wire::engine::Salt;

pub(crate) use place::{Placement, SlotView, Source, Wanted, place};
pub(crate) use saved::Saved;

/// Shorter ones are computed sooner than saved.
pub(crate) const SAVED_TOKENS_MIN: usize = 64;

/// Tokens whose keys and values are known, and whose they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Prefix {
    pub(crate) salt: Salt,
    pub(crate) tokens: Vec<u32>,
}

/// What of a computed sequence can be used for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PrefixRule {
    /// Any beginning: the state can be cut back to it.
    Cut,
    /// All of it or nothing: a part of the state stands for all tokens together.
    Whole,
}

/// Architectures whose state cannot be cut back, beside those of which llama.cpp tells: DeepSeek-V4
/// keeps compressed rows for blocks of tokens.
const WHOLE: [&str; 1] = ["deepseek4"];

impl PrefixRule {
    /// `forgets`: llama.cpp says that part of the state is overwritten by each token.
    pub(crate) fn of(architecture: &str, forgets: bool) -> Self {
        if forgets || WHOLE.contains(&architecture) { Self::Whole } else { Self::Cut }
    }

    /// How many of `wanted` need not be computed where `computed` is. Never all of them: the last
    /// one gives the logits.
    pub(crate) fn usable(self, computed: &[u32], wanted: &[u32]) -> usize {
        let most = wanted.len().saturating_sub(1);
        let common = computed.iter().zip(wanted).take_while(|(a, b)| a == b).count();
        match self {
            Self::Cut => common.min(most),
            Self::Whole if common == computed.len() && common <= most => common,
            Self::Whole => 0,
        }
    }

    /// Whether all that `less` is good for, `more` is good for.
    pub(crate) fn covers(self, more: &[u32], less: &[u32]) -> bool {
        match self {
            Self::Cut => more.starts_with(less),
            Self::Whole => more == less,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::PrefixRule;

    #[test]
    fn a_state_that_cannot_be_cut_is_used_whole_or_not_at_all() {
        let computed = [1, 2, 3];
        for (wanted, cut, whole) in [
            (&[1, 2, 3, 4][..], 3, 3),
            (&[1, 2, 3], 2, 0),
            (&[1, 2, 9, 9], 2, 0),
            (&[9, 2, 3, 4], 0, 0),
            (&[1], 0, 0),
            (&[], 0, 0),
        ] {
            assert_eq!(PrefixRule::Cut.usable(&computed, wanted), cut, "{wanted:?}");
            assert_eq!(PrefixRule::Whole.usable(&computed, wanted), whole, "{wanted:?}");
        }
    }

    #[test]
    fn the_rule_is_that_of_the_architecture_unless_llama_cpp_knows_more() {
        assert_eq!(PrefixRule::of("deepseek2", false), PrefixRule::Cut);
        assert_eq!(PrefixRule::of("deepseek4", false), PrefixRule::Whole);
        assert_eq!(PrefixRule::of("gemma3", true), PrefixRule::Whole);
    }
}
