//! An API user: HTTPS with nothing but the appliance's CA.

use std::fs;
use std::io::{BufRead as _, BufReader, Lines};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use ureq::config::Config;
use ureq::http::{Response, Uri};
use ureq::tls::{Certificate, RootCerts, TlsConfig};
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{DefaultConnector, NextTimeout};
use ureq::{Agent, Body, BodyReader};

use super::{DEADLINE_S, text};

/// For an answer of a machine in software emulation.
const EMULATED_S_MAX: u64 = 600;

/// A user with a key.
#[derive(Clone)]
pub struct Client {
    agent: Agent,
    address: String,
    key: String,
}

impl Client {
    pub(crate) fn new(address: &str, ca: &Path, key: &str) -> Self {
        let pem = fs::read(ca).expect("the CA's certificate is where it is said to be");
        let agent = config(&pem, DEADLINE_S).into();
        Self { agent, address: address.to_owned(), key: key.to_owned() }
    }

    /// A user of a machine that is called so, and is reached at another address than the name's.
    ///
    /// # Panics
    /// When the CA's certificate is none.
    pub fn through(address: SocketAddr, name: &str, ca_pem: &str, key: &str) -> Self {
        let config = config(ca_pem.as_bytes(), EMULATED_S_MAX);
        let agent = Agent::with_parts(config, DefaultConnector::default(), Always(address));
        Self { agent, address: format!("https://{name}"), key: key.to_owned() }
    }

    /// Another user of the same appliance.
    #[must_use]
    pub fn with_key(&self, key: &str) -> Self {
        Self { key: key.to_owned(), ..self.clone() }
    }

    /// Asks for a path.
    ///
    /// # Panics
    /// When there is no answer.
    pub fn get(&self, path: &str) -> Reply {
        let request = self.agent.get(format!("{}{path}", self.address));
        let answer = request.header("Authorization", format!("Bearer {}", self.key)).call();
        Reply::read(answer.unwrap_or_else(|error| panic!("GET {path}: {error}")))
    }

    /// Asks for a path of a machine that may not answer yet.
    pub fn try_get(&self, path: &str) -> Option<Reply> {
        self.agent.get(format!("{}{path}", self.address)).call().ok().map(Reply::read)
    }

    /// Says something to a model; `fields` are added to the request.
    pub fn say(&self, model: &str, content: &str, fields: Value) -> Reply {
        Reply::read(self.post(model, content, fields))
    }

    /// Says something, and reads the answer as it comes.
    ///
    /// # Panics
    /// When no stream begins.
    pub fn stream(&self, model: &str, content: &str, mut fields: Value) -> Stream {
        fields["stream"] = true.into();
        let response = self.post(model, content, fields);
        assert_eq!(response.status(), 200, "{:?}", response.into_body().read_to_string());
        Stream { lines: BufReader::new(response.into_body().into_reader()).lines() }
    }

    fn post(&self, model: &str, content: &str, fields: Value) -> Response<Body> {
        let mut body = json!({"model": model, "messages": [{"role": "user", "content": content}]});
        for (name, value) in fields.as_object().expect("an object") {
            body[name] = value.clone();
        }
        let request = self.agent.post(format!("{}/v1/chat/completions", self.address));
        let request = request.header("Authorization", format!("Bearer {}", self.key));
        let answer = request.content_type("application/json").send(body.to_string());
        answer.unwrap_or_else(|error| panic!("POST {body}: {error}"))
    }
}

/// Settings of a client that trusts this authority alone.
fn config(ca_pem: &[u8], answer_s_max: u64) -> Config {
    let ca = Certificate::from_pem(ca_pem).expect("a certificate");
    let tls = TlsConfig::builder()
        .root_certs(RootCerts::new_with_certs(&[ca]))
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .build();
    Agent::config_builder()
        .tls_config(tls)
        .http_status_as_error(false)
        .timeout_global(Some(Duration::from_secs(answer_s_max)))
        // A gateway that was killed takes its connections along.
        .max_idle_connections(0)
        .build()
}

/// Finds each name at one address.
#[derive(Debug)]
struct Always(SocketAddr);

impl Resolver for Always {
    fn resolve(&self, _: &Uri, _: &Config, _: NextTimeout) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let mut addresses = self.empty();
        addresses.push(self.0);
        Ok(addresses)
    }
}

/// A whole answer.
#[derive(Debug)]
pub struct Reply {
    /// Of HTTP.
    pub status: u16,
    /// Null unless it is JSON.
    pub body: Value,
}

impl Reply {
    fn read(mut response: Response<Body>) -> Self {
        let status = response.status().as_u16();
        let body = response.body_mut().read_to_string().expect("a whole body");
        Self { status, body: serde_json::from_str(&body).unwrap_or_default() }
    }

    /// The answer's text.
    ///
    /// # Panics
    /// When the request failed.
    pub fn text(&self) -> String {
        assert_eq!(self.status, 200, "{}", self.body);
        text(&self.body["choices"][0]["message"]["content"])
    }

    /// The status and the code of an error.
    pub fn error(&self) -> (u16, &str) {
        (self.status, self.body["error"]["code"].as_str().unwrap_or("no code"))
    }
}

/// An answer that is still coming. Dropped, it is given up.
pub struct Stream {
    lines: Lines<BufReader<BodyReader<'static>>>,
}

/// How a stream ended.
#[derive(Debug, Default)]
pub struct Ending {
    /// What came since the last look.
    pub text: String,
    /// Why the answer ended, in its own words.
    pub finish_reason: Option<String>,
    /// The code of an error event.
    pub error: Option<String>,
}

impl Stream {
    /// Reads on until some text comes.
    ///
    /// # Panics
    /// When the stream ends before.
    pub fn next_text(&mut self) -> String {
        loop {
            let event = self.next_event().expect("the stream goes on");
            let content = event["choices"][0]["delta"]["content"].as_str().unwrap_or_default();
            if !content.is_empty() {
                return content.to_owned();
            }
        }
    }

    /// Reads to the end, which must be a proper one: `[DONE]` comes last, and before it a reason.
    ///
    /// # Panics
    /// When it is none.
    pub fn end(mut self) -> Ending {
        let mut ending = Ending::default();
        while let Some(event) = self.next_event() {
            let choice = &event["choices"][0];
            ending.text += choice["delta"]["content"].as_str().unwrap_or_default();
            ending.finish_reason =
                ending.finish_reason.or(choice["finish_reason"].as_str().map(str::to_owned));
            ending.error = ending.error.or(event["error"]["code"].as_str().map(str::to_owned));
        }
        assert!(ending.finish_reason.is_some() != ending.error.is_some(), "one reason: {ending:?}");
        ending
    }

    /// The next event, or none after `[DONE]`.
    fn next_event(&mut self) -> Option<Value> {
        loop {
            let line = self.lines.next().expect("the stream ends with [DONE]").expect("the stream goes on");
            match line.strip_prefix("data: ") {
                Some("[DONE]") => return None,
                Some(event) => return Some(serde_json::from_str(event).expect("an event is JSON")),
                None => assert_eq!(line, "", "nothing but data"),
            }
        }
    }
}
