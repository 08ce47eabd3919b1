//! Fenced code blocks, found before anything else is read.

/// A line that opens or closes a fenced block.
#[derive(Debug, Clone, Copy)]
struct FenceLine {
    /// Where its first fence character is.
    position: usize,
    /// Where its line ends: at the newline, or at the end of the text.
    line_end: usize,
    mark: u8,
    /// Length of the run of marks, capped so that a text has few distinct ones.
    run: usize,
    /// Nothing follows the marks, so it may close.
    bare: bool,
}

/// A fence longer than this counts as this long: it bounds the searches for a closing line.
const LONGEST_RUN: usize = 8;

/// The fence lines of one text, consumed from front to back.
pub(super) struct Fences {
    lines: Vec<FenceLine>,
    next: usize,
    /// Opening lines (by mark and run) that found no closing line; later ones of the kind cannot either.
    hopeless: [[bool; LONGEST_RUN + 1]; 2],
}

impl Fences {
    pub(super) fn new(text: &str) -> Self {
        let mut lines = Vec::new();
        if text.contains("```") || text.contains("~~~") {
            let mut start = 0;
            for line in text.split('\n') {
                lines.extend(fence_line(line.as_bytes(), start));
                start += line.len() + 1;
            }
        }
        Self { lines, next: 0, hopeless: [[false; LONGEST_RUN + 1]; 2] }
    }

    /// Where the block that opens at `position` ends (before its last newline), if one opens there
    /// and is closed. Positions asked for never decrease.
    pub(super) fn block_end(&mut self, position: usize) -> Option<usize> {
        while self.lines.get(self.next).is_some_and(|line| line.position < position) {
            self.next += 1;
        }
        let open = *self.lines.get(self.next).filter(|line| line.position == position)?;
        let hopeless = &mut self.hopeless[usize::from(open.mark == b'~')][open.run];
        if *hopeless {
            return None;
        }
        let rest = &self.lines[self.next + 1..];
        let close = rest.iter().find(|line| line.bare && line.mark == open.mark && line.run >= open.run);
        *hopeless = close.is_none();
        close.map(|line| line.line_end)
    }
}

fn fence_line(line: &[u8], start: usize) -> Option<FenceLine> {
    let indent = line.iter().take_while(|b| matches!(b, b' ' | b'\t')).count();
    let marks = &line[indent..];
    let mark = *marks.first().filter(|b| matches!(b, b'`' | b'~'))?;
    let run = marks.iter().take_while(|&&b| b == mark).count();
    let info = &marks[run..];
    // A backtick after the marks makes it inline code: ```like this```.
    if run < 3 || (mark == b'`' && info.contains(&b'`')) {
        return None;
    }
    Some(FenceLine {
        position: start + indent,
        line_end: start + line.len(),
        mark,
        run: run.min(LONGEST_RUN),
        bare: info.iter().all(u8::is_ascii_whitespace),
    })
}
