//! Fenced code blocks: from a line of marks to another one.

use super::scan::position;

/// A line that opens or closes a fenced block.
#[derive(Debug, Clone, Copy)]
struct FenceLine {
    mark: u8,
    /// Length of the run of marks, capped so that a text has few distinct ones.
    run: usize,
    /// Nothing follows the marks, so it may close.
    bare: bool,
}

/// A fence longer than this counts as this long: it bounds the searches for a closing line.
const LONGEST_RUN: usize = 8;

/// What is known of the fenced blocks of one text.
#[derive(Default)]
pub(super) struct Fences {
    /// Opening lines (by mark and run) that found no closing line; later ones of the kind cannot either.
    hopeless: [[bool; LONGEST_RUN + 1]; 2],
}

impl Fences {
    /// Where the block that opens at `at` ends (before its last newline), if one opens there and is
    /// closed. Positions asked for must never decrease.
    pub(super) fn block_end(&mut self, text: &str, at: usize) -> Option<usize> {
        let bytes = text.as_bytes();
        if bytes[at..].get(1..3).is_none_or(|next| next != [bytes[at]; 2]) {
            return None;
        }
        let before = bytes[..at].iter().rev().find(|byte| !is_indentation(**byte));
        if before.is_some_and(|&byte| byte != b'\n') {
            return None;
        }
        let mut end = line_end(bytes, at);
        let open = fence_line(&bytes[at..end])?;
        let hopeless = &mut self.hopeless[usize::from(open.mark == b'~')][open.run];
        while !*hopeless && end < bytes.len() {
            let start = end + 1;
            end = line_end(bytes, start);
            let line = fence_line(&bytes[start..end]);
            if line.is_some_and(|line| line.bare && line.mark == open.mark && line.run >= open.run) {
                return Some(end);
            }
        }
        *hopeless = true;
        None
    }
}

fn line_end(bytes: &[u8], start: usize) -> usize {
    position(&bytes[start..], b'\n').map_or(bytes.len(), |length| start + length)
}

fn is_indentation(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

fn fence_line(line: &[u8]) -> Option<FenceLine> {
    let marks = &line[line.iter().take_while(|byte| is_indentation(**byte)).count()..];
    let mark = *marks.first().filter(|b| matches!(b, b'`' | b'~'))?;
    let run = marks.iter().take_while(|&&b| b == mark).count();
    let info = &marks[run..];
    // A backtick after the marks makes it inline code: ```like this```.
    if run < 3 || (mark == b'`' && info.contains(&b'`')) {
        return None;
    }
    Some(FenceLine { mark, run: run.min(LONGEST_RUN), bare: info.iter().all(u8::is_ascii_whitespace) })
}
