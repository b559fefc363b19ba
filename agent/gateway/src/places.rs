//! Places for connections. When all are taken, the connection that has been without a request for
//! the longest gives way to the newcomer: whoever holds many idle ones keeps nobody out, and a
//! client whose request runs is never cut off.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

/// Longest wait for a connection to give way.
const GIVE_WAY_MS_MAX: u64 = 100;

/// All places; the accepting task owns them.
#[derive(Debug)]
pub(crate) struct Places {
    free: Arc<Semaphore>,
    /// Who took one; those that are gone are swept out now and then.
    taken: Vec<Weak<Activity>>,
    places: usize,
    began: Instant,
}

impl Places {
    pub(crate) fn new(places: usize) -> Self {
        let free = Arc::new(Semaphore::new(places));
        Self { free, taken: Vec::new(), places, began: Instant::now() }
    }

    /// A place for a newcomer; none when requests run on all connections.
    pub(crate) async fn take(&mut self) -> Option<Place> {
        if self.taken.len() >= 2 * self.places {
            self.sweep();
        }
        let permit = match Arc::clone(&self.free).try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) => self.make_room().await?,
        };
        let activity = Arc::new(Activity::new(self.began));
        self.taken.push(Arc::downgrade(&activity));
        Some(Place { activity, _permit: permit })
    }

    async fn make_room(&mut self) -> Option<OwnedSemaphorePermit> {
        self.sweep();
        let open = self.taken.iter().filter_map(Weak::upgrade);
        let idle = open.filter_map(|activity| Some((activity.idle_since_ms()?, activity)));
        let (_, longest) = idle.min_by_key(|(since_ms, _)| *since_ms)?;
        longest.give_way.notify_one();
        drop(longest);
        // One on which a request has begun meanwhile stays.
        let freed = Arc::clone(&self.free).acquire_owned();
        tokio::time::timeout(Duration::from_millis(GIVE_WAY_MS_MAX), freed).await.ok()?.ok()
    }

    fn sweep(&mut self) {
        self.taken.retain(|activity| activity.strong_count() > 0);
    }
}

/// One connection's place, free again when it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    activity: Arc<Activity>,
    _permit: OwnedSemaphorePermit,
}

impl Place {
    /// For the requests of this connection.
    pub(crate) fn activity(&self) -> Arc<Activity> {
        Arc::clone(&self.activity)
    }

    /// Waits until the place is wanted by another, and no request runs.
    pub(crate) async fn wanted(&self) {
        loop {
            self.activity.give_way.notified().await;
            if self.activity.idle_since_ms().is_some() {
                return;
            }
        }
    }

    /// Waits until there has been no request for so long.
    pub(crate) async fn idle_for(&self, limit: Duration) {
        loop {
            let idle = self.activity.idle();
            match idle.map(|idle| limit.checked_sub(idle)) {
                None => tokio::time::sleep(limit).await,
                Some(Some(rest)) if !rest.is_zero() => tokio::time::sleep(rest).await,
                Some(_) => return,
            }
        }
    }
}

/// What a connection does.
#[derive(Debug)]
pub(crate) struct Activity {
    running: AtomicU32,
    /// Since the first connection of all: when the last request ended, or this one came.
    idle_since_ms: AtomicU64,
    began: Instant,
    give_way: Notify,
}

impl Activity {
    fn new(began: Instant) -> Self {
        let idle_since_ms = AtomicU64::new(began.elapsed().as_millis() as u64);
        Self { running: AtomicU32::new(0), idle_since_ms, began, give_way: Notify::new() }
    }

    /// A request has begun.
    pub(crate) fn begin(self: &Arc<Self>) -> Running {
        self.running.fetch_add(1, Ordering::AcqRel);
        Running(Arc::clone(self))
    }

    /// None while a request runs.
    fn idle_since_ms(&self) -> Option<u64> {
        let idle = self.running.load(Ordering::Acquire) == 0;
        idle.then(|| self.idle_since_ms.load(Ordering::Acquire))
    }

    fn idle(&self) -> Option<Duration> {
        Some(self.began.elapsed().saturating_sub(Duration::from_millis(self.idle_since_ms()?)))
    }
}

/// A request under way, to the end of its answer's body.
#[derive(Debug)]
pub(crate) struct Running(Arc<Activity>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.idle_since_ms.store(self.0.began.elapsed().as_millis() as u64, Ordering::Release);
        self.0.running.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the connection's task does.
    fn open(place: Place) -> tokio::task::JoinHandle<()> {
        tokio::spawn(async move { place.wanted().await })
    }

    #[tokio::test]
    async fn the_longest_idle_connection_gives_way_and_a_running_one_never() {
        let mut places = Places::new(3);
        let busy = places.take().await.expect("free");
        let _request = busy.activity().begin();
        let busy = open(busy);
        let old = places.take().await.expect("free");
        let old_activity = old.activity();
        let old = open(old);
        let young = places.take().await.expect("free");
        young.activity.idle_since_ms.store(u64::MAX, Ordering::Release);
        let young = open(young);
        drop(old_activity);

        let newcomer = places.take().await.expect("the longest idle one gives way");
        old.await.expect("it is gone");
        assert!(!busy.is_finished() && !young.is_finished());
        let _first = newcomer.activity().begin();
        let newcomer = open(newcomer);
        let last = places.take().await.expect("the young one gives way");
        young.await.expect("it is gone");
        let _second = last.activity().begin();
        assert!(places.take().await.is_none(), "requests run on all of them");
        assert!(!busy.is_finished() && !newcomer.is_finished());
    }

    #[tokio::test]
    async fn a_connection_that_is_gone_leaves_its_place() {
        let mut places = Places::new(1);
        for _ in 0..10 {
            drop(places.take().await.expect("free"));
        }
        assert!(places.taken.len() <= 2, "those that are gone are forgotten");
    }

    #[tokio::test]
    async fn idleness_is_counted_from_the_end_of_the_last_request() {
        let place = Places::new(1).take().await.expect("free");
        let request = place.activity().begin();
        assert_eq!(place.activity.idle_since_ms(), None);
        drop(request);
        assert!(place.activity.idle_since_ms().is_some());
        place.idle_for(Duration::ZERO).await;
    }
}
