//! HTTP/1.1 requests as they arrive: the head whole, the body piece by piece.

use std::io::{self, BufRead, Read};

/// A request's head.
pub(crate) struct Request {
    /// `GET`, `POST`, …
    pub(crate) method: String,
    /// The path, without the query.
    pub(crate) path: String,
    query: String,
    headers: Vec<(String, String)>,
    /// The head as it arrived.
    pub(crate) raw: String,
}

impl Request {
    /// The next one; none when the other side has closed the connection.
    pub(crate) fn read(from: &mut impl BufRead) -> io::Result<Option<Self>> {
        let mut raw = String::new();
        if from.read_line(&mut raw)? == 0 {
            return Ok(None);
        }
        let mut words = raw.split_whitespace().map(str::to_owned);
        let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let (path, query) = target.split_once('?').unwrap_or((&target, ""));
        let (path, query) = (path.to_owned(), query.to_owned());
        let mut headers = Vec::new();
        loop {
            let mut line = String::new();
            if from.read_line(&mut line)? == 0 || line.trim().is_empty() {
                break;
            }
            if let Some((name, value)) = line.split_once(':') {
                headers.push((name.trim().to_ascii_lowercase(), value.trim().to_owned()));
            }
            raw.push_str(&line);
        }
        Ok(Some(Self { method, path, query, headers, raw }))
    }

    /// A header, by its name in small letters.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// A word of the query.
    pub(crate) fn word(&self, name: &str) -> Option<&str> {
        let pairs = self.query.split('&').filter_map(|pair| pair.split_once('='));
        pairs.into_iter().find(|(known, _)| *known == name).map(|(_, value)| value)
    }

    /// A number of the query.
    pub(crate) fn number(&self, name: &str, default: u64) -> u64 {
        self.word(name).and_then(|value| value.parse().ok()).unwrap_or(default)
    }

    /// Whether the other side wants no further request on this connection.
    pub(crate) fn wants_close(&self) -> bool {
        self.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"))
    }

    /// Reads the body to its end.
    pub(crate) fn body(&self, from: &mut impl BufRead, mut take: impl FnMut(&[u8])) -> io::Result<()> {
        if self.header("transfer-encoding").is_some_and(|value| value.contains("chunked")) {
            return chunks(from, take);
        }
        let length = self.header("content-length").and_then(|value| value.parse().ok()).unwrap_or(0);
        pieces(from, length, &mut take)
    }
}

fn chunks(from: &mut impl BufRead, mut take: impl FnMut(&[u8])) -> io::Result<()> {
    loop {
        let mut size = String::new();
        from.read_line(&mut size)?;
        let digits = size.trim().split(';').next().unwrap_or_default();
        let size = u64::from_str_radix(digits, 16).map_err(|_| io::Error::other("no size of a chunk"))?;
        pieces(from, size, &mut take)?;
        from.read_line(&mut String::new())?;
        if size == 0 {
            return Ok(());
        }
    }
}

fn pieces(from: &mut impl Read, length: u64, take: &mut impl FnMut(&[u8])) -> io::Result<()> {
    let mut left = length;
    let mut piece = [0; 16_384];
    while left > 0 {
        let most = usize::try_from(left).unwrap_or(piece.len()).min(piece.len());
        let read = from.read(&mut piece[..most])?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        take(&piece[..read]);
        left -= read as u64;
    }
    Ok(())
}
