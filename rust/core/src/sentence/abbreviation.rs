//! Words whose full stop may not end a sentence.

/// What the word before a full stop allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Word {
    /// Any other word: the stop ends the sentence.
    Plain,
    /// `e.g.`, `Dr.`: the stop never ends it.
    Never,
    /// `Fig.`, `No.`: the stop does not end it before a number.
    BeforeNumber,
    /// `etc.`, `U.S.`: the stop does not end it before a lower-case word or a number.
    BeforeLower,
    /// One capital letter: an initial, when names stand around it.
    Initial,
}

/// Longest word looked at, in bytes.
const LONGEST: usize = 12;

/// The kind of the word that ends at byte `end` of `text`, and where it starts.
pub(super) fn word_before(bytes: &[u8], end: usize) -> (Word, usize) {
    let window = &bytes[end.saturating_sub(LONGEST + 1)..end];
    let length = window.iter().rev().take_while(|b| b.is_ascii_alphanumeric() || **b == b'.').count();
    let start = end - length;
    let touches_letters = start > 0 && !bytes[start - 1].is_ascii();
    if length == 0 || length > LONGEST || touches_letters {
        return (Word::Plain, start);
    }
    let word = &bytes[start..end];
    if let [letter] = word
        && letter.is_ascii_uppercase()
    {
        return (Word::Initial, start);
    }
    let mut lower = [0; LONGEST];
    lower[..length].copy_from_slice(word);
    lower.make_ascii_lowercase();
    // The slice came from ASCII letters, digits and dots.
    let lower = std::str::from_utf8(&lower[..length]).unwrap_or_default();
    (listed(lower), start)
}

fn listed(word: &str) -> Word {
    match word {
        "e.g" | "i.e" | "eg" | "ie" | "cf" | "vs" | "viz" | "dr" | "mr" | "mrs" | "ms" | "messrs"
        | "prof" | "st" | "mt" | "rev" | "hon" | "gen" | "col" | "capt" | "lt" | "sgt" | "approx"
        | "resp" => Word::Never,
        "no" | "nos" | "fig" | "figs" | "eq" | "eqs" | "eqn" | "eqns" | "ch" | "chap" | "sec" | "sect"
        | "vol" | "p" | "pp" | "ex" | "thm" | "lem" | "prop" | "cor" | "def" | "ref" | "refs" | "art"
        | "tab" | "app" | "ver" | "v" => Word::BeforeNumber,
        "etc" | "al" | "jr" | "sr" | "inc" | "ltd" | "co" | "corp" | "dept" | "est" | "max" | "min"
        | "avg" | "hr" | "hrs" | "ft" | "lb" | "lbs" | "oz" | "sq" | "cu" | "deg" | "jan" | "feb" | "apr"
        | "aug" | "sept" | "oct" | "nov" | "dec" => Word::BeforeLower,
        _ if is_dotted(word) => Word::BeforeLower,
        _ => Word::Plain,
    }
}

/// `u.s`, `a.m`, `ph.d`: short pieces of letters between dots.
fn is_dotted(word: &str) -> bool {
    word.contains('.')
        && word
            .split('.')
            .all(|piece| matches!(piece.len(), 1 | 2) && piece.bytes().all(|b| b.is_ascii_alphabetic()))
}

/// Whether the capital letter at `start` stands among names: behind a capitalised word, beside
/// another initial, or at the beginning of the sentence.
pub(super) fn is_among_names(text: &str, sentence_start: usize, start: usize) -> bool {
    // The letter and its stop are two bytes; then `K.`, say.
    let mut behind = text[start + 2..].trim_start_matches([' ', '\t']).chars();
    if behind.next().is_some_and(char::is_uppercase) && behind.next() == Some('.') {
        return true;
    }
    let before = text[sentence_start..start].trim_end_matches([' ', '\t']);
    // A long stretch without white space is no name; looking at its tail only keeps this cheap.
    let tail_start = before.char_indices().rev().take(32).take_while(|(_, c)| !c.is_whitespace()).last();
    let Some((tail_start, _)) = tail_start else { return true };
    let first_letter = before[tail_start..].chars().find(|c| c.is_alphabetic());
    first_letter.is_none_or(char::is_uppercase)
}

/// Whether the word that starts at `start` numbers an item of a list: `1.`, `**2.`, `- a.`, `iv.`
/// at the beginning of its line.
pub(super) fn numbers_item(bytes: &[u8], line_start: usize, start: usize, end: usize) -> bool {
    let word = &bytes[start..end];
    let is_number = word.len() <= 3 && word.iter().all(u8::is_ascii_digit);
    let is_letter = word.len() == 1 && word[0].is_ascii_alphabetic();
    let is_roman =
        word.len() <= 4 && word.iter().all(|b| matches!(b.to_ascii_lowercase(), b'i' | b'v' | b'x'));
    let before = &bytes[line_start.min(start)..start];
    (is_number || is_letter || is_roman)
        && !word.is_empty()
        && before.len() <= 16
        && before.iter().all(|b| matches!(b, b' ' | b'\t' | b'*' | b'_' | b'#' | b'>' | b'+' | b'-' | b'('))
}
