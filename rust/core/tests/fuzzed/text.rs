//! Sentence ends of any UTF-8.

use dasd_core::{Stop, sentence::sentence_ends};

/// Every text is cut at character boundaries into sentences that make it up, whatever rows stand beside it.
pub fn sentences(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let ends = sentence_ends(&[Some(&text)], &Stop::new()).expect("any text has sentences").values;
    assert_eq!(ends.last().map(|&end| end as usize), (!text.is_empty()).then_some(text.len()));
    assert!(ends.windows(2).all(|pair| pair[0] < pair[1]), "{ends:?}");
    assert!(ends.iter().all(|&end| end > 0 && text.is_char_boundary(end as usize)), "{ends:?}");
    let mut start = 0;
    for &end in &ends {
        let sentence = &text[start..end as usize];
        let blank = |part: &str| part.bytes().all(|byte| byte.is_ascii_whitespace());
        assert!(!blank(sentence) || blank(&text), "a sentence of white space: {sentence:?}");
        start = end as usize;
    }
    let beside = sentence_ends(&[None, Some(&text), Some(""), Some(&text)], &Stop::new()).unwrap();
    let rows = beside.rows();
    assert_eq!((rows[0], rows[1], rows[2], rows[3]), (None, Some(&ends[..]), Some(&[][..]), Some(&ends[..])));
}
