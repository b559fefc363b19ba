//! Requests share the model's steps.

use nabi_tests::appliance::{State, wait_for};

use crate::{TINY, longest, serve_tiny};

#[test]
fn two_requests_are_computed_in_the_same_steps() {
    let state = State::empty();
    let up = serve_tiny(&state, &[]);
    let client = up.client();
    let figure = |name: &str| state.status()["engines"][0]["stats"][name].as_u64();
    client.stream(TINY, "alone", serde_json::json!({"max_tokens": 8})).end();
    assert_eq!(figure("last_step_sequences_max"), Some(1));

    let mut streams = ["one", "another"].map(|prompt| client.stream(TINY, prompt, longest()));
    for stream in &mut streams {
        stream.next_text();
    }
    wait_for("a step of two sequences", || figure("last_step_sequences_max").filter(|&most| most == 2));
    drop(streams);
    wait_for("those who went leave their places", || figure("running").filter(|&running| running == 0));
}
