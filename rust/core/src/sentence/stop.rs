//! Whether a run of stops ends a sentence.

use super::abbreviation::{Word, is_among_names, numbers_item, word_before};

/// Stops that need white space after them.
pub(super) fn is_spaced_stop(c: char) -> bool {
    matches!(c, '.' | '!' | '?' | '…')
}

/// Stops of Chinese and Japanese, after which no space is written.
pub(super) fn is_cjk_stop(c: char) -> bool {
    matches!(c, '。' | '！' | '？' | '；' | '｡')
}

/// Closing marks that cannot open anything.
fn is_closer(c: char) -> bool {
    matches!(c, '”' | '’' | '»' | ')' | ']' | '}' | '」' | '』' | '）' | '】' | '》' | '〉' | '］' | '〕')
}

/// Marks that open and close alike: they close when they stand right behind a stop.
fn is_two_faced(c: char) -> bool {
    matches!(c, '"' | '\'' | '*' | '_')
}

/// Where the run of stops and closing marks that starts at `at` ends.
pub(super) struct Run {
    pub(super) end: usize,
    /// A closing quote or bracket is in it.
    closed: bool,
    /// The first stretch of stops, before any closing mark.
    stops_end: usize,
}

/// Reads the run at `at`. `cjk`: it began with a stop after which no space is written, so a mark
/// that could open the next sentence is left to it.
pub(super) fn read_run(text: &str, at: usize, cjk: bool) -> Run {
    let mut run = Run { end: at, closed: false, stops_end: at };
    // Once a mark stands last, so do all behind it: looking once keeps long runs of them linear.
    let mut last = !cjk;
    for c in text[at..].chars() {
        if is_spaced_stop(c) || is_cjk_stop(c) {
            run.end += c.len_utf8();
            if !run.closed {
                run.stops_end = run.end;
            }
        } else if is_closer(c) || (is_two_faced(c) && (last || stands_last(&text[run.end..]))) {
            last |= is_two_faced(c);
            run.end += c.len_utf8();
            run.closed = true;
        } else {
            break;
        }
    }
    run
}

/// Whether white space or the end of the text follows the closing marks at the front of `rest`.
fn stands_last(rest: &str) -> bool {
    let after = rest.trim_start_matches(|c| is_two_faced(c) || is_closer(c));
    after.chars().next().is_none_or(char::is_whitespace)
}

/// Whether the spaced run at `at`, with `next` as the first character after the white space behind
/// it, ends the sentence that began at `sentence_start`.
pub(super) fn ends_sentence(
    text: &str,
    sentence_start: usize,
    line_start: usize,
    at: usize,
    run: &Run,
    next: char,
) -> bool {
    // `He said "Stop!" and left`: a lower-case word goes on after a quotation or a bracket.
    if run.closed && next.is_lowercase() {
        return false;
    }
    let stops = &text[at..run.stops_end];
    match stops {
        "." => full_stop_ends(text, sentence_start, line_start, at, next),
        "!" => next.is_uppercase() || !may_be_factorial(text, at),
        _ if stops.contains(['!', '?']) => true,
        // An ellipsis ends a sentence where the next one visibly begins, not in 1, 2, ... , n.
        _ => {
            (next.is_alphabetic() && !next.is_lowercase())
                || matches!(next, '"' | '\'' | '“' | '‘' | '«' | '(' | '[' | '*' | '#' | '<' | '•')
        }
    }
}

fn full_stop_ends(text: &str, sentence_start: usize, line_start: usize, at: usize, next: char) -> bool {
    let bytes = text.as_bytes();
    let (word, start) = word_before(bytes, at);
    if numbers_item(bytes, line_start, start, at) {
        return false;
    }
    match word {
        Word::Plain => true,
        Word::Never => false,
        Word::BeforeNumber => !(next.is_numeric() || matches!(next, '(' | '[' | '$' | '\\' | '#')),
        Word::BeforeLower => !(next.is_lowercase() || next.is_numeric()),
        Word::Initial => !(next.is_uppercase() && is_among_names(text, sentence_start, start)),
    }
}

/// `5!`, `(n - 1)!`, `n!`: an exclamation mark behind a number, a bracket or a single letter.
fn may_be_factorial(text: &str, at: usize) -> bool {
    let mut before = text[..at].chars().rev();
    match before.next() {
        Some(c) if c.is_numeric() || matches!(c, ')' | ']' | '}') => true,
        Some(c) if c.is_alphabetic() => !before.next().is_some_and(char::is_alphanumeric),
        _ => false,
    }
}
