//! Commands: those inside a container, as Docker and Compose write them, and hooks on this machine.
//!
//! A text is split into words for a container, as Compose does, and given to `/bin/sh -c` for a hook or a health
//! check. Used by the declarations in [`crate::keys`].

use serde_json::{Value, json};

use super::Positive;
use crate::Span;
use crate::keys::HealthcheckKeys;
use crate::node::{Node, Value as Written};
use crate::reader::Reader;
use crate::section::{Setting, Shown, record};
use crate::settings::{HealthcheckChoice, Hook};
use crate::substitute::{Part, parts};
use crate::values::Count;

/// The words of a list.
pub(super) fn words(items: &[Node], reader: &mut Reader) -> Option<Vec<String>> {
    let words = items.iter().enumerate().map(|(index, item)| {
        reader.under(&format!("[{index}]"), |reader| reader.text(item, "`--zone`").map(str::to_owned))
    });
    words.collect::<Vec<_>>().into_iter().collect()
}

/// A program with its arguments in the JSON Schema.
pub(super) fn words_schema() -> Value {
    let word = json!({"type": ["string", "number", "boolean"]});
    json!({"anyOf": [{"type": "string", "minLength": 1}, {"type": "array", "minItems": 1, "items": word}]})
}

fn list_of(words: &[String], shown: fn(String) -> Shown) -> Shown {
    Shown::List(words.iter().cloned().map(shown).collect())
}

/// Whether words can be run; tells why not.
fn runnable(node: &Node, words: &[String], hint: &str, reader: &mut Reader) -> Option<()> {
    let message = match words {
        [] => "no command is named",
        [first, ..] if first.trim().is_empty() => "the command's name is empty",
        words if words.iter().any(|word| word.contains('\0')) => "a word holds a zero byte",
        _ => return Some(()),
    };
    reader.wrong(node, message, hint);
    None
}

/// A command inside a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Words(pub(crate) Vec<String>);

impl Words {
    const HINT: &'static str = "write its words as a list, for example `[app, serve]`, or leave the key out";
}

impl Setting for Words {
    fn read(node: &Node, reader: &mut Reader) -> Option<Self> {
        let words = match &node.value {
            Written::Sequence(items) => words(items, reader)?,
            Written::Scalar { .. } | Written::Mapping(_) => {
                let text = reader.text(node, "`[app, serve]`")?;
                let Some(words) = shlex::split(text) else {
                    reader.wrong(node, "a quote in this command is never closed", Self::HINT);
                    return None;
                };
                words
            }
        };
        runnable(node, &words, Self::HINT, reader)?;
        Some(Self(words))
    }

    fn show(&self) -> Shown {
        list_of(&self.0, Shown::Text)
    }

    fn schema() -> Value {
        words_schema()
    }
}

/// An entrypoint of a container. None at all is one empty word, as the engine has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entrypoint(pub(crate) Vec<String>);

impl Setting for Entrypoint {
    fn read(node: &Node, reader: &mut Reader) -> Option<Self> {
        let empty =
            |node: &Node| matches!(&node.value, Written::Scalar { text, plain: false } if text.is_empty());
        let none = match &node.value {
            Written::Sequence(items) => match items.as_slice() {
                [] => true,
                [only] => empty(only),
                _ => false,
            },
            Written::Scalar { .. } | Written::Mapping(_) => empty(node),
        };
        if none {
            return Some(Self(vec![String::new()]));
        }
        Words::read(node, reader).map(|words| Self(words.0))
    }

    fn show(&self) -> Shown {
        list_of(&self.0, Shown::Text)
    }

    fn schema() -> Value {
        let word = json!({"type": ["string", "number", "boolean"]});
        json!({"anyOf": [{"type": "string"}, {"type": "array", "items": word}]})
    }
}

/// What a shell makes of a text.
fn by_shell(text: &str) -> Vec<String> {
    vec!["/bin/sh".to_owned(), "-c".to_owned(), text.to_owned()]
}

/// The text, when a shell runs one.
fn shell_text(words: &[String]) -> Option<&str> {
    match words {
        [shell, option, text] if shell == "/bin/sh" && option == "-c" && !text.trim().is_empty() => {
            Some(text)
        }
        _ => None,
    }
}

/// The command of a health check. Docker's own forms `[CMD, …]` and `[CMD-SHELL, …]` are understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HealthcheckCommand(pub(crate) Vec<String>);

impl Setting for HealthcheckCommand {
    fn read(node: &Node, reader: &mut Reader) -> Option<Self> {
        const HINT: &str = "write for example `[app, healthcheck]` or `curl -fsS localhost:8080/health`; without a check write `healthcheck: off`";
        let read = match &node.value {
            Written::Sequence(items) => words(items, reader)?,
            Written::Scalar { .. } | Written::Mapping(_) => {
                let text = reader.text(node, "`[app, healthcheck]`")?;
                if text.trim().is_empty() { Vec::new() } else { by_shell(text) }
            }
        };
        let read = match read.as_slice() {
            [first, text] if first == "CMD-SHELL" => by_shell(text),
            [first, rest @ ..] if first == "CMD" => rest.to_vec(),
            [first] if first == "NONE" => Vec::new(),
            _ => read,
        };
        runnable(node, &read, HINT, reader)?;
        Some(Self(read))
    }

    fn show(&self) -> Shown {
        shell_text(&self.0).map_or_else(|| list_of(&self.0, Shown::Text), |text| Shown::Text(text.to_owned()))
    }

    fn schema() -> Value {
        words_schema()
    }
}

impl Setting for HealthcheckChoice {
    fn read(node: &Node, reader: &mut Reader) -> Option<Self> {
        if node.is_null() {
            return Some(Self::Image);
        }
        if matches!(node.value, Written::Mapping(_)) {
            let HealthcheckKeys { command, interval, timeout, retries, start_period } =
                HealthcheckKeys::read(node, reader)?;
            return Some(Self::Command {
                command: command.0,
                interval: interval.0,
                timeout: timeout.0,
                retries: retries.0,
                start_period,
            });
        }
        // A YAML 1.1 tool that rewrites the file turns a bare `off` into `false`.
        if matches!(&node.value, Written::Scalar { text, .. } if matches!(text.as_str(), "off" | "false")) {
            return Some(Self::Off);
        }
        let hint =
            "write `healthcheck: {command: [app, healthcheck]}`, or leave the key out for the image's own";
        reader.wrong(node, "this is neither `off` nor a section", hint);
        None
    }

    fn show(&self) -> Shown {
        match self.clone() {
            Self::Image => Shown::Null,
            Self::Off => Shown::Text("off".to_owned()),
            Self::Command { command, interval, timeout, retries, start_period } => HealthcheckKeys {
                command: HealthcheckCommand(command),
                interval: Positive(interval),
                timeout: Positive(timeout),
                retries: Count(retries),
                start_period,
            }
            .show(),
        }
    }

    fn schema() -> Value {
        json!({"anyOf": [{"enum": ["off", false]}, HealthcheckKeys::schema(), {"type": "null"}]})
    }
}

/// The command of a hook. It is kept as it was written: names are the shell's, words are filled in when it runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HookCommand(pub(crate) Vec<String>);

impl Setting for HookCommand {
    fn read(node: &Node, reader: &mut Reader) -> Option<Self> {
        const HINT: &str =
            "write a list such as `[systemctl, start, \"shop@{slot}\"]`, or one text for `/bin/sh`";
        let read = match &node.value {
            Written::Sequence(items) => words(items, reader)?,
            Written::Scalar { .. } | Written::Mapping(_) => {
                let text = reader.text(node, "`systemctl start shop@{slot}`")?;
                if text.trim().is_empty() { Vec::new() } else { by_shell(text) }
            }
        };
        runnable(node, &read, HINT, reader)?;
        if matches!(node.value, Written::Sequence(_)) && expects_a_shell(&read) {
            let message =
                "a hook that is a list runs without a shell, and nobody would replace the `${…}` in it";
            let hint =
                "write the hook as one text, which /bin/sh runs, for example `start-app --port \"${PORT}\"`";
            reader.wrong(node, message, hint);
            return None;
        }
        Some(Self(read))
    }

    fn show(&self) -> Shown {
        shell_text(&self.0).map_or_else(|| list_of(&self.0, Shown::Raw), |text| Shown::Raw(text.to_owned()))
    }

    fn schema() -> Value {
        words_schema()
    }
}

/// Whether words hold a name to replace, and none of them is the script of an interpreter.
fn expects_a_shell(words: &[String]) -> bool {
    let has_name = |word: &String| parts(word).any(|part| matches!(part, Ok(Part::Name(..))));
    words.iter().any(has_name) && !words.iter().any(|word| matches!(word.as_str(), "-c" | "-e"))
}

record! {
    /// A hook with a bound of its own.
    OneHookKeys, "write for example `{command: [notify, \"{version}\"], timeout: 30s}`" {
        /// Program and arguments, or one text for `/bin/sh -c`.
        command: HookCommand;
        /// How long it may take.
        timeout: Positive = Positive(HOOK_TIMEOUT);
    }
}

/// How long a hook may take that says nothing about it.
const HOOK_TIMEOUT: Span = Span::seconds(300);

impl Setting for Hook {
    fn read(node: &Node, reader: &mut Reader) -> Option<Self> {
        let OneHookKeys { command, timeout } = if matches!(node.value, Written::Mapping(_)) {
            OneHookKeys::read(node, reader)?
        } else {
            OneHookKeys { command: HookCommand::read(node, reader)?, timeout: Positive(HOOK_TIMEOUT) }
        };
        Some(Self { command: command.0, timeout: timeout.0 })
    }

    fn show(&self) -> Shown {
        let command = HookCommand(self.command.clone());
        if self.timeout == HOOK_TIMEOUT {
            return command.show();
        }
        OneHookKeys { command, timeout: Positive(self.timeout) }.show()
    }

    fn schema() -> Value {
        json!({"anyOf": [HookCommand::schema(), OneHookKeys::schema()]})
    }
}
