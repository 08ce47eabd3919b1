//! Formulas and inline code: where a span that opens here closes, within bounds.

use super::scan::position;

/// A display formula longer than this is taken for one that never closes.
const LONGEST_DISPLAY: usize = 4096;

/// Remembers how far a closing mark has been looked for, so that many unclosed openings in one
/// text still cost one pass over it.
#[derive(Debug, Default)]
struct Search {
    scanned: usize,
    hit: Option<usize>,
}

impl Search {
    /// First position in `from..limit` with a `mark` that `is_hit`; `from` never decreases from call
    /// to call.
    fn find(
        &mut self,
        bytes: &[u8],
        (from, limit): (usize, usize),
        mark: u8,
        is_hit: impl Fn(usize) -> bool,
    ) -> Option<usize> {
        if let Some(hit) = self.hit.filter(|&hit| hit >= from) {
            return (hit < limit).then_some(hit);
        }
        let start = from.max(self.scanned);
        self.hit = None;
        let mut at = start;
        while let Some(skipped) = bytes.get(at..limit).and_then(|rest| position(rest, mark)) {
            at += skipped;
            if is_hit(at) {
                self.hit = Some(at);
                break;
            }
            at += 1;
        }
        self.scanned = self.hit.map_or(limit.max(start), |hit| hit + 1);
        self.hit
    }
}

/// The spans of one text that no sentence may end inside.
pub(super) struct Spans<'a> {
    bytes: &'a [u8],
    line_end: Search,
    paragraph_end: Search,
    dollar: Search,
    dollars: Search,
    backtick: Search,
    round: Search,
    square: Search,
}

impl<'a> Spans<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            line_end: Search::default(),
            paragraph_end: Search::default(),
            dollar: Search::default(),
            dollars: Search::default(),
            backtick: Search::default(),
            round: Search::default(),
            square: Search::default(),
        }
    }

    /// Where the span that opens at `open` (a `$`, a backtick or a backslash) ends, if it closes;
    /// otherwise `Err` with the position after the opening mark, to be read as plain text.
    pub(super) fn close(&mut self, open: usize) -> Result<usize, usize> {
        let bytes = self.bytes;
        match (bytes[open], bytes.get(open + 1)) {
            (b'$', Some(b'$')) => {
                let limit = self.display_limit(open);
                let close =
                    self.dollars.find(bytes, (open + 2, limit), b'$', |p| bytes[p..].starts_with(b"$$"));
                close.map(|p| p + 2).ok_or(open + 2)
            }
            (b'$', Some(next)) if !next.is_ascii_whitespace() => {
                let limit = self.line_limit(open);
                // Prices are left alone by Pandoc's rule, made stricter: the next dollar closes, and
                // does so only behind something that is not white space and not before a digit.
                let next = self.dollar.find(bytes, (open + 2, limit), b'$', |p| bytes[p - 1] != b'\\');
                let close = next.filter(|&p| {
                    !bytes[p - 1].is_ascii_whitespace() && !bytes.get(p + 1).is_some_and(u8::is_ascii_digit)
                });
                close.map(|p| p + 1).ok_or(open + 1)
            }
            (b'`', Some(next)) if *next != b'`' => {
                let limit = self.line_limit(open);
                let close = self.backtick.find(bytes, (open + 1, limit), b'`', |_| true);
                close.map(|p| p + 1).ok_or(open + 1)
            }
            (b'`', Some(_)) => Err(open + bytes[open..].iter().take_while(|&&b| b == b'`').count()),
            (b'\\', Some(b'(')) => {
                let limit = self.line_limit(open);
                let close =
                    self.round.find(bytes, (open + 2, limit), b'\\', |p| bytes[p..].starts_with(b"\\)"));
                close.map(|p| p + 2).ok_or(open + 2)
            }
            (b'\\', Some(b'[')) => {
                let limit = self.display_limit(open);
                let close =
                    self.square.find(bytes, (open + 2, limit), b'\\', |p| bytes[p..].starts_with(b"\\]"));
                close.map(|p| p + 2).ok_or(open + 2)
            }
            // An escaped mark opens nothing.
            (b'\\', Some(b'$' | b'`' | b'\\')) => Err(open + 2),
            _ => Err(open + 1),
        }
    }

    fn line_limit(&mut self, from: usize) -> usize {
        let bytes = self.bytes;
        self.line_end.find(bytes, (from, bytes.len()), b'\n', |_| true).unwrap_or(bytes.len())
    }

    fn display_limit(&mut self, from: usize) -> usize {
        let bytes = self.bytes;
        let blank_line =
            |p: usize| bytes[p + 1..].iter().find(|b| !matches!(b, b' ' | b'\t' | b'\r')) == Some(&b'\n');
        let end =
            self.paragraph_end.find(bytes, (from, bytes.len()), b'\n', blank_line).unwrap_or(bytes.len());
        end.min(from + LONGEST_DISPLAY)
    }
}
