//! What the site file wants served. The operator's word, given later, goes before it.

use std::collections::{BTreeMap, BTreeSet};

use nabi_domain::ModelName;
use nabi_wire::action::ServeSettings;
use nabi_wire::config::SiteServe;

/// The wishes that can be met now: stored, neither served yet nor stopped by the operator.
pub(crate) fn due<'a>(
    wishes: &'a [SiteServe],
    served: &BTreeMap<ModelName, ServeSettings>,
    stopped: &BTreeSet<ModelName>,
    is_stored: impl Fn(&ModelName) -> bool,
) -> Vec<&'a SiteServe> {
    let is_due = |wish: &&SiteServe| {
        !served.contains_key(&wish.name) && !stopped.contains(&wish.name) && is_stored(&wish.name)
    };
    wishes.iter().filter(is_due).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wish_is_due_when_it_is_stored_and_nothing_was_decided() {
        let name = |name: &str| -> ModelName { name.parse().expect("a name") };
        let wish = |text: &str| SiteServe { name: name(text), settings: ServeSettings::default() };
        let wishes = ["stored", "served", "stopped", "absent"].map(wish);
        let served = BTreeMap::from([(name("served"), ServeSettings::default())]);
        let stopped = BTreeSet::from([name("stopped")]);
        let due = due(&wishes, &served, &stopped, |name| name.as_str() != "absent");
        assert_eq!(due, [&wishes[0]]);
    }
}
