//! From a record to its line, and whether it gets one.
//!
//! Pure. Invariant: a line ends where it should and nowhere else, and it moves no cursor, whatever a client has sent.
//! Called by the writer's thread; [`Rules`] also by the gateway, before it makes a record.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::time::Duration;

use http::{HeaderMap, HeaderName};
use switcher_config::Generation;
use switcher_config::settings::{AccessLog, LogField, LogFormat};
use switcher_config::wire::Kind;

use super::redact::{Names, left_of};
use super::{Outcome, Record};

/// How requests are logged, made ready for use.
#[derive(Debug, Clone)]
pub struct Rules {
    format: LogFormat,
    /// Empty means everything.
    fields: Vec<LogField>,
    headers: Vec<HeaderName>,
    names: Names,
    /// Requests whose hash is at most this are logged.
    threshold: u64,
    slow: Duration,
}

impl Rules {
    /// The rules that these settings make. Header names were checked by the parser.
    #[must_use]
    pub fn new(settings: &AccessLog) -> Self {
        Self {
            format: settings.format,
            fields: settings.fields.clone(),
            headers: settings.headers.iter().filter_map(|name| HeaderName::try_from(name).ok()).collect(),
            names: Names::new(&settings.redact_query, &settings.redact_headers),
            // A fraction of one; the conversion saturates.
            threshold: (settings.sample.fraction() * u64::MAX as f64) as u64,
            slow: settings.slow.0,
        }
    }

    /// Whether an exchange is logged: always when something went wrong or was slow, else by its share. The same
    /// request id always gets the same answer.
    #[must_use]
    pub fn want(&self, outcome: Outcome<'_>) -> bool {
        self.threshold == u64::MAX
            || outcome.failed
            || outcome.status >= 500
            || outcome.took >= self.slow
            || self.threshold > 0 && hash(outcome.id.as_str()) <= self.threshold
    }

    /// The request headers that are logged as well.
    #[must_use]
    pub fn headers(
        &self,
        request: &HeaderMap,
        is_secret: impl Fn(&HeaderName) -> bool,
    ) -> Vec<(HeaderName, String)> {
        let mut chosen = Vec::new();
        for name in &self.headers {
            let hidden = self.names.hide_header(name) || is_secret(name);
            for value in request.get_all(name) {
                let text = String::from_utf8_lossy(value.as_bytes());
                chosen.push((name.clone(), if hidden { left_of(name, &text) } else { text.into_owned() }));
            }
        }
        chosen
    }
}

/// FNV-1a with the last mixing of `MurmurHash3`, which spreads ids that differ in one character.
fn hash(id: &str) -> u64 {
    let fnv =
        id.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3));
    let mixed = (fnv ^ (fnv >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    let mixed = (mixed ^ (mixed >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    mixed ^ (mixed >> 33)
}

/// Writes a record's line, without its credentials.
pub fn render(record: &mut Record<'_>, rules: &Rules, out: &mut String) {
    hide(record, &rules.names);
    // Writing to a String cannot fail.
    let _ = match rules.format {
        LogFormat::Json => json(record, &rules.fields, out),
        LogFormat::Text if rules.fields.is_empty() => for_people(record, out),
        LogFormat::Text => words(record, &rules.fields, out),
        LogFormat::Off => return,
    };
    out.push('\n');
}

fn hide(record: &mut Record<'_>, names: &Names) {
    for text in std::iter::once(&mut record.path).chain(record.referer.as_mut()) {
        if let Cow::Owned(hidden) = names.address(text) {
            *text = Cow::Owned(hidden);
        }
    }
    for (_, text) in &mut record.headers {
        if let Cow::Owned(hidden) = names.address(text) {
            *text = hidden;
        }
    }
}

/// What a field holds.
enum Value<'a> {
    /// From a client, or with whatever in it.
    Text(&'a str),
    /// Made of harmless characters.
    Plain(&'a dyn std::fmt::Display),
    Number(u64),
    Count(Generation),
    Millis(Duration),
    Is(bool),
}

fn value<'a>(r: &'a Record<'_>, field: LogField) -> Option<Value<'a>> {
    let is_raw = r.kind == Kind::Connections;
    Some(match field {
        // There is no request to have them.
        LogField::Method | LogField::Path | LogField::Status if is_raw => return None,
        LogField::Host if is_raw && r.host.is_empty() => return None,
        LogField::Time => Value::Plain(&r.time),
        LogField::RequestId => Value::Plain(&r.request_id),
        LogField::TraceId => Value::Plain(&r.trace.as_ref()?.0),
        LogField::SpanId => Value::Plain(&r.trace.as_ref()?.1),
        LogField::App => Value::Plain(r.app.as_deref()?),
        LogField::Slot => Value::Plain(r.slot.as_ref()?),
        LogField::Generation => Value::Count(r.generation?),
        LogField::Client => Value::Plain(&r.client),
        LogField::Protocol => Value::Text(r.protocol),
        LogField::Tls => Value::Is(r.tls),
        LogField::Method => Value::Plain(&r.method),
        LogField::Host => Value::Text(&r.host),
        LogField::Path => Value::Text(&r.path),
        LogField::Status => Value::Number(r.status.into()),
        LogField::Kind => Value::Text(r.kind.as_str()),
        LogField::Upstream => Value::Plain(r.upstream.as_deref()?),
        LogField::Tries => Value::Number(r.tries.into()),
        LogField::BytesIn => Value::Number(r.bytes_in),
        LogField::BytesOut => Value::Number(r.bytes_out),
        LogField::Duration => Value::Millis(r.duration),
        LogField::Connect => Value::Millis(r.connect?),
        LogField::FirstByte => Value::Millis(r.first_byte?),
        LogField::UserAgent => Value::Text(r.user_agent.as_deref()?),
        LogField::Referer => Value::Text(r.referer.as_deref()?),
        LogField::Error => Value::Text(r.error.as_deref()?),
    })
}

/// The fields of a line.
fn chosen(fields: &[LogField]) -> impl Iterator<Item = LogField> + '_ {
    let all = LogField::WORDS.iter().map(|(_, field)| *field).filter(|_| fields.is_empty());
    fields.iter().copied().chain(all)
}

fn json(r: &Record<'_>, fields: &[LogField], out: &mut String) -> std::fmt::Result {
    let mut mark = "{\"";
    for field in chosen(fields) {
        let Some(value) = value(r, field) else { continue };
        // In pieces, which costs a third of what one formatted write does.
        for piece in [mark, field.word(), "\":"] {
            out.push_str(piece);
        }
        match value {
            Value::Text(text) => quoted(text, out)?,
            Value::Plain(text) => {
                out.push('"');
                write!(out, "{text}")?;
                out.push('"');
            }
            Value::Count(number) => write!(out, "{number}")?,
            Value::Number(number) => write!(out, "{number}")?,
            Value::Millis(time) => exact_millis(time, out)?,
            Value::Is(truth) => out.push_str(if truth { "true" } else { "false" }),
        }
        mark = ",\"";
    }
    let mark = if mark.starts_with('{') { '{' } else { ',' };
    if !r.headers.is_empty() {
        write!(out, "{mark}\"headers\":")?;
        let mut mark = '{';
        for (at, (name, value)) in r.headers.iter().enumerate() {
            if r.headers[..at].iter().any(|(earlier, _)| earlier == name) {
                continue;
            }
            write!(out, "{mark}\"{name}\":")?;
            // One that came several times is one text, as RFC 9110 section 5.3 has it.
            let others = r.headers[at + 1..].iter().filter(|(later, _)| later == name);
            let whole = others.fold(value.clone(), |whole, (_, value)| whole + ", " + value);
            quoted(&whole, out)?;
            mark = ',';
        }
        out.push('}');
    }
    // A request has always a time, but it may be that none of the chosen fields is there.
    out.push_str(if out.is_empty() { "{}" } else { "}" });
    Ok(())
}

/// A string of JSON (RFC 8259 section 7) without anything that a terminal or a reader of lines may take for a control.
fn quoted(text: &str, out: &mut String) -> std::fmt::Result {
    out.push('"');
    let mut from = 0;
    for (at, c) in text.char_indices().filter(|(_, c)| *c == '"' || *c == '\\' || moves(*c)) {
        out.push_str(&text[from..at]);
        from = at + c.len_utf8();
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            // All of them stand in the basic plane.
            other => write!(out, "\\u{:04x}", u32::from(other))?,
        }
    }
    out.push_str(&text[from..]);
    out.push('"');
    Ok(())
}

/// Whether a character ends a line, begins an escape sequence or turns the direction of writing.
fn moves(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Chosen fields as `name=value`.
fn words(r: &Record<'_>, fields: &[LogField], out: &mut String) -> std::fmt::Result {
    let mut between = "";
    for field in chosen(fields) {
        let Some(value) = value(r, field) else { continue };
        write!(out, "{between}{}=", field.word())?;
        match value {
            Value::Text(text) => write!(out, "\"{}\"", printable(text))?,
            Value::Plain(text) => write!(out, "{text}")?,
            Value::Count(number) => write!(out, "{number}")?,
            Value::Number(number) => write!(out, "{number}")?,
            Value::Millis(time) => write!(out, "{:.1}", millis(time))?,
            Value::Is(truth) => write!(out, "{truth}")?,
        }
        between = " ";
    }
    headers(r, out)
}

fn headers(r: &Record<'_>, out: &mut String) -> std::fmt::Result {
    r.headers.iter().try_for_each(|(name, value)| write!(out, " {name}=\"{}\"", printable(value)))
}

/// A line for people: `2026-01-02T03:04:05.678Z 192.0.2.7 GET "shop.example/cart?x=1" 200 1.2ms …`.
fn for_people(r: &Record<'_>, out: &mut String) -> std::fmt::Result {
    write!(out, "{:.3} {} ", r.time, r.client)?;
    if r.kind == Kind::Connections {
        write!(out, "- \"{}\" -", printable(&r.host))?;
    } else {
        write!(out, "{} \"{}{}\" {}", r.method, printable(&r.host), printable(&r.path), r.status)?;
    }
    write!(out, " {:.1}ms {}B", millis(r.duration), r.bytes_out)?;
    write!(out, " {}{} {}", r.protocol, if r.tls { "+tls" } else { "" }, r.kind.as_str())?;
    if let (Some(app), Some(slot)) = (&r.app, r.slot) {
        write!(out, " {app}/{slot}")?;
    }
    if let Some(generation) = r.generation {
        write!(out, "#{generation}")?;
    }
    if let Some(upstream) = &r.upstream {
        write!(out, " upstream={upstream}")?;
    }
    if r.tries > 1 {
        write!(out, " tries={}", r.tries)?;
    }
    write!(out, " id={}", r.request_id)?;
    if let Some((trace, _)) = &r.trace {
        write!(out, " trace={trace}")?;
    }
    if let Some(agent) = &r.user_agent {
        write!(out, " agent=\"{}\"", printable(agent))?;
    }
    headers(r, out)?;
    if let Some(error) = &r.error {
        write!(out, " error=\"{}\"", printable(error))?;
    }
    Ok(())
}

/// A text from a client: it can end neither its quotes nor its line, and it moves no cursor.
fn printable(text: &str) -> impl std::fmt::Display {
    std::fmt::from_fn(move |f| {
        text.chars().try_for_each(|c| {
            if c == '"' || c == '\\' || moves(c) {
                write!(f, "{}", c.escape_default())
            } else {
                f.write_char(c)
            }
        })
    })
}

/// Milliseconds with as many of three decimals as there are, and one at least.
fn exact_millis(duration: Duration, out: &mut String) -> std::fmt::Result {
    let micros = duration.as_micros();
    let (whole, part) = (micros / 1000, micros % 1000);
    match (part % 100, part % 10) {
        (0, _) => write!(out, "{whole}.{}", part / 100),
        (_, 0) => write!(out, "{whole}.{:02}", part / 10),
        _ => write!(out, "{whole}.{part:03}"),
    }
}

fn millis(duration: Duration) -> f64 {
    // Microseconds are exact enough, and keep the figures short.
    duration.as_micros() as f64 / 1000.0
}
