//! Users, each of whom asks one thing after the other.

use std::fs;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::thread;
use std::time::{Duration, Instant};

use nabi_tests::appliance::Appliance;
use ureq::Agent;
use ureq::tls::{Certificate, RootCerts, TlsConfig};

use crate::answer::{self, End};
use crate::dice::Dice;
use crate::faults::Faults;
use crate::request::{Kind, Request};

/// After this a request counts as one without an end.
const END_S_MAX: u64 = 600;
/// Shorter than a well-behaved client's pause, so that starting engines are met often.
const RETRY_MS: u64 = 200;
const GIVEN_UP_EVENTS_MAX: u64 = 12;

/// Errors that a killed or crowded process excuses.
const EXCUSED: [&str; 7] = [
    "engine_lost",
    "engine_draining",
    "model_not_ready",
    "queue_full",
    "queue_time_over",
    "shutting_down",
    "too_many_requests",
];

/// A request that ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) kind: Kind,
    pub(crate) end: Judged,
    pub(crate) took: Duration,
}

/// What is said of an end.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Judged {
    /// As it must be, in a word.
    Good(String),
    /// What must not be.
    Bad(String),
}

/// A user with a key and a connection.
#[derive(Debug)]
pub(crate) struct User {
    agent: Agent,
    address: String,
    key: String,
    dice: Dice,
}

impl User {
    pub(crate) fn new(up: &Appliance<'_>, key: &str, dice: Dice) -> Self {
        let pem = fs::read(up.ca()).expect("the CA's certificate is where it is said to be");
        let ca = Certificate::from_pem(&pem).expect("a certificate");
        let tls = TlsConfig::builder()
            .root_certs(RootCerts::new_with_certs(&[ca]))
            .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
            .build();
        let config = Agent::config_builder()
            .tls_config(tls)
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_secs(END_S_MAX)))
            .build();
        Self { agent: config.into(), address: up.address().to_owned(), key: key.to_owned(), dice }
    }

    /// Whether the model gives vectors.
    pub(crate) fn embeds(mut self) -> bool {
        let request = Request::embeddings(&mut self.dice);
        self.send(&request) == End::Complete
    }

    /// Asks until the time is over, and tells how each request ended.
    pub(crate) fn ask(mut self, until: Instant, embeds: bool, faults: &Faults, tell: &Sender<Ended>) {
        // A connection that is used again may have been broken while nothing was asked.
        let mut last_begun = Instant::now();
        while Instant::now() < until {
            let request = Request::draw(&mut self.dice, &self.key, embeds);
            let begun = Instant::now();
            let end = self.send(&request);
            let took = begun.elapsed();
            let is_excused = faults.gateway_was_killed_since(last_begun);
            let end = judge(&request, end, is_excused);
            last_begun = begun;
            if matches!(&end, Judged::Good(code) if EXCUSED.contains(&code.as_str())) {
                thread::sleep(Duration::from_millis(RETRY_MS));
            }
            // Nobody listens any more only when all has failed.
            let _ = tell.send(Ended { kind: request.kind, end, took });
        }
    }

    fn send(&mut self, request: &Request) -> End {
        let post = self.agent.post(format!("{}{}", self.address, request.path));
        let post =
            post.header("Authorization", format!("Bearer {}", self.key)).content_type("application/json");
        match post.send(&request.body[..]) {
            Ok(response) => answer::read(request, response, self.dice.between(1, GIVEN_UP_EVENTS_MAX)),
            Err(error) => End::Broken(error.to_string()),
        }
    }
}

fn judge(request: &Request, end: End, is_excused: bool) -> Judged {
    let is_wanted = |code: &str| request.refusal == Some(code);
    let about = |what: &str| Judged::Bad(format!("{:?} {}: {what}", request.kind, request.path));
    match end {
        End::Complete if request.refusal.is_none() => Judged::Good("complete".to_owned()),
        End::Complete => about(&format!("answered, but must be refused as {:?}", request.refusal)),
        End::GivenUp => Judged::Good("given up".to_owned()),
        End::Error(code) if is_wanted(&code) => Judged::Good("refused".to_owned()),
        End::Error(code) if EXCUSED.contains(&code.as_str()) => Judged::Good(code),
        End::Error(code) if code == "read_too_slowly" && request.kind == Kind::Slow => Judged::Good(code),
        End::Error(code) => about(&code),
        End::Broken(_) if is_excused => Judged::Good("lost with the gateway".to_owned()),
        End::Broken(how) => about(&format!("no end: {how}")),
        End::Wrong(what) => about(&what),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_faults_excuse_what_was_not_asked_for() {
        let mut dice = Dice::new(1);
        let good = Request { kind: Kind::Slow, ..Request::embeddings(&mut dice) };
        let bad = Request { kind: Kind::Bad, refusal: Some("invalid_value"), ..good.clone() };
        let error = |code: &str| End::Error(code.to_owned());
        let broken = || End::Broken("reset".to_owned());
        let is_good = |request, end, is_excused| matches!(judge(request, end, is_excused), Judged::Good(_));
        assert!(is_good(&good, End::Complete, false) && is_good(&good, error("engine_lost"), false));
        assert!(is_good(&good, error("read_too_slowly"), false) && is_good(&good, broken(), true));
        assert!(!is_good(&good, broken(), false) && !is_good(&good, error("internal_error"), true));
        assert!(
            !is_good(&good, error("invalid_value"), true) && !is_good(&good, End::Wrong(String::new()), true)
        );
        assert!(is_good(&bad, error("invalid_value"), false) && is_good(&bad, error("engine_lost"), false));
        assert!(!is_good(&bad, End::Complete, false) && !is_good(&bad, error("invalid_type"), false));
    }
}
