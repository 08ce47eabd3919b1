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

#[test]
fn rows_too_short_for_a_shingle_are_alike_only_if_equal() {
    let rows = vec![vec![1, 2, 3, 4], vec![3, 4, 1, 2], vec![1, 1, 1, 2], vec![1, 2, 1, 1]];
    assert_eq!(near(&rows, NearSettings::default()), vec![0, 1, 2, 3]);
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
    let settings = NearSettings { num_hashes: 16, seed: 5, ..NearSettings::default() };
    let run = |threads| with_threads(threads, || near(&rows, settings));
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

/// Rows that share a template and are each its own in the last tokens: J between any two is the same.
fn template(count: u64, length: usize, own: usize) -> Vec<Vec<u32>> {
    let base = noise(1, length - own);
    (0..count).map(|row| [&base[..], &noise(100 + row, own)].concat()).collect()
}

fn with_threads<T: Send>(threads: usize, work: impl FnOnce() -> T + Send) -> T {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(work)
}

#[test]
fn a_crowd_just_below_the_threshold_links_none_on_any_number_of_threads() {
    // J is 0.76: most pairs meet in some band, more than anyone would want to compare.
    let mut rows = template(3000, 300, 40);
    assert_eq!(near(&rows, NearSettings::default()), (0..3000).collect::<Vec<u32>>());
    // What little is alike in the crowd comes out the same whoever does the work.
    for row in (0..3000).step_by(100) {
        let mut twin = rows[row].clone();
        twin[150] = 50_000 + row as u32;
        rows.push(twin);
    }
    let run = |threads| with_threads(threads, || near(&rows, NearSettings::default()));
    let alone = run(1);
    assert_eq!(run(3), alone);
    assert!(alone[..3000].iter().enumerate().all(|(row, &cluster)| row as u32 == cluster));
}

#[test]
fn a_pair_in_a_small_crowd_is_found() {
    let mut rows = template(100, 300, 40);
    for row in 0..100 {
        let mut twin = rows[row].clone();
        twin[150] = 50_000 + row as u32;
        rows.push(twin);
    }
    let wanted: Vec<u32> = (0..100).chain(0..100).collect();
    assert_eq!(near(&rows, NearSettings::default()), wanted);
}

#[test]
fn a_crowd_of_alike_rows_is_one_cluster() {
    for (length, own) in [(300, 10), (60, 2)] {
        let rows = template(3000, length, own);
        assert!(near(&rows, NearSettings::default()).iter().all(|&cluster| cluster == 0), "{length} {own}");
    }
}

#[test]
fn constant_rows_are_alike_whatever_their_length() {
    let mut rows: Vec<Vec<u32>> = (5..300).map(|length| vec![7; length]).collect();
    rows.push(vec![7; 4]);
    rows.push(vec![8; 50]);
    let got = near(&rows, NearSettings::default());
    assert!(got[..295].iter().all(|&cluster| cluster == 0));
    // Shorter than a shingle, it is another shingle.
    assert_eq!(got[295..], [295, 296]);
}

#[test]
fn rows_of_few_shingles_are_alike_to_equal_sets_alone() {
    let rows = [[1, 2, 3, 4].as_slice(), &[1, 2, 3], &[3, 2, 1], &[1, 2, 3, 4, 5], &[1, 1, 2, 2, 3]];
    let rows: Vec<Vec<u32>> = rows.iter().map(|row| row.to_vec()).collect();
    let near = |threshold| near(&rows, NearSettings { threshold, ngram: 1, ..NearSettings::default() });
    assert_eq!(near(0.9), vec![0, 1, 1, 3, 1]);
    // 4 of 5 are enough now, 3 of 4 are not.
    assert_eq!(near(0.8), vec![0, 1, 1, 0, 1]);
}

#[test]
fn a_huge_pair_among_tiny_rows_is_found_on_any_number_of_threads() {
    let huge = noise(1, 300_000);
    let mut twin = huge.clone();
    twin[1000..3000].fill(7);
    let mut rows: Vec<Vec<u32>> = (0..500).map(|row| noise(10 + row, 6)).collect();
    rows.extend([huge, twin]);
    let mut wanted: Vec<u32> = (0..501).collect();
    wanted.push(500);
    for threads in [1, 3] {
        assert_eq!(with_threads(threads, || near(&rows, NearSettings::default())), wanted);
    }
}
