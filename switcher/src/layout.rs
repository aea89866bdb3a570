//! Text laid out for a terminal of any width: labelled lines that wrap under themselves, and colours.
//!
//! Pure: width and colour are arguments. No line is wider than the width it was rendered for, down to 24
//! columns.

/// How a piece of text is meant; the colour follows from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// Ordinary text.
    Plain,
    /// A name or a number that matters.
    Strong,
    /// A label.
    Faint,
    /// Healthy, live, done.
    Good,
    /// Needs attention.
    Warn,
    /// Unhealthy, failed.
    Bad,
}

impl Tone {
    const fn sgr(self) -> Option<&'static str> {
        match self {
            Self::Plain => None,
            Self::Strong => Some("1"),
            Self::Faint => Some("2"),
            Self::Good => Some("32"),
            Self::Warn => Some("33"),
            Self::Bad => Some("31"),
        }
    }
}

/// `text` in the colour of its tone (ECMA-48 SGR), or as it is.
#[must_use]
pub fn paint(text: &str, tone: Tone, colour: bool) -> String {
    match tone.sgr() {
        Some(sgr) if colour => format!("\x1b[{sgr}m{text}\x1b[0m"),
        Some(_) | None => text.to_owned(),
    }
}

/// Below this nothing is laid out; the longest label has to fit.
const NARROWEST: usize = 24;

/// A line: an indented label and words that wrap to the right of it.
#[derive(Debug, Clone)]
struct Line {
    label: (String, Tone),
    /// The column at which the words begin.
    column: usize,
    words: Vec<(String, Tone)>,
}

/// Lines, from top to bottom.
#[derive(Debug, Clone, Default)]
pub struct Page {
    lines: Vec<Line>,
}

impl Page {
    /// An empty line.
    pub fn gap(&mut self) {
        self.line("", Tone::Plain, 0);
    }

    /// Begins a line with a label (its own indent included) whose text starts at `column`.
    pub fn line(&mut self, label: &str, tone: Tone, column: usize) -> &mut Self {
        self.lines.push(Line { label: (label.to_owned(), tone), column, words: Vec::new() });
        self
    }

    /// Adds words to the last line; it may break between any two of them.
    pub fn words(&mut self, text: &str, tone: Tone) -> &mut Self {
        if let Some(line) = self.lines.last_mut() {
            line.words.extend(text.split_whitespace().map(|word| (word.to_owned(), tone)));
        }
        self
    }

    /// The whole page as text, every line at most `width` columns wide (or `NARROWEST`).
    #[must_use]
    pub fn render(&self, width: usize, colour: bool) -> String {
        self.lines.iter().flat_map(|line| line.render(width.max(NARROWEST), colour)).fold(
            String::new(),
            |mut page, row| {
                page.push_str(row.trim_end());
                page.push('\n');
                page
            },
        )
    }
}

impl Line {
    fn render(&self, width: usize, colour: bool) -> Vec<String> {
        let (label, tone) = &self.label;
        // A narrow terminal gives the label a line of its own and the words nearly the whole width.
        let column = if width < self.column + 16 { 2 } else { self.column };
        let mut rows = Vec::new();
        let mut used = label.chars().count();
        let mut row = paint(label, *tone, colour);
        let mut empty = true;
        for (word, tone) in self.words.iter().flat_map(|(word, tone)| pieces(word, width - column, *tone)) {
            let length = word.chars().count();
            let start = if empty { used.max(column) } else { used + 1 };
            if start + length > width || (empty && used > column) {
                rows.push(std::mem::replace(&mut row, " ".repeat(column)));
                used = column;
            } else {
                row.push_str(&" ".repeat(start - used));
                used = start;
            }
            row.push_str(&paint(word, tone, colour));
            used += length;
            empty = false;
        }
        rows.push(row);
        rows
    }
}

/// A word cut into pieces that fit.
fn pieces(word: &str, width: usize, tone: Tone) -> impl Iterator<Item = (&str, Tone)> {
    let mut rest = word;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let end = rest.char_indices().nth(width).map_or(rest.len(), |(at, _)| at);
        let (piece, tail) = rest.split_at(end);
        rest = tail;
        Some((piece, tone))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Page {
        let mut page = Page::default();
        page.line("  because", Tone::Faint, 12)
            .words("GET /health answered 503 Service Unavailable: \"database is down\"", Tone::Bad);
        page.line("  upstreams", Tone::Faint, 12).words(
            "an-extraordinarily-long-host-name-without-any-spaces.internal.example.com:8001",
            Tone::Plain,
        );
        page
    }

    #[test]
    fn no_line_is_wider_than_the_terminal() {
        for width in NARROWEST..120 {
            for line in sample().render(width, false).lines() {
                assert!(line.chars().count() <= width, "{width}: {line:?}");
            }
        }
    }

    #[test]
    fn wrapped_words_stand_under_the_first() {
        insta::assert_snapshot!(sample().render(44, false), @r#"
          because   GET /health answered 503 Service
                    Unavailable: "database is down"
          upstreams an-extraordinarily-long-host-nam
                    e-without-any-spaces.internal.ex
                    ample.com:8001
        "#);
    }

    #[test]
    fn colours_change_no_width_and_are_absent_when_off() {
        let page = sample();
        assert!(!page.render(40, false).contains('\x1b'));
        let mut plain = page.render(40, true);
        for sgr in ["0", "1", "2", "31", "32", "33"] {
            plain = plain.replace(&format!("\x1b[{sgr}m"), "");
        }
        assert_eq!(plain, page.render(40, false));
    }
}
