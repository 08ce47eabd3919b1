use super::*;
use crate::ngram::mix;

fn noise(seed: u64, length: usize) -> Vec<u32> {
    (0..length as u64).map(|i| (mix(mix(seed) ^ i) % 50_000) as u32).collect()
}

fn near(rows: &[Vec<u32>], settings: NearSettings) -> Vec<u32> {
    let rows: Vec<Row<'_, u32>> = rows.iter().map(|row| Some(&row[..])).collect();
    near_duplicates(&rows, settings, &Stop::new()).unwrap().into_iter().map(Option::unwrap).collect()
}

#[test]
fn alike_rows_share_their_smallest_row_number() {
    let base = noise(1, 400);
    let mut changed = base.clone();
    changed[200] = 7;
    let rows = vec![noise(2, 400), base.clone(), noise(3, 400), changed, base];
    assert_eq!(near(&rows, NearSettings::default()), vec![0, 1, 2, 1, 1]);
}

#[test]
fn empty_and_null_rows() {
    let rows: Vec<Row<'_, u32>> = vec![Some(&[]), None, Some(&[]), Some(&[1]), Some(&[1]), Some(&[2])];
    let got = near_duplicates(&rows, NearSettings::default(), &Stop::new()).unwrap();
    assert_eq!(got, vec![Some(0), None, Some(2), Some(3), Some(3), Some(5)]);
}

/// Rows of `length` tokens in pairs: the second differs in the last `changed` tokens.
fn pairs(count: u64, length: usize, changed: usize) -> Vec<Vec<u32>> {
    (0..count)
        .flat_map(|pair| {
            let first = noise(2 * pair, length);
            let mut second = first.clone();
            second[length - changed..].copy_from_slice(&noise(2 * pair + 1, changed));
            [first, second]
        })
        .collect()
}

fn found(rows: &[Vec<u32>], settings: NearSettings) -> usize {
    let clusters = near(rows, settings);
    clusters
        .chunks(2)
        .enumerate()
        .filter(|(pair, two)| two[0] == two[1] && two[0] == 2 * *pair as u32)
        .count()
}

#[test]
fn pairs_above_the_threshold_are_found_and_pairs_below_are_not() {
    // With one-token shingles of distinct tokens: J = (n - c) / (n + c).
    for (length, changed) in [(13, 1), (123, 10), (1230, 100)] {
        let rows = pairs(2000, length, changed);
        let settings = NearSettings { ngram: 1, ..NearSettings::default() };
        let found = found(&rows, settings);
        assert!(found >= 1990, "{found} of 2000 pairs of J 0.85 with {length} tokens");
    }
    let apart = pairs(500, 120, 16);
    assert_eq!(found(&apart, NearSettings { ngram: 1, ..NearSettings::default() }), 0);
}

#[test]
fn results_depend_on_the_seed_and_not_on_the_threads() {
    let rows = pairs(300, 60, 3);
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| near(&rows, NearSettings { num_hashes: 16, seed: 5, ..NearSettings::default() }))
    };
    assert_eq!(run(1), run(4));
}

#[test]
fn many_equal_and_many_alike_rows_take_little_time() {
    let base = noise(9, 50);
    let mut rows = vec![base.clone(); 100_000];
    rows.extend((0..5000).map(|i| {
        let mut row = base.clone();
        row.push(i);
        row
    }));
    let started = std::time::Instant::now();
    assert!(near(&rows, NearSettings::default()).iter().all(|&cluster| cluster == 0));
    assert!(started.elapsed().as_secs() < 60);
}

#[test]
fn a_bucket_of_rows_that_are_not_alike_links_none() {
    // J = 0.5 between any two: they meet in some bands of one hash, and are told apart.
    let rows: Vec<Vec<u32>> =
        (0..400).map(|row| (0..20).chain((0..10).map(|i| 1000 + 10 * row + i)).collect()).collect();
    let settings = NearSettings { ngram: 1, num_hashes: 8, ..NearSettings::default() };
    assert_eq!(near(&rows, settings), (0..400).collect::<Vec<u32>>());
}

#[test]
fn settings_out_of_range_are_refused() {
    let bad = [
        NearSettings { threshold: 0.0, ..NearSettings::default() },
        NearSettings { threshold: 1.1, ..NearSettings::default() },
        NearSettings { threshold: f64::NAN, ..NearSettings::default() },
        NearSettings { ngram: 0, ..NearSettings::default() },
        NearSettings { num_hashes: 0, ..NearSettings::default() },
        NearSettings { num_hashes: 5000, ..NearSettings::default() },
    ];
    for settings in bad {
        assert!(matches!(near_duplicates(&[], settings, &Stop::new()), Err(Error::Setting { .. })));
    }
}

#[test]
fn a_stop_ends_it() {
    let stop = Stop::new();
    stop.request();
    let rows: Vec<Row<'_, u32>> = vec![Some(&[1])];
    assert_eq!(near_duplicates(&rows, NearSettings::default(), &stop), Err(Error::Interrupted));
}
