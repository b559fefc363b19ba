//! The soak, for a moment: every request has an end.

use std::time::Duration;

use nabi_makers::Kind;
use nabi_soak::{Kills, Plan, run};
use nabi_tests::engine::Tiny;

#[test]
fn every_request_ends_while_engines_are_killed() {
    let plan = Plan {
        duration: Duration::from_secs(20),
        seed: 1,
        users: 6,
        kills: Kills { engine_s: Some([4, 8]), gateway_s: Some([11, 15]) },
    };
    let tiny = Tiny::make(Kind::DeepseekV3, None);
    let report = run(&plan, &tiny.path());
    assert!(report.violations == 0 && report.leftovers.is_empty(), "{report}");
    assert!(report.ended("complete") > 0, "{report}");
}
