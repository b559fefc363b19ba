//! A client over TLS, close to the wire: tests must see and break what ordinary ones hide.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper::header::HeaderMap;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::gateway::{KEY, MODEL};
use crate::within_deadline;

/// A request, with the test's key unless it says otherwise.
pub(crate) struct Request {
    method: &'static str,
    path: String,
    headers: Vec<(&'static str, String)>,
    body: Bytes,
}

impl Request {
    pub(crate) fn get(path: &str) -> Self {
        Self::new("GET", path)
    }

    pub(crate) fn new(method: &'static str, path: &str) -> Self {
        let key = ("authorization", format!("Bearer {KEY}"));
        Self { method, path: path.into(), headers: vec![key], body: Bytes::new() }
    }

    /// A request with this JSON body, for the test's model.
    pub(crate) fn post(path: &str, mut body: Value) -> Self {
        body["model"] = MODEL.into();
        Self { body: body.to_string().into(), ..Self::new("POST", path) }
    }

    /// A chat request with this body.
    pub(crate) fn chat(body: impl Into<Bytes>) -> Self {
        Self::raw("/v1/chat/completions", body)
    }

    /// A request with this body, whatever it is.
    pub(crate) fn raw(path: &str, body: impl Into<Bytes>) -> Self {
        Self { body: body.into(), ..Self::new("POST", path) }
    }

    /// A chat request whose one message is `content`, and with these fields besides.
    pub(crate) fn say(content: &str, fields: Value) -> Self {
        let mut body =
            serde_json::json!({"model": MODEL, "messages": [{"role": "user", "content": content}]});
        for (name, value) in fields.as_object().expect("an object") {
            body[name] = value.clone();
        }
        Self::chat(body.to_string())
    }

    /// Instead of the header's value, if it has one.
    pub(crate) fn header(mut self, name: &'static str, value: &str) -> Self {
        self = self.without(name);
        self.headers.push((name, value.into()));
        self
    }

    pub(crate) fn without(mut self, name: &'static str) -> Self {
        self.headers.retain(|(other, _)| *other != name);
        self
    }

    fn http(self, authority: &str) -> hyper::Request<Full<Bytes>> {
        let uri = format!("https://{authority}{}", self.path);
        let mut request = hyper::Request::builder().method(self.method).uri(uri).header("host", authority);
        for (name, value) in self.headers {
            request = request.header(name, value);
        }
        request.body(Full::new(self.body)).expect("a request")
    }
}

/// One connection of HTTP/1.1. Dropping it closes the socket at once.
pub(crate) struct Connection {
    sender: http1::SendRequest<Full<Bytes>>,
    task: JoinHandle<()>,
    authority: String,
}

/// TLS to the gateway.
pub(crate) async fn handshake(
    address: SocketAddr,
    mut config: ClientConfig,
    alpn: &[&[u8]],
) -> std::io::Result<TlsStream<TcpStream>> {
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
    let stream = TcpStream::connect(address).await?;
    let name = ServerName::from(address.ip());
    TlsConnector::from(Arc::new(config)).connect(name, stream).await
}

impl Connection {
    pub(crate) async fn open(address: SocketAddr, config: ClientConfig) -> Self {
        let stream = handshake(address, config, &[b"http/1.1"]).await.expect("a TLS handshake");
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.expect("HTTP/1.1");
        let task = tokio::spawn(async move {
            // Whether it broke shows in the replies.
            let _ = connection.await;
        });
        Self { sender, task, authority: address.to_string() }
    }

    pub(crate) async fn send(&mut self, request: Request) -> Streaming {
        within_deadline("the connection is free", self.sender.ready()).await.expect("open");
        let sent = self.sender.send_request(request.http(&self.authority));
        Streaming(within_deadline("the head of an answer", sent).await.expect("an answer"))
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// One request over HTTP/2.
pub(crate) async fn send_h2(address: SocketAddr, config: ClientConfig, request: Request) -> Reply {
    let stream = handshake(address, config, &[b"h2"]).await.expect("a TLS handshake");
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let handshake = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.expect("HTTP/2");
    let task = tokio::spawn(connection);
    let response = sender.send_request(request.http(&address.to_string())).await.expect("an answer");
    let reply = Streaming(response).whole().await;
    task.abort();
    reply
}

/// An answer whose body is still to come.
pub(crate) struct Streaming(hyper::Response<Incoming>);

impl Streaming {
    pub(crate) fn status(&self) -> u16 {
        self.0.status().as_u16()
    }

    /// Reads on until the text that came since the last call has `end` in it.
    pub(crate) async fn until(&mut self, end: &str) -> String {
        let mut text = String::new();
        while !text.contains(end) {
            let frame = within_deadline(end, self.0.body_mut().frame()).await;
            let frame = frame.unwrap_or_else(|| panic!("the body ended before {end:?}: {text}"));
            let data = frame.expect("the body goes on").into_data().expect("no trailers");
            text.push_str(std::str::from_utf8(&data).expect("whole characters"));
        }
        text
    }

    pub(crate) async fn whole(self) -> Reply {
        let (head, body) = self.0.into_parts();
        let body = within_deadline("the end of an answer", body.collect()).await.expect("a whole body");
        let body = String::from_utf8(body.to_bytes().into()).expect("text");
        Reply { status: head.status.as_u16(), headers: head.headers, body }
    }
}

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

impl Reply {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error} in {}", self.body))
    }

    /// The events of a stream, of which the last must be the end.
    pub(crate) fn events(&self) -> Vec<Value> {
        let mut events: Vec<_> = self.body.split_terminator("\n\n").collect();
        assert_eq!(events.pop(), Some("data: [DONE]"), "{}", self.body);
        let json = |event: &str| {
            let data = event.strip_prefix("data: ").unwrap_or_else(|| panic!("no event: {event}"));
            serde_json::from_str(data).unwrap_or_else(|error| panic!("{error} in {data}"))
        };
        events.into_iter().map(json).collect()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().expect("text"))
    }

    /// Status, type, param and code of an error, whose form is checked.
    pub(crate) fn error(&self) -> (u16, String, Option<String>, String) {
        let body = self.json();
        let error = body["error"].as_object().unwrap_or_else(|| panic!("no error: {body}"));
        let names: Vec<_> = error.keys().map(String::as_str).collect();
        assert_eq!(names, ["message", "type", "param", "code"]);
        let text = |name: &str| error[name].as_str().map(str::to_owned);
        assert!(!text("message").expect("a message").is_empty());
        (self.status, text("type").expect("a type"), text("param"), text("code").expect("a code"))
    }

    pub(crate) fn message(&self) -> String {
        self.json()["error"]["message"].as_str().expect("a message").to_owned()
    }
}
