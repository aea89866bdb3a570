//! The value of one entry: bare, in single quotes or in double quotes.

use super::Text;

type Refused = (&'static str, &'static str);

/// Reads the value that begins with `text`; a quoted one may go on in the lines after it.
pub(super) fn read(text: &str, rest: &mut Text<'_>) -> Result<String, Refused> {
    let text = text.trim_start_matches([' ', '\t']);
    match text.chars().next() {
        Some(quote @ ('"' | '\'')) => quoted(&text[1..], quote, rest),
        Some(_) | None => Ok(bare(text).to_owned()),
    }
}

/// Everything up to a comment, which begins with a space and `#`. A `#` within a word belongs to it.
fn bare(text: &str) -> &str {
    let comment = |(at, _): &(usize, &str)| *at == 0 || text[..*at].ends_with([' ', '\t']);
    let end = text.match_indices('#').find(comment).map_or(text.len(), |(at, _)| at);
    text[..end].trim_end()
}

fn quoted(text: &str, quote: char, rest: &mut Text<'_>) -> Result<String, Refused> {
    let mut value = String::new();
    let mut text = text;
    loop {
        if let Some(after) = piece(text, quote, &mut value) {
            let after = after.trim_start();
            return if after.is_empty() || after.starts_with('#') {
                Ok(value)
            } else {
                Err((
                    "there is more after the closing quote",
                    "put the whole value in quotes, each quote within it after a backslash",
                ))
            };
        }
        value.push('\n');
        text = rest.line().ok_or((
            "the quote is never closed",
            "close it; a quote within the value stands after a backslash",
        ))?;
    }
}

/// Reads to the closing quote and gives what follows it; none when the line ends before.
fn piece<'a>(text: &'a str, quote: char, value: &mut String) -> Option<&'a str> {
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        if c == quote {
            return Some(&text[at + 1..]);
        }
        match (c, chars.clone().next()) {
            ('\\', Some((next_at, next))) => {
                // `'C:\'` ends there, `'it\'s'` does not.
                let closes = quote == '\'' && !text[next_at + next.len_utf8()..].contains('\'');
                if let Some(meant) = escaped(next, quote).filter(|_| !closes) {
                    value.push(meant);
                    chars.next();
                } else {
                    value.push(c);
                }
            }
            (_, _) => value.push(c),
        }
    }
    None
}

/// What a backslash and a character stand for; none when they stand for themselves. Within single quotes only the
/// quote itself can be escaped.
const fn escaped(next: char, quote: char) -> Option<char> {
    match (quote, next) {
        ('\'', '\'') => Some('\''),
        ('"', 'n') => Some('\n'),
        ('"', 'r') => Some('\r'),
        ('"', 't') => Some('\t'),
        ('"', '"' | '\\' | '$') => Some(next),
        (_, _) => None,
    }
}
