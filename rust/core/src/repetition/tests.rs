use super::*;

fn one(tokens: &[u32]) -> Repetition {
    repetition(&[Some(tokens)], &Stop::new()).unwrap()[0].unwrap()
}

/// The definition, word for word.
fn longest_run_by_definition(tokens: &[u32]) -> u32 {
    let mut longest = 0;
    for period in 1..tokens.len() {
        let mut length = 0;
        for at in period..tokens.len() {
            length = if tokens[at] == tokens[at - period] { length + 1 } else { 0 };
            if length >= period {
                longest = longest.max(length);
            }
        }
    }
    longest as u32
}

/// Small pseudo-random rows over few tokens, which repeat often.
fn rows() -> impl Iterator<Item = Vec<u32>> {
    (0..3000_u64).map(|seed| {
        let mut state = seed;
        let mut next = move |below: u64| {
            state = crate::ngram::mix(state + 0x9e37_79b9);
            (state % below) as u32
        };
        let mut row = Vec::new();
        for _ in 0..next(5) {
            let block: Vec<u32> = (0..=next(9)).map(|_| next(3)).collect();
            for _ in 0..=next(20) {
                row.extend(&block);
            }
            row.extend((0..next(6)).map(|_| next(4)));
        }
        row
    })
}

#[test]
fn longest_run_is_its_definition() {
    for row in rows() {
        assert_eq!(one(&row).longest_run, longest_run_by_definition(&row), "{row:?}");
    }
}

#[test]
fn the_ending_loop_is_its_definition() {
    for row in rows() {
        let n = row.len();
        let period = (1..=n / 3).find(|&p| (n - 2 * p..n).all(|i| row[i] == row[i - p])).unwrap_or(0);
        let mut tokens = period;
        while period > 0 && tokens < n && row[n - 1 - tokens] == row[n - 1 - tokens + period] {
            tokens += 1;
        }
        let got = one(&row);
        assert_eq!((got.loop_period, got.loop_tokens), (period as u32, tokens as u32), "{row:?}");
    }
}

#[test]
fn small_cases() {
    assert_eq!(one(&[]), Repetition::default());
    assert_eq!(one(&[1]), Repetition::default());
    assert_eq!(one(&[1, 1]).longest_run, 1);
    assert_eq!(one(&[1, 2, 3, 1, 2, 3]).longest_run, 3);
    assert_eq!(one(&[1, 2, 3, 1, 2]).longest_run, 0);
    let ending = |row: &[u32]| (one(row).loop_period, one(row).loop_tokens);
    assert_eq!(ending(&[9, 1, 2, 1, 2, 1, 2]), (2, 6));
    assert_eq!(ending(&[9, 2, 1, 2, 1, 2, 1, 2]), (2, 7));
    assert_eq!(ending(&[9, 1, 2, 1, 2]), (0, 0));
    assert_eq!(ending(&[5, 1, 1, 1]), (1, 3));
    // What looped before the end is no loop at the end.
    assert_eq!(ending(&[1, 1, 1, 1, 1, 1, 9, 3, 3, 3]), (1, 3));
}

#[test]
fn repeated_share_covers_the_later_occurrences() {
    let mut row: Vec<u32> = (0..NGRAM as u32).collect();
    row.extend(0..NGRAM as u32);
    assert!((one(&row).repeated_share - 0.5).abs() < 1e-6);
    assert!(one(&row[..NGRAM]).repeated_share.abs() < f32::EPSILON);
    // Overlapping occurrences cover each token once: all but the first of 20 equal tokens.
    assert!((one(&[7; 20]).repeated_share - 0.95).abs() < 1e-6);
}

#[test]
fn long_loops_do_not_take_quadratic_time() {
    let n = 1 << 16;
    let half = |i: u32, a: u32, b: u32| if i < n / 2 { a } else { b };
    let noise = |i: u32| crate::ngram::mix(u64::from(i)) as u32;
    let rows: Vec<Vec<u32>> = vec![
        vec![0; n as usize],
        (0..n).map(|i| half(i, 1, 2)).collect(),
        (0..n).map(|i| half(i, 1, i % 3 + 2)).collect(),
        (0..n).map(|i| half(i, noise(i), 0)).collect(),
        (0..n).map(|i| if i % 100 == 0 { noise(i) } else { 0 }).collect(),
        (0..n).map(|i| i % 21_845).collect(),
        // No block of it comes three times in a row, and every short one comes very often.
        (0..n).map(|i| i.count_ones() % 2).collect(),
        (0..n).map(|i| noise(i) % 2).collect(),
    ];
    let rows: Vec<Row<'_, u32>> = rows.iter().map(|row| Some(&row[..])).collect();
    let started = std::time::Instant::now();
    let got = repetition(&rows, &Stop::new()).unwrap();
    // Quadratic time is minutes in a debug build; this takes well under a second.
    assert!(started.elapsed().as_secs() < 20);
    assert_eq!(got[0].unwrap().longest_run, n - 1);
    assert_eq!((got[5].unwrap().loop_period, got[5].unwrap().loop_tokens), (21_845, n));
}
