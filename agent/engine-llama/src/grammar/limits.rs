//! What a grammar may cost. A grammar comes from a stranger: whatever it says, compiling it ends
//! within about a second, and no step of the model waits for it longer than some milliseconds.

use llguidance::api::ParserLimits;

/// Work on regular expressions while compiling; 50,000 a millisecond.
const COMPILE_FUEL_MAX: u64 = 1_000_000;
/// Symbols in a compiled grammar.
const SYMBOLS_MAX: usize = 30_000;
/// Work on regular expressions for one token; 14,000 a millisecond.
const STEP_FUEL_MAX: u64 = 100_000;
/// Positions in rules that are considered for one token; 20,000 a millisecond.
const STEP_POSITIONS_MAX: usize = 50_000;
/// Positions in rules at one byte: how ambiguous a grammar may be.
const BYTE_POSITIONS_MAX: usize = 2_000;
/// States of all regular expressions together; each takes 1 to 2 kB.
const LEXER_STATES_MAX: usize = 20_000;

pub(super) fn limits() -> ParserLimits {
    ParserLimits {
        max_items_in_row: BYTE_POSITIONS_MAX,
        initial_lexer_fuel: COMPILE_FUEL_MAX,
        step_lexer_fuel: STEP_FUEL_MAX,
        step_max_items: STEP_POSITIONS_MAX,
        max_lexer_states: LEXER_STATES_MAX,
        max_grammar_size: SYMBOLS_MAX,
        precompute_large_lexemes: true,
        // Its messages would repeat the answer.
        verbose_errors: false,
    }
}
