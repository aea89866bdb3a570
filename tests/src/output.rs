//! What a child process writes, kept as it comes, for the test to look at and for failures to show.

use std::io::{BufRead as _, BufReader, Read};
use std::sync::{Arc, Mutex};

use serde_json::Value;

/// Everything a process and its successors have written to one of their streams.
#[derive(Debug, Clone, Default)]
pub struct Output {
    lines: Arc<Mutex<Vec<String>>>,
}

impl Output {
    /// Reads a stream to its end, on a thread of its own.
    pub fn follow(&self, stream: impl Read + Send + 'static) -> std::thread::JoinHandle<()> {
        let lines = Arc::clone(&self.lines);
        std::thread::spawn(move || {
            let mut stream = BufReader::new(stream);
            let mut line = Vec::new();
            while stream.read_until(b'\n', &mut line).is_ok_and(|n| n > 0) {
                let text = String::from_utf8_lossy(&line).trim_end().to_owned();
                lines.lock().expect("lines").push(text);
                line.clear();
            }
        })
    }

    /// Every line so far.
    ///
    /// # Panics
    /// When a reader panicked.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        self.lines.lock().expect("lines").clone()
    }

    /// Everything so far as one text.
    #[must_use]
    pub fn text(&self) -> String {
        self.lines().join("\n")
    }

    /// Every line so far that is a JSON object.
    #[must_use]
    pub fn objects(&self) -> Vec<Value> {
        let object = |line: &String| serde_json::from_str(line).ok().filter(Value::is_object);
        self.lines().iter().filter_map(object).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_objects_are_kept_in_order() {
        let output = Output::default();
        output.follow(&b"first\n{\"a\":1}\n7\nlast"[..]).join().expect("read");
        assert_eq!(output.lines(), ["first", "{\"a\":1}", "7", "last"]);
        assert_eq!(output.objects(), [serde_json::json!({"a": 1})]);
    }
}
