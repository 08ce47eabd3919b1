//! Hashes of token n-grams, rolled along a row.

/// A 64-bit finaliser (Stafford's mix 13, as in `SplitMix64`): every input bit reaches every output bit.
pub(crate) fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// Base of the polynomial: odd, so that powers of it never vanish.
const BASE: u64 = 0x9e37_79b9_7f4a_7c15;

/// One token spread over 64 bits before it enters the sum.
fn spread(token: u32) -> u64 {
    let x = (u64::from(token) + 1).wrapping_mul(0xd6e8_feb8_6659_fd93);
    x ^ (x >> 32)
}

/// Hash of a whole row; rows of different lengths differ.
pub(crate) fn hash_row(tokens: &[u32]) -> u64 {
    let sum = tokens.iter().fold(0_u64, |sum, &token| sum.wrapping_mul(BASE).wrapping_add(spread(token)));
    mix(sum ^ mix(tokens.len() as u64))
}

/// Hashes of all n-grams of `tokens`, in order: one multiplication a token whatever `n` is.
pub(crate) fn hashes(tokens: &[u32], n: usize) -> impl Iterator<Item = u64> {
    let count = (tokens.len() + 1).saturating_sub(n);
    // The weight of the token that leaves the window.
    let leaving = (0..if count > 0 { n } else { 0 }).fold(1_u64, |power, _| power.wrapping_mul(BASE));
    let warm = if count > 0 { n - 1 } else { 0 };
    let mut sum =
        tokens[..warm].iter().fold(0_u64, |sum, &token| sum.wrapping_mul(BASE).wrapping_add(spread(token)));
    (0..count).map(move |start| {
        sum = sum.wrapping_mul(BASE).wrapping_add(spread(tokens[start + n - 1]));
        if start > 0 {
            sum = sum.wrapping_sub(spread(tokens[start - 1]).wrapping_mul(leaving));
        }
        mix(sum)
    })
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
    fn too_short_has_none() {
        assert_eq!(hashes(&[1, 2], 3).count(), 0);
        assert_eq!(hashes(&[], 1).count(), 0);
        // However long the n-gram is, that costs nothing.
        assert_eq!(hashes(&[1, 2], usize::MAX).count(), 0);
    }

    #[test]
    fn order_length_and_content_all_count() {
        let rows: [&[u32]; 7] = [&[], &[0], &[0, 0], &[1], &[1, 2], &[2, 1], &[1, 2, 0]];
        let hashed: std::collections::HashSet<u64> = rows.iter().map(|row| hash_row(row)).collect();
        assert_eq!(hashed.len(), rows.len());
    }
}
