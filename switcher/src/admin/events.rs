//! Server-sent events as the proxy writes them (WHATWG HTML, section 9.2): the data of each event as text.

use std::collections::VecDeque;

use http::Response;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;

use super::connection;
use super::error::AdminError;

/// Events as they come.
#[derive(Debug)]
pub struct EventStream {
    body: Incoming,
    decoder: Decoder,
}

impl EventStream {
    /// Takes an answer's body, or its refusal.
    pub(super) async fn new(answer: Response<Incoming>) -> Result<Self, AdminError> {
        if answer.status().is_success() {
            return Ok(Self { body: answer.into_body(), decoder: Decoder::default() });
        }
        match connection::read::<serde_json::Value>(answer).await {
            Err(error) => Err(error),
            Ok(value) => Err(AdminError::Gibberish(value.to_string())),
        }
    }

    /// The next event's data; `None` when the proxy ended the stream.
    ///
    /// # Errors
    /// When the connection breaks.
    pub async fn next(&mut self) -> Result<Option<String>, AdminError> {
        loop {
            if let Some(data) = self.decoder.events.pop_front() {
                return Ok(Some(data));
            }
            match self.body.frame().await {
                None => return Ok(None),
                Some(Err(error)) => return Err(AdminError::Lost(error.to_string())),
                Some(Ok(frame)) => {
                    if let Some(data) = frame.data_ref() {
                        self.decoder.feed(data);
                    }
                }
            }
        }
    }
}

/// Cuts bytes into events; an event ends with an empty line. Pure.
#[derive(Debug, Default)]
struct Decoder {
    line: Vec<u8>,
    data: Option<String>,
    events: VecDeque<String>,
}

impl Decoder {
    fn feed(&mut self, bytes: &[u8]) {
        for byte in bytes {
            if *byte == b'\n' {
                let line = std::mem::take(&mut self.line);
                self.take_line(String::from_utf8_lossy(&line).trim_end_matches('\r'));
            } else {
                self.line.push(*byte);
            }
        }
    }

    fn take_line(&mut self, line: &str) {
        if line.is_empty() {
            self.events.extend(self.data.take());
        } else if let Some(value) = line.strip_prefix("data:") {
            let value = value.strip_prefix(' ').unwrap_or(value);
            match &mut self.data {
                Some(data) => {
                    data.push('\n');
                    data.push_str(value);
                }
                None => self.data = Some(value.to_owned()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_found_however_the_bytes_are_cut() {
        let text = ": hello\nevent: mode\ndata: {\"a\":\ndata: 1}\n\nid: 7\r\ndata:two\r\n\r\n\n: keep-alive\n\ndata: rest";
        for size in 1..text.len() {
            let mut decoder = Decoder::default();
            text.as_bytes().chunks(size).for_each(|chunk| decoder.feed(chunk));
            assert_eq!(decoder.events, ["{\"a\":\n1}", "two"], "in chunks of {size}");
        }
    }
}
