//! One pass over a text that finds where its sentences end.

use super::fence::Fences;
use super::span::Spans;
use super::stop::{ends_sentence, is_cjk_stop, is_spaced_stop, read_run};

const THINK: &str = "<think>";
const END_THINK: &str = "</think>";

/// Appends the ends of the sentences of `text` to `ends`.
pub(super) fn split(text: &str, ends: &mut Vec<u32>) {
    let mut splitter = Splitter {
        text,
        fences: Fences::new(text),
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

impl Splitter<'_> {
    fn step(&mut self) {
        let byte = self.text.as_bytes()[self.at];
        if matches!(byte, b'`' | b'~')
            && let Some(end) = self.fences.block_end(self.at)
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
            _ if byte.is_ascii_alphanumeric() => {
                self.has_word = true;
                self.at += 1;
            }
            _ if byte.is_ascii() && !is_spaced_stop(char::from(byte)) => self.at += 1,
            _ => self.character(),
        }
    }

    /// A stop, or a character outside of ASCII.
    fn character(&mut self) {
        let Some(c) = self.text[self.at..].chars().next() else { return };
        if is_cjk_stop(c) {
            let run = read_run(self.text, self.at, true);
            self.end_after_space(run.end);
        } else if is_spaced_stop(c) {
            self.spaced_stop();
        } else {
            self.has_word |= c.is_alphanumeric();
            self.at += c.len_utf8();
        }
    }

    fn spaced_stop(&mut self) {
        let run = read_run(self.text, self.at, false);
        let rest = &self.text[run.end..];
        let spaces = rest.len() - rest.trim_start().len();
        // Without white space it is a decimal, a version, an address; before a newline, and at the
        // end of the text, the sentence ends anyway.
        let on_one_line = spaces > 0 && !rest[..spaces].contains('\n');
        let next = rest[spaces..].chars().next();
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
        if !self.text[self.at..].starts_with(END_THINK) {
            self.end_here();
        }
    }

    fn skip_space(&mut self, position: usize) {
        let rest = &self.text[position..];
        self.at = self.text.len() - rest.trim_start().len();
        if self.text[position..self.at].contains('\n') {
            self.line_start = self.at;
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
