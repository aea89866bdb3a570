//! `acme.dns`: who sets records for dns-01, checked against the table of providers.
//!
//! The options stand beside the declared keys, and [`crate::providers`] says which there are and who takes
//! which. Used by the declarations in [`crate::keys`].

use std::collections::BTreeMap;
use std::str::FromStr;

use serde_json::{Value, json};

use super::command::{words, words_schema};
use super::{Positive, SecretFile, Text, leaf, or_name, span_schema};
use crate::Span;
use crate::node::{Key, Node, Value as Written, Veil};
use crate::providers::{OPTIONS, PROVIDERS, Provider, provider};
use crate::reader::{Reader, list, meant, shown};
use crate::section::{Setting, Shown, section};
use crate::settings::{DnsProvider, DnsSettings};

section! {
    /// Who sets records for the challenge dns-01: a provider with its options, or a program.
    DnsKeys {
        /// The provider, by name.
        provider: OrNull<ProviderName> = OrNull(None);
        /// A program and its arguments, called with `set` or `remove`, the record's name and its value.
        exec: OrNull<Program> = OrNull(None);
        /// How long to wait until every authoritative server shows the record.
        propagation_timeout: Positive = Positive(Span::seconds(120));
        /// The record's time to live.
        ttl: TimeToLive = TimeToLive(Span::seconds(60));
    }
}

/// A value that may be missing, and that a stronger layer may take back by `null`; then its key is not shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OrNull<T>(Option<T>);

impl<T: Setting> Setting for OrNull<T> {
    fn read(node: &Node, reader: &mut Reader) -> Option<Self> {
        Option::read(node, reader).map(Self)
    }

    fn show(&self) -> Shown {
        self.0.as_ref().map_or(Shown::Absent, Setting::show)
    }

    fn schema() -> Value {
        Option::<T>::schema()
    }
}

/// The name of a provider that there is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ProviderName(String);

impl Setting for ProviderName {
    fn read(node: &Node, reader: &mut Reader) -> Option<Self> {
        let text = reader.text(node, "`cloudflare`")?;
        if provider(text).is_some() {
            return Some(Self(text.to_owned()));
        }
        let names: Vec<&str> = PROVIDERS.iter().map(|provider| provider.name).collect();
        let hint = match meant(text, &names).filter(|_| node.veil == Veil::Open) {
            Some(name) => format!("did you mean `{name}`?"),
            None => format!(
                "the providers are {}; any other works through a program of yours: `exec: [PROGRAM]`",
                list(&names)
            ),
        };
        reader.wrong(node, format!("{} is no DNS provider known here", shown(node, text)), hint);
        None
    }

    fn show(&self) -> Shown {
        Shown::Text(self.0.clone())
    }

    fn schema() -> Value {
        let names: Vec<&str> = PROVIDERS.iter().map(|provider| provider.name).collect();
        or_name(json!({"enum": names}))
    }
}

/// A program and its arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Program(pub(crate) Vec<String>);

impl Setting for Program {
    fn read(node: &Node, reader: &mut Reader) -> Option<Self> {
        const EXAMPLE: &str = "`[/etc/switcher/dns-hook, --zone, example.com]`";
        let words: Vec<String> = match &node.value {
            Written::Sequence(items) => words(items, reader)?,
            Written::Scalar { .. } | Written::Mapping(_) => vec![reader.text(node, EXAMPLE)?.to_owned()],
        };
        let sentence = match words.as_slice() {
            [] => "no program is named",
            [first, ..] if first.is_empty() => "the program's name is empty",
            words if words.iter().any(|word| word.contains('\0')) => "a word holds a zero byte",
            [only] if matches!(node.value, Written::Scalar { .. }) && only.contains(char::is_whitespace) => {
                "this is a program with its arguments in one text, and no shell takes it apart"
            }
            _ => return Some(Self(words)),
        };
        reader.wrong(
            node,
            sentence,
            format!("write the program and its arguments as a list, for example {EXAMPLE}"),
        );
        None
    }

    fn show(&self) -> Shown {
        Shown::List(self.0.iter().cloned().map(Shown::Text).collect())
    }

    fn schema() -> Value {
        words_schema()
    }
}

/// A record's time to live: whole seconds (RFC 2181 section 8).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TimeToLive(Span);

impl FromStr for TimeToLive {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let span: Span = text.parse().map_err(|error: crate::units::InvalidSpan| error.to_string())?;
        if span.0.subsec_nanos() == 0 && (1..=0x7fff_ffff).contains(&span.0.as_secs()) {
            Ok(Self(span))
        } else {
            Err(format!("{text:?} is no time to live; it is whole seconds, at least one, for example `60s`"))
        }
    }
}
leaf!(TimeToLive, "60s", |v| Shown::Text(v.0.to_string()), span_schema());

impl Setting for DnsSettings {
    fn read(node: &Node, reader: &mut Reader) -> Option<Self> {
        if !matches!(node.value, Written::Mapping(_)) {
            // Only a section has entries; this tells what it is instead.
            reader.section(node, DnsKeys::KEYS)?;
        }
        let keys = DnsKeys::fields(node, reader);
        let provider = who(node, reader);
        let DnsKeys { propagation_timeout, ttl, .. } = keys?;
        Some(Self { provider: provider?, propagation_timeout: propagation_timeout.0, ttl: ttl.0 })
    }

    fn show(&self) -> Shown {
        let (provider, exec, options) = match &self.provider {
            DnsProvider::Named { name, options } => (Some(ProviderName(name.clone())), None, options.clone()),
            DnsProvider::Exec(words) => (None, Some(Program(words.clone())), BTreeMap::new()),
        };
        let keys = DnsKeys {
            provider: OrNull(provider),
            exec: OrNull(exec),
            propagation_timeout: Positive(self.propagation_timeout),
            ttl: TimeToLive(self.ttl),
        };
        let mut shown = keys.show();
        if let Shown::Section(entries) = &mut shown {
            entries.extend(options.into_iter().map(|(key, value)| (key, Shown::Text(value))));
        }
        shown
    }

    fn schema() -> Value {
        let mut schema = DnsKeys::schema();
        schema["type"] = "object".into();
        for option in OPTIONS {
            let takers =
                PROVIDERS.iter().filter(|provider| takes(provider, option)).map(|provider| provider.name);
            let names: Vec<&str> = takers.collect();
            let mut of_one =
                if is_file(option) { Option::<SecretFile>::schema() } else { Option::<Text>::schema() };
            of_one["description"] = format!("An option of {}.", list(&names)).into();
            schema["properties"][option] = of_one;
        }
        schema
    }
}

/// Whether an option names a file that holds a secret.
fn is_file(option: &str) -> bool {
    option.ends_with("_file")
}

fn takes(provider: &Provider, option: &str) -> bool {
    provider.needs.contains(&option) || provider.may.contains(&option)
}

/// Who sets the records: a provider or a program, never both.
fn who(node: &Node, reader: &mut Reader) -> Option<DnsProvider> {
    match (node.given("provider"), node.given("exec")) {
        (Some(_), Some(exec)) => {
            options(node, None, reader);
            let message = "`provider` and `exec` stand side by side, and only one can set the records";
            reader.under("exec", |reader| reader.wrong(exec, message, "remove one of the two"));
            None
        }
        (None, None) => {
            options(node, None, reader);
            let message = "neither `provider` nor `exec` says who sets the records";
            let hint = "write for example `dns: {provider: cloudflare, token_file: FILE}`, or `dns: {exec: [PROGRAM]}`";
            reader.wrong(node, message, hint);
            None
        }
        (Some(name), None) => {
            // What is wrong with the name was told when it was read.
            let known = ProviderName::read(name, &mut Reader::default()).and_then(|name| provider(&name.0));
            let options = options(node, known.map(Taker::Provider), reader)?;
            let known = known?;
            let lacking = known.needs.iter().filter(|option| node.given(option).is_none());
            let lacking: Vec<&str> = lacking.copied().collect();
            if !lacking.is_empty() {
                let message = format!("the provider {} needs {} too", known.name, list(&lacking));
                reader.under("provider", |reader| reader.wrong(name, message, option_hint(&lacking)));
                return None;
            }
            Some(DnsProvider::Named { name: known.name.to_owned(), options })
        }
        (None, Some(exec)) => {
            options(node, Some(Taker::Program), reader)?;
            Program::read(exec, &mut Reader::default()).map(|program| DnsProvider::Exec(program.0))
        }
    }
}

/// How missing options are written.
fn option_hint(lacking: &[&str]) -> String {
    let words =
        lacking.iter().map(|option| format!("{option}: {}", if is_file(option) { "FILE" } else { "VALUE" }));
    format!("write beside it `{}`", words.collect::<Vec<_>>().join(", "))
}

/// Whose options the others are.
#[derive(Clone, Copy)]
enum Taker {
    Provider(&'static Provider),
    Program,
}

/// Every key beside the declared ones; null is no option. Without a taker that is known, every option passes.
fn options(node: &Node, taker: Option<Taker>, reader: &mut Reader) -> Option<BTreeMap<String, String>> {
    let mut known: Vec<&str> = DnsKeys::KEYS.to_vec();
    match taker {
        Some(Taker::Provider(provider)) => known.extend(provider.needs.iter().chain(provider.may)),
        Some(Taker::Program) => {}
        None => known.extend(OPTIONS),
    }
    let mut read = Some(BTreeMap::new());
    for (key, value) in node.entries().iter().filter(|(key, _)| !DnsKeys::KEYS.contains(&key.text.as_str())) {
        if value.is_null() && OPTIONS.contains(&key.text.as_str()) {
            continue;
        }
        if known.contains(&key.text.as_str()) {
            let text = reader.under(&key.text, |reader| option(&key.text, value, reader));
            read = read.zip(text).map(|(mut read, text)| {
                read.insert(key.text.clone(), text);
                read
            });
        } else {
            stranger(key, taker, &known, reader);
            read = None;
        }
    }
    read
}

fn option(key: &str, value: &Node, reader: &mut Reader) -> Option<String> {
    if is_file(key) {
        SecretFile::read(value, reader).map(|file| file.0.to_string_lossy().into_owned())
    } else {
        Text::read(value, reader).map(|text| text.0)
    }
}

/// A key that is an option of somebody else, or nobody's.
fn stranger(key: &Key, taker: Option<Taker>, known: &[&str], reader: &mut Reader) {
    let elsewhere = OPTIONS.contains(&key.text.as_str());
    let (message, hint) = match taker.filter(|_| elsewhere) {
        None if taker.is_none() && meant(&key.text, known).is_none() => (
            format!("{} is no option of any provider", crate::problem::quoted(&key.text)),
            "mend the provider first; it decides which options there are".to_owned(),
        ),
        None => return reader.unknown(key, known),
        Some(Taker::Program) => (
            format!("`{}` is an option of providers, and `exec` is a program of your own", key.text),
            "remove the key; what the program needs goes into its arguments".to_owned(),
        ),
        Some(Taker::Provider(provider)) => {
            let all: Vec<&str> = provider.needs.iter().chain(provider.may).copied().collect();
            (
                format!("the provider {} does not take `{}`", provider.name, key.text),
                format!("remove the key; {} takes {}", provider.name, list(&all)),
            )
        }
    };
    reader.under(&key.text, |reader| reader.wrong_key(key, message, hint));
}
