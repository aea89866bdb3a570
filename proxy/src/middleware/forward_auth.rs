//! Forward authentication: somebody else is asked, before each request, whether it may pass.
//!
//! The question is a GET that shows what is asked for and by whom; an answer of the class 2xx is a yes, any other is the
//! client's to have, and without a whole answer in time nobody passes. Connections are kept for the next question, so
//! many and no more, and so many questions are asked at once.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use switcher_config::settings::ForwardAuth as Settings;
use switcher_config::{Span, UpstreamAddress, UpstreamProtocol};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsConnector;

use crate::edge::socket::Socket;
use crate::health::dial::{Io, verified};
use crate::hop::HopByHop;

use super::headers::take_out;

/// How many questions are asked at once; others wait, within their time.
const AT_ONCE: usize = 128;

/// How many connections are kept for the next question.
const KEPT: usize = 16;

/// The longest body of an answer that is handed on, in bytes.
const LONGEST: usize = 256 * 1024;

type Sender = SendRequest<Empty<Bytes>>;

/// Whoever is asked whether requests may pass.
#[derive(Debug)]
pub struct ForwardAuth {
    address: UpstreamAddress,
    target: Box<str>,
    host: HeaderValue,
    shown: Option<Vec<HeaderName>>,
    handed: Vec<HeaderName>,
    timeout: Duration,
    /// There when it is asked over TLS.
    tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
    kept: Mutex<VecDeque<Sender>>,
    turns: Semaphore,
    /// It is known, and was said, that it does not answer.
    is_silent: AtomicBool,
}

/// What came of a question.
#[derive(Debug)]
pub enum Verdict {
    /// The request may pass, and these headers go with it.
    Passes(HeaderMap),
    /// It may not: this is its client's.
    Answer(Response<Bytes>),
}

impl ForwardAuth {
    pub(super) fn new(settings: &Settings) -> Result<Self, String> {
        let address = settings.address.clone();
        let named = |names: &Vec<String>| names.iter().filter_map(|name| name.parse().ok()).collect();
        let tls = match address.protocol() {
            UpstreamProtocol::Https => {
                let name = ServerName::try_from(address.host().to_owned());
                let name =
                    name.map_err(|_| format!("{:?} is no name a certificate can have", address.host()))?;
                let mut client = ClientConfig::clone(&*verified()?);
                client.alpn_protocols = vec![b"http/1.1".to_vec()];
                Some((Arc::new(client), name))
            }
            UpstreamProtocol::Http1 | UpstreamProtocol::H2c => None,
        };
        Ok(Self {
            host: HeaderValue::try_from(address.authority()).map_err(|error| error.to_string())?,
            address,
            target: settings.target.as_str().into(),
            shown: settings.request_headers.as_ref().map(named),
            handed: named(&settings.response_headers),
            timeout: settings.timeout.0,
            tls,
            kept: Mutex::default(),
            turns: Semaphore::new(AT_ONCE),
            is_silent: AtomicBool::new(false),
        })
    }

    /// Which headers of a request are shown.
    #[must_use]
    pub fn shows(&self, request: &HeaderMap) -> HeaderMap {
        if let Some(names) = &self.shown {
            let pairs =
                names.iter().flat_map(|name| request.get_all(name).iter().map(move |value| (name, value)));
            return pairs.map(|(name, value)| (name.clone(), value.clone())).collect();
        }
        let mut shown = request.clone();
        for name in HopByHop::of_request(request).removals() {
            shown.remove(name);
        }
        // The question has no body, and an answer of its own.
        let of_body = |name: &HeaderName| {
            let name = name.as_str();
            name.starts_with("content-") || name.starts_with("if-") || OF_FRAMING.contains(&name)
        };
        let names: Vec<_> = request.keys().filter(|name| of_body(name)).cloned().collect();
        for name in names {
            shown.remove(name);
        }
        shown
    }

    /// Takes out of a request what only a yes may say.
    pub fn strip(&self, request: &mut HeaderMap) {
        take_out(request, &self.handed);
    }

    /// Asks with these headers.
    ///
    /// # Errors
    /// A sentence, when there is no whole answer in time.
    pub async fn ask(&self, headers: HeaderMap) -> Result<Verdict, String> {
        let asked = tokio::time::timeout(self.timeout, self.exchange(headers)).await;
        let asked = asked.unwrap_or_else(|_| Err(format!("no whole answer within {}", Span(self.timeout))));
        let silent = asked.is_err();
        // Said once, not for each request.
        if self.is_silent.swap(silent, Ordering::Relaxed) != silent {
            match &asked {
                Ok(_) => tracing::info!(asked = %self.address, "forward_auth answers again"),
                Err(why) => {
                    tracing::warn!(asked = %self.address, "forward_auth does not answer, so nobody passes: {why}")
                }
            }
        }
        Ok(self.judge(asked?))
    }

    fn judge(&self, answer: Response<Bytes>) -> Verdict {
        if !answer.status().is_success() {
            return Verdict::Answer(answer);
        }
        let headers = answer.headers();
        let pairs =
            self.handed.iter().flat_map(|name| headers.get_all(name).iter().map(move |value| (name, value)));
        let mut handed = HeaderMap::new();
        for (name, value) in pairs {
            handed.append(name, value.clone());
        }
        Verdict::Passes(handed)
    }

    async fn exchange(&self, headers: HeaderMap) -> Result<Response<Bytes>, String> {
        // It is never closed.
        let _turn = self.turns.acquire().await.map_err(|error| error.to_string())?;
        let mut request = Request::builder()
            .uri(&*self.target)
            .body(Empty::new())
            .map_err(|error| format!("the question cannot be asked: {error}"))?;
        *request.headers_mut() = headers;
        request.headers_mut().insert(header::HOST, self.host.clone());
        while let Some(mut sender) = self.take() {
            // One that was closed meanwhile has not answered, and a question may be asked twice.
            if sender.ready().await.is_ok()
                && let Ok(answer) = sender.send_request(request.clone()).await
            {
                return self.read(answer, sender).await;
            }
        }
        let mut sender = self.connect().await?;
        let answer = sender.send_request(request).await.map_err(|error| broken(&error))?;
        self.read(answer, sender).await
    }

    fn take(&self) -> Option<Sender> {
        let mut kept = self.kept.lock();
        while let Some(sender) = kept.pop_back() {
            if !sender.is_closed() {
                return Some(sender);
            }
        }
        None
    }

    async fn read(&self, answer: Response<Incoming>, sender: Sender) -> Result<Response<Bytes>, String> {
        let (mut head, mut body) = answer.into_parts();
        if head.status.is_informational() {
            return Err(format!("it answered {}, which is no answer", head.status));
        }
        let mut whole = BytesMut::new();
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame.map_err(|error| broken(&error))?.into_data() else { continue };
            if whole.len() + data.len() > LONGEST {
                return Err(format!("its answer is longer than {} KiB", LONGEST / 1024));
            }
            whole.extend_from_slice(&data);
        }
        let mut kept = self.kept.lock();
        kept.push_back(sender);
        if kept.len() > KEPT {
            kept.pop_front();
        }
        drop(kept);
        for name in HopByHop::of_response(head.status, &head.headers.clone()).removals() {
            head.headers.remove(name);
        }
        for name in [header::TRANSFER_ENCODING, header::TRAILER, header::CONTENT_LENGTH] {
            head.headers.remove(name);
        }
        Ok(Response::from_parts(head, whole.freeze()))
    }

    async fn connect(&self) -> Result<Sender, String> {
        let io = self.open().await?;
        let (sender, connection) =
            http1::handshake(TokioIo::new(io)).await.map_err(|error| broken(&error))?;
        // Ends with its sender.
        tokio::spawn(connection);
        Ok(sender)
    }

    async fn open(&self) -> Result<Box<dyn Io>, String> {
        let unreachable = |error: std::io::Error| format!("cannot connect: {error}");
        let socket = match self.address.socket_path() {
            Some(path) => Socket::Unix(UnixStream::connect(path.as_path()).await.map_err(unreachable)?),
            None => Socket::Tcp(self.reach().await.map_err(unreachable)?),
        };
        let Some((client, name)) = &self.tls else { return Ok(Box::new(socket)) };
        let connecting = TlsConnector::from(Arc::clone(client)).connect(name.clone(), socket).await;
        connecting
            .map(|stream| Box::new(stream) as Box<dyn Io>)
            .map_err(|error| format!("the TLS handshake failed: {error}"))
    }

    async fn reach(&self) -> std::io::Result<TcpStream> {
        let tcp = match self.address.socket_address() {
            Some(address) => TcpStream::connect::<SocketAddr>(address).await?,
            None => {
                TcpStream::connect((self.address.host(), self.address.port().unwrap_or_default())).await?
            }
        };
        // Should this fail, it is a little later.
        let _ = tcp.set_nodelay(true);
        Ok(tcp)
    }
}

/// What speaks of how a request is carried.
const OF_FRAMING: [&str; 5] = ["expect", "host", "range", "trailer", "transfer-encoding"];

fn broken(error: &hyper::Error) -> String {
    format!("the connection broke before a whole answer: {error}")
}

/// An answer that a client gets has a body where its status allows one (RFC 9110 sections 15.3.5 and 15.4.5).
#[must_use]
pub fn has_body(status: StatusCode) -> bool {
    !matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(request_headers: Option<&[&str]>) -> ForwardAuth {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        ForwardAuth::new(&Settings {
            address: "127.0.0.1:1".parse().expect("an address"),
            target: "/verify".into(),
            request_headers: request_headers.map(names),
            response_headers: names(&["X-User", "X-Groups"]),
            timeout: Span::seconds(1),
        })
        .expect("whom to ask")
    }

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        headers
    }

    fn names(headers: &HeaderMap) -> Vec<&str> {
        let mut names: Vec<_> = headers.iter().map(|(name, _)| name.as_str()).collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn it_is_shown_what_is_named_or_all_but_what_speaks_of_the_body() {
        let request = headers(&[
            ("authorization", "Bearer x"),
            ("cookie", "a=1"),
            ("cookie", "b=2"),
            ("content-length", "5"),
            ("content-type", "text/plain"),
            ("transfer-encoding", "chunked"),
            ("connection", "close, x-mine"),
            ("x-mine", "1"),
            ("expect", "100-continue"),
            ("if-none-match", "*"),
            ("host", "shop.test"),
        ]);
        assert_eq!(names(&asked(None).shows(&request)), ["authorization", "cookie", "cookie"]);
        assert_eq!(names(&asked(Some(&["Cookie"])).shows(&request)), ["cookie", "cookie"]);
        assert!(asked(Some(&[])).shows(&request).is_empty());
    }

    #[test]
    fn what_only_a_yes_may_say_is_taken_out_under_each_name_that_reads_as_it() {
        let mut request = headers(&[
            ("x-user", "root"),
            ("x_user", "root"),
            ("x-groups", "a"),
            ("x-users", "1"),
            ("user", "2"),
        ]);
        asked(None).strip(&mut request);
        assert_eq!(names(&request), ["user", "x-users"]);
    }

    #[test]
    fn a_yes_hands_on_what_is_named_and_anything_else_is_the_clients() {
        let answer = |status: u16| {
            let mut answer = Response::new(Bytes::from_static(b"body"));
            *answer.status_mut() = StatusCode::from_u16(status).expect("a status");
            *answer.headers_mut() =
                headers(&[("x-user", "ann"), ("x-groups", "a"), ("x-groups", "b"), ("x-else", "1")]);
            answer
        };
        for status in [200, 204] {
            let Verdict::Passes(handed) = asked(None).judge(answer(status)) else {
                panic!("{status} is a yes")
            };
            assert_eq!(names(&handed), ["x-groups", "x-groups", "x-user"]);
        }
        for status in [302, 401, 500] {
            assert!(matches!(asked(None).judge(answer(status)), Verdict::Answer(_)), "{status}");
        }
    }
}
