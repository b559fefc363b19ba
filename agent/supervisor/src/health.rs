//! How the appliance is: what was served before and how it is now, the self-test's outcome, and what
//! the operator should see to. `nabi boot-check` judges a start by it.

mod alarms;
mod served;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use nabi_domain::ModelName;
use nabi_domain::boot::{self, BootFacts, SelfTest, Served, ServedBefore, TRIAL_SIGN, Wanted};
use nabi_models::{Store, atomic_file};
use nabi_wire::reply::Alarm;
use tokio::sync::watch;

use crate::core::Snapshot;
use crate::engine::Published;
use crate::engine_config::SELF_TEST_MODEL;
use crate::places::Places;
use crate::self_test;

/// How often it is looked whether something was proven, ended or changed.
const WATCH_S: u64 = 5;
/// What was served, in the supervisor's own folder.
const SERVED_FILE: &str = "served.json";

/// What is watched, and what came of it last.
#[derive(Clone)]
pub(crate) struct Health {
    places: Arc<Places>,
    /// The folder of the self-test model, if the installation has one.
    self_test: Option<PathBuf>,
    outcome: watch::Sender<SelfTest>,
}

impl Health {
    pub(crate) fn new(places: Arc<Places>, self_test: Option<PathBuf>) -> Self {
        let outcome = watch::Sender::new(SelfTest::Pending { reason: "it was not made yet".to_owned() });
        Self { places, self_test, outcome }
    }

    /// Makes the self-test now.
    pub(crate) async fn self_test(&self, now: &Snapshot) -> SelfTest {
        let outcome = self_test::run(self.self_test.as_deref(), engine_of_self_test(now)).await;
        self.outcome.send_replace(outcome.clone());
        outcome
    }

    /// What a start is judged by.
    pub(crate) async fn facts(&self, now: &Snapshot) -> Result<BootFacts> {
        let noted = self.noted()?;
        let models = self.wanted(now, &noted).into_iter().filter(|model| noted.contains_key(&model.name));
        let models = models.map(|Wanted { name, now, .. }| ServedBefore { name, now }).collect();
        // Passed once, it is passed: beside models that load it takes long.
        let before = self.outcome.borrow().clone();
        let self_test = match before {
            SelfTest::Passed { .. } => before,
            _ => self.self_test(now).await,
        };
        Ok(BootFacts { self_test, models })
    }

    /// What the operator should see to.
    pub(crate) fn alarms(&self, now: &Snapshot) -> Vec<Alarm> {
        let wanted = self.wanted(now, &self.noted().unwrap_or_default());
        let outcome = self.self_test.is_some().then(|| self.outcome.borrow().clone());
        let mut alarms = alarms::of_models(&wanted);
        alarms.extend(outcome.and_then(|outcome| alarms::of_self_test(&outcome)));
        if self.places.models_are_away() {
            alarms.push(Alarm::ModelsDisk { folder: self.places.models() });
        }
        alarms.extend(alarms::of_disks(&[self.places.models(), self.places.logs()]));
        alarms.extend(alarms::of_clock(&[self.places.ca_certificate(), self.places.private(SERVED_FILE)]));
        alarms
    }

    /// Notes what is served, and makes the self-test when it can be made. For ever.
    pub(crate) async fn watch(&self, snapshot: impl AsyncFn() -> Result<Snapshot>) -> Result<()> {
        let mut rounds = tokio::time::interval(Duration::from_secs(WATCH_S));
        loop {
            rounds.tick().await;
            let now = snapshot().await?;
            if self.self_test.is_some() && matches!(*self.outcome.borrow(), SelfTest::Pending { .. }) {
                self.self_test(&now).await;
            }
            if let Err(error) = self.note(&now) {
                tracing::error!("what is served could not be noted: {error:#}");
            }
        }
    }

    fn note(&self, now: &Snapshot) -> Result<()> {
        let noted = self.noted()?;
        let next = boot::remember(&noted, &self.wanted(now, &noted), Path::new(TRIAL_SIGN).exists());
        if next == noted {
            return Ok(());
        }
        let path = self.places.private(SERVED_FILE);
        let json = serde_json::to_vec_pretty(&next).context("cannot write JSON")?;
        atomic_file::write(&path, &json, 0o600).with_context(|| format!("cannot write {}", path.display()))
    }

    /// What was served before. A file that is damaged is worth no more than one that is missing:
    /// it is made anew, and must not keep a machine from serving.
    fn noted(&self) -> Result<Served> {
        let path = self.places.private(SERVED_FILE);
        match fs::read(&path) {
            Ok(json) => Ok(serde_json::from_slice(&json).unwrap_or_else(|error| {
                tracing::warn!("{} is damaged, and made anew: {error}", path.display());
                Served::default()
            })),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Served::default()),
            Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
        }
    }

    /// Every model that is to be served, but the built-in one.
    fn wanted(&self, now: &Snapshot, noted: &Served) -> Vec<Wanted> {
        let store = Store::open(&self.places.models());
        let machine = served::Machine::this();
        let wanted = |(name, _, published): &(ModelName, _, Published)| {
            let files = served::files(store.as_ref(), name, &machine);
            let now = served::model_now(&published.state, &files, noted.get(name));
            Wanted { name: name.clone(), files: files.ok(), now }
        };
        now.engines.iter().filter(|(name, ..)| name.as_str() != SELF_TEST_MODEL).map(wanted).collect()
    }
}

fn engine_of_self_test(now: &Snapshot) -> Option<&Published> {
    let found = now.engines.iter().find(|(name, ..)| name.as_str() == SELF_TEST_MODEL);
    found.map(|(.., published)| published)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::launch::Launcher;

    #[tokio::test]
    async fn a_self_test_that_passed_is_not_made_again_for_a_start() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let places =
            Places::open(folder.path(), &folder.path().join("run"), Launcher::Child).expect("places");
        let health = Health::new(Arc::new(places), None);
        let now = Snapshot { engines: vec![], aliases: vec![] };
        let of_start = async || health.facts(&now).await.expect("facts").self_test;
        assert!(matches!(of_start().await, SelfTest::Failed { .. }), "there is no model for it");
        health.outcome.send_replace(SelfTest::Passed { tokens: 8 });
        assert_eq!(of_start().await, SelfTest::Passed { tokens: 8 });
        // Asked for, it is made.
        assert!(matches!(health.self_test(&now).await, SelfTest::Failed { .. }));
    }
}
