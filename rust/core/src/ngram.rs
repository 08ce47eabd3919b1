//! Hashes of token n-grams, rolled along a row, and of whole rows.

use rayon::prelude::*;

/// A 64-bit finaliser (Stafford's mix 13, as in `SplitMix64`): every input bit reaches every output bit.
pub(crate) fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// Both halves of the 128-bit product, one on the other: one multiplication, and upper bits reach
/// lower ones as well.
pub(crate) fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}

/// Base of the polynomial: odd, so that powers of it never vanish.
const BASE: u64 = 0x9e37_79b9_7f4a_7c15;

/// Rows longer than this are hashed in stretches of this many tokens, by as many threads as are free.
const STRETCH: usize = 1 << 16;

/// Odd and irregular numbers that keep the four lanes of [`hash_stretch`] apart.
const LANES: [u64; 4] =
    [0xa076_1d64_78bd_642f, 0xe703_7ed1_a0b4_28db, 0x8ebc_6af0_9c88_c6e3, 0x5899_65cc_7537_4cc3];

/// Hash of a whole row; rows of different lengths differ.
pub(crate) fn hash_row(tokens: &[u32]) -> u64 {
    if tokens.len() <= STRETCH {
        return hash_stretch(tokens);
    }
    let stretches: Vec<u64> = tokens.par_chunks(STRETCH).map(hash_stretch).collect();
    stretches.iter().fold(tokens.len() as u64, |sum, &hash| mix(sum ^ hash))
}

/// Four chains of multiplications side by side, each over two of eight words: a chain waits for its
/// own last product only, so a row is hashed about as fast as it is read.
fn hash_stretch(tokens: &[u32]) -> u64 {
    // Not LANES as they are: the two words of a lane would be alike, and a row that swaps them the same.
    let mut sums = [LANES[1], LANES[2], LANES[3], LANES[0]];
    let mut take = |block: &[u32; 16]| {
        let word = |at: usize| u64::from(block[at]) | u64::from(block[at + 1]) << 32;
        for lane in 0..4 {
            sums[lane] = fold(word(4 * lane) ^ LANES[lane], word(4 * lane + 2) ^ sums[lane]);
        }
    };
    let (blocks, rest) = tokens.as_chunks::<16>();
    blocks.iter().for_each(&mut take);
    if !rest.is_empty() {
        // Zeros stand for what is missing; the length tells them from tokens of number 0.
        let mut last = [0; 16];
        last.iter_mut().zip(rest).for_each(|(last, &token)| *last = token);
        take(&last);
    }
    let [a, b, c, d] = sums;
    mix(fold(a, b ^ LANES[0]) ^ fold(c ^ LANES[1], d).rotate_left(32) ^ mix(tokens.len() as u64))
}

/// `BASE` to the power `n - 1`: the weight of the first token of a window of `n`.
fn first_weight(n: usize) -> u64 {
    (1..n).fold(1_u64, |power, _| power.wrapping_mul(BASE))
}

/// The sum over `n - 1` tokens, to which the next one makes a window.
fn warm(tokens: &[u32]) -> u64 {
    tokens.iter().fold(0_u64, |sum, &token| sum.wrapping_mul(BASE).wrapping_add(u64::from(token)))
}

/// Hashes of all n-grams of `tokens`, in order: two multiplications a token whatever `n` is.
pub(crate) fn hashes(tokens: &[u32], n: usize) -> impl Iterator<Item = u64> {
    let count = (tokens.len() + 1).saturating_sub(n);
    // A row without a window costs nothing, however long the n-gram is.
    let leaving = if count > 0 { first_weight(n) } else { 0 };
    let known = if count > 0 { n - 1 } else { tokens.len() };
    let mut sum = warm(&tokens[..known]);
    tokens[known..].iter().zip(tokens).map(move |(&next, &first)| {
        let window = sum.wrapping_mul(BASE).wrapping_add(u64::from(next));
        sum = window.wrapping_sub(u64::from(first).wrapping_mul(leaving));
        mix(window)
    })
}

/// Visits the unmixed sum of every n-gram of `tokens`, in an order of its own: a row is rolled along
/// in two stretches side by side, as one chain of multiplications would wait for each product.
pub(crate) fn for_each_window(tokens: &[u32], n: usize, mut visit: impl FnMut(u64)) {
    let count = (tokens.len() + 1).saturating_sub(n);
    if count == 0 {
        return;
    }
    let leaving = first_weight(n);
    let mut step = |sum: &mut u64, next: u32, first: u32| {
        let window = sum.wrapping_mul(BASE).wrapping_add(u64::from(next));
        *sum = window.wrapping_sub(u64::from(first).wrapping_mul(leaving));
        visit(window);
    };
    // The other stretch warms up once more; short rows would spend more on that than they save.
    let half = if count / 4 > n { count / 2 } else { 0 };
    if half > 0 {
        let stretch = |start: usize| {
            let (firsts, nexts) =
                (&tokens[start..start + half], &tokens[start + n - 1..start + n - 1 + half]);
            (warm(&tokens[start..start + n - 1]), nexts.iter().zip(firsts))
        };
        let ((mut a, a_tokens), (mut b, b_tokens)) = (stretch(0), stretch(half));
        for ((&a_next, &a_first), (&b_next, &b_first)) in a_tokens.zip(b_tokens) {
            step(&mut a, a_next, a_first);
            step(&mut b, b_next, b_first);
        }
    }
    let rest = &tokens[2 * half..];
    if rest.len() >= n {
        let mut sum = warm(&rest[..n - 1]);
        rest[n - 1..].iter().zip(rest).for_each(|(&next, &first)| step(&mut sum, next, first));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rolled_hashes_depend_on_the_n_tokens_alone() {
        let tokens: Vec<u32> = (0..50).map(|i| i * i % 7).collect();
        for n in [1, 2, 5, 13, 50] {
            let rolled: Vec<u64> = hashes(&tokens, n).collect();
            assert_eq!(rolled.len(), 51 - n);
            for (start, &hash) in rolled.iter().enumerate() {
                let fresh: Vec<u64> = hashes(&tokens[start..start + n], n).collect();
                assert_eq!(fresh, vec![hash]);
            }
        }
    }

    #[test]
    fn stretches_side_by_side_visit_the_same_windows() {
        for (length, n) in
            [(0, 1), (4, 5), (5, 5), (6, 5), (37, 1), (100, 2), (1000, 5), (1003, 13), (700, 300)]
        {
            let tokens: Vec<u32> = (0..length).map(|i| mix(i) as u32).collect();
            let mut visited = Vec::new();
            for_each_window(&tokens, n, |window| visited.push(mix(window)));
            let mut wanted: Vec<u64> = hashes(&tokens, n).collect();
            visited.sort_unstable();
            wanted.sort_unstable();
            assert_eq!(visited, wanted, "{length} tokens, n {n}");
        }
    }

    #[test]
    fn too_short_has_none() {
        assert_eq!(hashes(&[1, 2], 3).count(), 0);
        assert_eq!(hashes(&[], 1).count(), 0);
        // However long the n-gram is, that costs nothing.
        assert_eq!(hashes(&[1, 2], usize::MAX).count(), 0);
        for_each_window(&[1, 2], 3, |_| panic!("a window in a row that is too short"));
    }

    #[test]
    fn order_length_and_content_all_count() {
        let rows: [&[u32]; 7] = [&[], &[0], &[0, 0], &[1], &[1, 2], &[2, 1], &[1, 2, 0]];
        let hashed: std::collections::HashSet<u64> = rows.iter().map(|row| hash_row(row)).collect();
        assert_eq!(hashed.len(), rows.len());
    }

    #[test]
    fn places_of_tokens_count_within_a_block() {
        let row: Vec<u32> = (1..=32).collect();
        for length in 1..=row.len() {
            let mut hashed = std::collections::HashSet::from([hash_row(&row[..length])]);
            for (width, first) in (1..=16).flat_map(|width| (0..length).map(move |first| (width, first))) {
                for second in (first + width..).take_while(|second| second + width <= length) {
                    let mut swapped = row[..length].to_vec();
                    (0..width).for_each(|at| swapped.swap(first + at, second + at));
                    assert!(
                        hashed.insert(hash_row(&swapped)),
                        "{width} tokens at {first} and {second} of {length}"
                    );
                }
            }
        }
    }

    #[test]
    fn every_token_of_a_long_row_counts() {
        for length in [15, 16, 17, 100, STRETCH, STRETCH + 1, 3 * STRETCH + 5] {
            let row: Vec<u32> = (0..length as u32).collect();
            let known = hash_row(&row);
            assert_eq!(hash_row(&row.clone()), known);
            for at in [0, 1, 7, length / 2, length - 2, length - 1] {
                let mut changed = row.clone();
                changed[at] += 1;
                assert_ne!(hash_row(&changed), known, "token {at} of {length}");
            }
            assert_ne!(hash_row(&row[..length - 1]), known);
        }
    }
}
