//! The self-test and the judgement of a start as text.

use nabi_domain::boot::{BootFacts, ModelNow, SelfTest, ServedBefore};

pub(super) fn self_test(outcome: &SelfTest) -> String {
    match outcome {
        SelfTest::Passed { tokens } => format!("the self-test passed: {tokens} tokens, all as known\n"),
        SelfTest::Pending { reason } => format!("the self-test cannot be made yet: {reason}\n"),
        SelfTest::Failed { reason } => format!("the self-test failed: {reason}\n"),
        SelfTest::WrongTokens { expected, found } => format!(
            "the self-test failed: the tokens {found:?} came instead of {expected:?}; answers of all models may be wrong\n"
        ),
    }
}

pub(super) fn boot(facts: &BootFacts) -> String {
    let mut text = self_test(&facts.self_test);
    if facts.models.is_empty() {
        text += "no model was served before\n";
    }
    facts.models.iter().for_each(|model| text += &served_before(model));
    text
}

fn served_before(ServedBefore { name, now }: &ServedBefore) -> String {
    let now = match now {
        ModelNow::Serves => "serves as before",
        ModelNow::Loading => "served before, loads",
        ModelNow::Failing { reason } => &format!("served before, its engine ended: {reason}"),
        ModelNow::Refused { reason } => &format!("served before, cannot be now: {reason}"),
        ModelNow::Absent { reason } => &format!("served before, is not there: {reason}"),
    };
    format!("{name}: {now}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_model_that_was_served_has_a_line() {
        let name = || "chat".parse().expect("a name");
        let reason = || "x".to_owned();
        let line = |now| served_before(&ServedBefore { name: name(), now });
        assert_eq!(line(ModelNow::Serves), "chat: serves as before\n");
        assert_eq!(line(ModelNow::Absent { reason: reason() }), "chat: served before, is not there: x\n");
        let facts = BootFacts { self_test: SelfTest::Passed { tokens: 8 }, models: Vec::new() };
        assert_eq!(
            boot(&facts),
            "the self-test passed: 8 tokens, all as known\nno model was served before\n"
        );
        let wrong = SelfTest::WrongTokens { expected: vec![1, 2], found: vec![1, 3] };
        assert!(self_test(&wrong).contains("[1, 3] came instead of [1, 2]"));
    }
}
