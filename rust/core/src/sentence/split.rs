//! One pass over a text that finds where its sentences end.

use super::fence::Fences;
use super::scan::{WIDTH, without};
use super::span::Spans;
use super::stop::{ends_sentence, is_cjk_stop, is_spaced_stop, read_run};

const THINK: &str = "<think>";
const END_THINK: &str = "</think>";

/// Appends the ends of the sentences of `text` to `ends`.
pub(super) fn split(text: &str, ends: &mut Vec<u32>) {
    let mut splitter = Splitter {
        text,
        fences: Fences::default(),
        spans: Spans::new(text.as_bytes()),
        first: ends.len(),
        ends,
        at: 0,
        start: 0,
        line_start: 0,
        has_word: false,
    };
    while splitter.at < text.len() {
        splitter.step();
    }
    splitter.finish();
}

struct Splitter<'a> {
    text: &'a str,
    fences: Fences,
    spans: Spans<'a>,
    ends: &'a mut Vec<u32>,
    /// Length of `ends` before this text.
    first: usize,
    /// The position being read.
    at: usize,
    /// Where the current sentence began.
    start: usize,
    /// Where the current line began, after its indentation.
    line_start: usize,
    /// The current sentence has a letter, a digit or a formula: without one it cannot end.
    has_word: bool,
}

/// A letter or a digit of ASCII.
const WORD: u8 = 1;
/// A byte of a character outside of ASCII: it may be a letter.
const WIDE: u8 = 2;
/// One of [`MARKS`].
const MARK: u8 = 4;

/// Bytes where something may begin that the rules speak of; of the stops outside of ASCII, which are
/// U+2026, U+3002 and from U+FF01 to U+FF61, the first bytes.
const MARKS: [u8; 12] = *b"\n!$.<?\\`~\xe2\xe3\xef";

/// What each byte is: most of a text is skipped by looking here.
const CLASSES: [u8; 256] = {
    let mut classes = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        classes[byte] = match byte as u8 {
            b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' => WORD,
            0x80.. => WIDE,
            _ => 0,
        };
        byte += 1;
    }
    let mut mark = 0;
    while mark < MARKS.len() {
        classes[MARKS[mark] as usize] = MARK;
        mark += 1;
    }
    classes
};

/// Where the white space at `position` ends, and whether a newline is in it.
fn space_after(text: &str, position: usize) -> (usize, bool) {
    let mut newline = false;
    for (skipped, &byte) in text.as_bytes()[position..].iter().enumerate() {
        match byte {
            b' ' | b'\t'..=b'\r' => newline |= byte == b'\n',
            0x80.. => {
                let rest = &text[position + skipped..];
                let trimmed = rest.trim_start();
                let space = &rest[..rest.len() - trimmed.len()];
                return (text.len() - trimmed.len(), newline || space.contains('\n'));
            }
            _ => return (position + skipped, newline),
        }
    }
    (text.len(), newline)
}

/// Whether the byte is one of [`MARKS`], without branches.
fn is_mark(byte: u8) -> bool {
    MARKS.iter().fold(0, |any, &mark| any | u8::from(byte == mark)) != 0
}

impl Splitter<'_> {
    fn step(&mut self) {
        self.skip_plain();
        let bytes = self.text.as_bytes();
        let Some(&byte) = bytes.get(self.at) else { return };
        if matches!(byte, b'`' | b'~')
            && let Some(end) = self.fences.block_end(self.text, self.at)
        {
            self.end_here();
            self.at = end;
            self.has_word = true;
            self.end_after_space(self.at);
            return;
        }
        match byte {
            b'\n' => self.end_after_space(self.at),
            b'$' | b'`' | b'\\' => match self.spans.close(self.at) {
                Ok(end) => {
                    self.has_word = true;
                    self.at = end;
                }
                Err(after_mark) => self.at = after_mark.min(self.text.len()),
            },
            b'<' => self.tag(),
            // `3.14`, `a.b`: no white space, and nothing that could belong to the stop.
            b'.' if bytes.get(self.at + 1).is_some_and(u8::is_ascii_alphanumeric) => self.at += 1,
            b'.' | b'!' | b'?' => self.spaced_stop(),
            b'~' => self.at += 1,
            _ => self.wide(),
        }
    }

    /// Goes to the next byte that a rule may be about, noting a word on the way.
    fn skip_plain(&mut self) {
        let bytes = self.text.as_bytes();
        if !self.has_word {
            let skipped = bytes[self.at..].iter().position(|&byte| CLASSES[usize::from(byte)] != 0);
            self.at = skipped.map_or(bytes.len(), |skipped| self.at + skipped);
            match bytes.get(self.at).map(|&byte| CLASSES[usize::from(byte)]) {
                Some(WORD) => self.has_word = true,
                Some(WIDE) => return,
                _ => {}
            }
        }
        // A mark is mostly near; where it isn't, sixteen bytes are compared at a time.
        let class_is_mark = |byte: &u8| CLASSES[usize::from(*byte)] == MARK;
        let near = &bytes[self.at..bytes.len().min(self.at + WIDTH)];
        if let Some(skipped) = near.iter().position(class_is_mark) {
            self.at += skipped;
            return;
        }
        self.at += near.len();
        self.at += without(&bytes[self.at..], is_mark);
        let skipped = bytes[self.at..].iter().position(class_is_mark);
        self.at = skipped.map_or(bytes.len(), |skipped| self.at + skipped);
    }

    /// A character outside of ASCII: a stop, perhaps a letter.
    fn wide(&mut self) {
        let Some(c) = self.text[self.at..].chars().next() else { return };
        if is_cjk_stop(c) {
            let run = read_run(self.text, self.at, true);
            self.end_after_space(run.end);
        } else if is_spaced_stop(c) {
            self.spaced_stop();
        } else {
            // The ideographs, which all are letters, are not looked up.
            self.has_word = self.has_word || matches!(c, '\u{4e00}'..='\u{9fff}') || c.is_alphanumeric();
            self.at += c.len_utf8();
        }
    }

    fn spaced_stop(&mut self) {
        let run = read_run(self.text, self.at, false);
        let (space_end, newline) = space_after(self.text, run.end);
        // Without white space it is a decimal, a version, an address; before a newline, and at the
        // end of the text, the sentence ends anyway.
        let on_one_line = space_end > run.end && !newline;
        let next = self.text[space_end..].chars().next();
        let ends = on_one_line
            && next.is_some_and(|next| {
                ends_sentence(self.text, self.start, self.line_start, self.at, &run, next)
            });
        if ends {
            self.end_after_space(run.end);
        } else {
            self.at = run.end;
        }
    }

    fn tag(&mut self) {
        let rest = &self.text[self.at..];
        if rest.starts_with(END_THINK) {
            self.has_word = true;
            self.end_after_space(self.at + END_THINK.len());
        } else if rest.starts_with(THINK) {
            self.end_here();
            // Taken with the white space behind it, newlines too: the tag opens the next sentence.
            self.skip_space(self.at + THINK.len());
        } else {
            self.at += 1;
        }
    }

    /// Ends the sentence behind the white space at `position`, unless it has no word yet or the
    /// closing think tag, which belongs to it, comes next.
    fn end_after_space(&mut self, position: usize) {
        self.skip_space(position);
        if !self.text.as_bytes()[self.at..].starts_with(END_THINK.as_bytes()) {
            self.end_here();
        }
    }

    fn skip_space(&mut self, position: usize) {
        let (end, newline) = space_after(self.text, position);
        self.at = end;
        if newline {
            self.line_start = end;
        }
    }

    fn end_here(&mut self) {
        if self.has_word && self.at > self.start {
            self.ends.push(self.at as u32);
            self.start = self.at;
            self.has_word = false;
        }
    }

    /// What is left ends with the text; without a word it joins the sentence before it.
    fn finish(self) {
        let length = self.text.len();
        if self.start < length {
            if !self.has_word && self.ends.len() > self.first {
                self.ends.pop();
            }
            self.ends.push(length as u32);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stops_begin_with_marks_and_ideographs_are_letters() {
        for c in '\0'..=char::MAX {
            let first = c.to_string().as_bytes()[0];
            assert_eq!(CLASSES[usize::from(first)] == MARK, is_mark(first));
            assert!(is_mark(first) || !(is_spaced_stop(c) || is_cjk_stop(c)), "{c:?}");
        }
        assert!(('\u{4e00}'..='\u{9fff}').all(char::is_alphabetic));
    }
}
