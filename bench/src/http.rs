//! The load generator's client: HTTP/1.1 on connections that stay, over TLS or plain TCP.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use rustls::crypto::aws_lc_rs;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use serde::Deserialize;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;

use crate::sse::Events;

/// For the next piece of an answer: whoever is silent for so long has failed.
const SILENCE_MS_MAX: u64 = 120_000;

/// Waits for a server, but not for ever.
async fn soon<T>(what: &str, future: impl Future<Output = T>) -> Result<T> {
    let patience = Duration::from_millis(SILENCE_MS_MAX);
    tokio::time::timeout(patience, future)
        .await
        .with_context(|| format!("{what}: not within {SILENCE_MS_MAX} ms"))
}

/// Where requests go.
#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) address: SocketAddr,
    /// As its certificate has it.
    pub(crate) name: ServerName<'static>,
    /// Absent: plain HTTP.
    pub(crate) tls: Option<TlsConnector>,
    /// Sent with each request.
    pub(crate) key: Option<String>,
}

/// TLS that trusts this certificate alone, as the appliance's users do.
pub(crate) fn trusting(ca: CertificateDer<'static>) -> Result<TlsConnector> {
    let mut roots = RootCertStore::empty();
    roots.add(ca).context("the CA's certificate cannot be used")?;
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .context("no version of TLS")?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

/// A certificate in a PEM file.
pub(crate) fn certificate(path: &Path) -> Result<CertificateDer<'static>> {
    CertificateDer::from_pem_file(path).with_context(|| format!("{} is no certificate", path.display()))
}

impl Target {
    /// A server that is known by its address, asks for no key and speaks plain HTTP.
    pub(crate) fn plain(address: SocketAddr) -> Self {
        Self { address, name: address.ip().into(), tls: None, key: None }
    }

    fn host(&self) -> String {
        match &self.name {
            ServerName::DnsName(name) => name.as_ref().to_owned(),
            _ => self.address.to_string(),
        }
    }

    pub(crate) async fn connect(&self) -> Result<Connection> {
        let stream = TcpStream::connect(self.address).await;
        let stream = stream.with_context(|| format!("cannot connect to {}", self.address))?;
        stream.set_nodelay(true)?;
        let (sender, task) = match &self.tls {
            None => open(stream).await?,
            Some(tls) => {
                let stream = tls.connect(self.name.clone(), stream).await;
                open(stream.context("the TLS handshake failed")?).await?
            }
        };
        Ok(Connection { sender, task, target: self.clone() })
    }
}

async fn open<S>(stream: S) -> Result<(SendRequest<Full<Bytes>>, JoinHandle<()>)>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let task = tokio::spawn(async move {
        // Whether it broke shows in the answers.
        let _ = connection.await;
    });
    Ok((sender, task))
}

/// One connection. Dropped, its socket is closed at once, in the middle of an answer too.
pub(crate) struct Connection {
    sender: SendRequest<Full<Bytes>>,
    task: JoinHandle<()>,
    target: Target,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Connection {
    pub(crate) async fn get(&mut self, path: &str) -> Result<Bytes> {
        whole(self.send("GET", path, Bytes::new()).await?).await
    }

    /// The whole answer to a request.
    pub(crate) async fn post(&mut self, path: &str, body: Bytes) -> Result<Bytes> {
        whole(self.send("POST", path, body).await?).await
    }

    /// Sends a request whose answer comes as events.
    pub(crate) async fn stream(&mut self, path: &str, body: Bytes) -> Result<Stream> {
        let response = self.send("POST", path, body).await?;
        let response = accepted(response).await?;
        Ok(Stream { body: response.into_body(), events: Events::default(), arrived: Instant::now() })
    }

    async fn send(&mut self, method: &str, path: &str, body: Bytes) -> Result<Response<Incoming>> {
        self.sender.ready().await.context("the server closed the connection")?;
        let mut request = Request::builder().method(method).uri(path);
        request = request.header(HOST, self.target.host());
        request = request.header(CONTENT_TYPE, "application/json");
        if let Some(key) = &self.target.key {
            request = request.header(AUTHORIZATION, format!("Bearer {key}"));
        }
        let request = request.body(Full::new(body)).context("not a request")?;
        let response = soon("an answer", self.sender.send_request(request)).await?;
        response.with_context(|| format!("no answer to {method} {path}"))
    }
}

/// The answer, unless its status tells of a failure.
async fn accepted(response: Response<Incoming>) -> Result<Response<Incoming>> {
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let body = response.into_body().collect().await.context("the answer broke off")?.to_bytes();
    bail!("{status}: {}", String::from_utf8_lossy(&body))
}

async fn whole(response: Response<Incoming>) -> Result<Bytes> {
    let body = accepted(response).await?.into_body();
    Ok(body.collect().await.context("the answer broke off")?.to_bytes())
}

/// An answer that is still coming.
pub(crate) struct Stream {
    body: Incoming,
    events: Events,
    arrived: Instant,
}

/// An event, and when its last byte was read.
#[derive(Debug)]
pub(crate) struct Arrived {
    pub(crate) at: Instant,
    pub(crate) event: Event,
}

/// What benchmarks read of an event.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Event {
    choices: Vec<Choice>,
    pub(crate) usage: Option<Usage>,
    error: Option<serde_json::Value>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Choice {
    delta: Delta,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Delta {
    content: Option<String>,
}

/// As the server counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub(crate) struct Usage {
    pub(crate) prompt_tokens: u64,
    pub(crate) completion_tokens: u64,
}

impl Event {
    /// Whether it brings text; the role alone, or the end, does not.
    pub(crate) fn has_text(&self) -> bool {
        let texts = self.choices.iter().filter_map(|choice| choice.delta.content.as_deref());
        texts.into_iter().any(|text| !text.is_empty())
    }
}

impl Stream {
    /// The next event; none after the last.
    pub(crate) async fn next(&mut self) -> Result<Option<Arrived>> {
        loop {
            match self.events.next().as_deref() {
                Some("[DONE]") => return self.end().await,
                Some(data) => {
                    let event: Event = serde_json::from_str(data).with_context(|| format!("in {data}"))?;
                    ensure!(event.error.is_none(), "the stream failed: {data}");
                    return Ok(Some(Arrived { at: self.arrived, event }));
                }
                None => {}
            }
            let frame = soon("an event", self.body.frame()).await?;
            let frame = frame.context("the stream ended before its last event")?;
            self.arrived = Instant::now();
            if let Some(data) = frame.context("the stream broke off")?.data_ref() {
                self.events.push(data);
            }
        }
    }

    /// Reads to the end of the body, so that the connection can be used again.
    async fn end(&mut self) -> Result<Option<Arrived>> {
        while let Some(frame) = self.body.frame().await {
            frame.context("the stream broke off")?;
        }
        Ok(None)
    }
}
