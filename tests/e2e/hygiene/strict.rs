//! A strict parser of requests, written apart from the proxy's: what a careful upstream makes of a stream of bytes.

/// A whole request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) version: String,
    /// Names in lower case, values without blanks around them.
    pub(crate) headers: Vec<(String, Vec<u8>)>,
    pub(crate) body: Vec<u8>,
}

/// What a stream holds at its beginning.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Parsed {
    /// A whole request, and its length in bytes.
    Whole(Box<Request>, usize),
    /// Less than one, and nothing wrong yet.
    Partial,
    /// No request.
    Bad(String),
}

impl Request {
    pub(crate) fn all(&self, name: &str) -> Vec<&[u8]> {
        self.headers.iter().filter(|(n, _)| n == name).map(|(_, v)| v.as_slice()).collect()
    }

    /// Whether the client means to go on after it.
    pub(crate) fn persists(&self) -> bool {
        let says = |wanted: &str| {
            let tokens = self.all("connection").join(&b',').to_ascii_lowercase();
            tokens.split(|b| *b == b',').any(|token| token.trim_ascii() == wanted.as_bytes())
        };
        !says("close") && (self.version == "HTTP/1.1" || says("keep-alive"))
    }
}

/// The first request of a stream.
pub(crate) fn first(bytes: &[u8]) -> Parsed {
    match parse(bytes) {
        Ok(Some((request, length))) => Parsed::Whole(Box::new(request), length),
        Ok(None) => Parsed::Partial,
        Err(why) => Parsed::Bad(why),
    }
}

/// The requests that a client sends with these bytes, up to the last that it wants to be answered.
pub(crate) fn sent(mut bytes: &[u8]) -> Vec<Request> {
    let mut requests: Vec<Request> = Vec::new();
    while requests.last().is_none_or(Request::persists) {
        bytes = bytes.strip_prefix(b"\r\n").unwrap_or(bytes);
        let Parsed::Whole(request, length) = first(bytes) else { break };
        requests.push(*request);
        bytes = &bytes[length..];
    }
    requests
}

type Found<T> = Result<Option<T>, String>;

fn parse(bytes: &[u8]) -> Found<(Request, usize)> {
    let Some((mut request, mut at)) = head(bytes)? else { return Ok(None) };
    let (lengths, codings) = (request.all("content-length"), request.all("transfer-encoding"));
    match (lengths.as_slice(), codings.as_slice()) {
        ([], []) => {}
        ([length], []) => {
            let digits = !length.is_empty() && length.len() < 19 && length.iter().all(u8::is_ascii_digit);
            let length: usize = String::from_utf8_lossy(length).parse().map_err(|_| "a bad length")?;
            if !digits {
                return Err("a bad length".into());
            }
            let Some(body) = bytes.get(at..at + length) else { return Ok(None) };
            request.body = body.to_vec();
            at += length;
        }
        ([], [coding]) if coding.eq_ignore_ascii_case(b"chunked") && request.version == "HTTP/1.1" => {
            let Some((body, end)) = chunks(bytes, at)? else { return Ok(None) };
            (request.body, at) = (body, end);
        }
        (lengths, codings) => return Err(format!("lengths {lengths:?} and codings {codings:?}")),
    }
    Ok(Some((request, at)))
}

fn head(bytes: &[u8]) -> Found<(Request, usize)> {
    let Some((line, mut at)) = next_line(bytes, 0)? else { return Ok(None) };
    let text = String::from_utf8(line.to_vec()).map_err(|_| "a request line that is not ASCII")?;
    let [method, target, version] = text.split(' ').collect::<Vec<_>>()[..] else {
        return Err(format!("the request line {text:?}"));
    };
    let visible = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic());
    if !method.bytes().all(is_token) || !visible(method) || !visible(target) || target.contains('#') {
        return Err(format!("the request line {text:?}"));
    }
    if !["HTTP/1.1", "HTTP/1.0"].contains(&version) {
        return Err(format!("the version {version:?}"));
    }
    let mut request = Request {
        method: method.to_owned(),
        target: target.to_owned(),
        version: version.to_owned(),
        headers: Vec::new(),
        body: Vec::new(),
    };
    loop {
        let Some((line, next)) = next_line(bytes, at)? else { return Ok(None) };
        at = next;
        if line.is_empty() {
            break;
        }
        request.headers.push(field(line)?);
    }
    let hosts = request.all("host").len();
    if hosts > 1 || hosts == 0 && version == "HTTP/1.1" {
        return Err(format!("{hosts} hosts"));
    }
    Ok(Some((request, at)))
}

fn field(line: &[u8]) -> Result<(String, Vec<u8>), String> {
    let shown = || format!("the header line {:?}", line.escape_ascii().to_string());
    let colon = line.iter().position(|b| *b == b':').ok_or_else(shown)?;
    let (name, value) = (&line[..colon], &line[colon + 1..]);
    let readable = value.iter().all(|b| *b == b'\t' || *b >= b' ' && *b != 0x7f);
    if name.is_empty() || !name.iter().copied().all(is_token) || !readable {
        return Err(shown());
    }
    Ok((String::from_utf8_lossy(name).to_ascii_lowercase(), value.trim_ascii().to_vec()))
}

fn chunks(bytes: &[u8], mut at: usize) -> Found<(Vec<u8>, usize)> {
    let mut body = Vec::new();
    loop {
        let Some((line, next)) = next_line(bytes, at)? else { return Ok(None) };
        at = next;
        let size = line.split(|b| *b == b';').next().unwrap_or_default();
        let hex = !size.is_empty() && size.len() < 16 && size.iter().all(u8::is_ascii_hexdigit);
        let size = usize::from_str_radix(&String::from_utf8_lossy(size), 16).ok().filter(|_| hex);
        let size = size.ok_or_else(|| format!("the chunk size {:?}", line.escape_ascii().to_string()))?;
        if size == 0 {
            break;
        }
        let Some(chunk) = bytes.get(at..at + size + 2) else { return Ok(None) };
        body.extend_from_slice(chunk.strip_suffix(b"\r\n").ok_or("a chunk without its end")?);
        at += size + 2;
    }
    loop {
        let Some((line, next)) = next_line(bytes, at)? else { return Ok(None) };
        at = next;
        if line.is_empty() {
            return Ok(Some((body, at)));
        }
        field(line)?;
    }
}

/// A line without its CR LF, and where the next one begins.
fn next_line(bytes: &[u8], at: usize) -> Found<(&[u8], usize)> {
    let rest = &bytes[at..];
    let Some(end) = rest.iter().position(|b| matches!(b, b'\r' | b'\n' | 0)) else { return Ok(None) };
    match rest[end..] {
        [b'\r'] => Ok(None),
        [b'\r', b'\n', ..] => Ok(Some((&rest[..end], at + end + 2))),
        _ => Err(format!("no line end in {:?}", rest[..rest.len().min(80)].escape_ascii().to_string())),
    }
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}
