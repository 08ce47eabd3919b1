//! The tokens of one response that stand for a part of its text.

/// Room for the tokens of a row; there to be used again.
#[derive(Debug, Default)]
pub(crate) struct Wide {
    logprobs: Vec<f32>,
    token_ends: Vec<u32>,
}

impl Wide {
    fn clear(&mut self) {
        self.logprobs.clear();
        self.token_ends.clear();
    }

    fn take(&mut self, logprobs: &[f32], token_ends: &[u32]) {
        self.logprobs.extend_from_slice(logprobs);
        self.token_ends.extend_from_slice(token_ends);
    }
}

/// Tokens that are looked at together.
const BLOCK: usize = 64;

/// One row's logprobs and token ends without the tokens that cover no byte: those that end where the one
/// before them does, or at 0.
///
/// `token_ends` never decrease. A row whose only such tokens stand before or behind its text, as the end token
/// does, is handed back as it is, cut short; `wide` takes the tokens of others.
pub(crate) fn with_width<'a>(
    logprobs: &'a [f32],
    token_ends: &'a [u32],
    wide: &'a mut Wide,
) -> (&'a [f32], &'a [u32]) {
    let before = token_ends.iter().take_while(|&&end| end == 0).count();
    let (logprobs, token_ends) = (&logprobs[before..], &token_ends[before..]);
    let last = token_ends.last();
    let behind = token_ends.iter().rev().skip(1).take_while(|&end| Some(end) == last).count();
    let count = token_ends.len() - behind;
    let (logprobs, token_ends) = (&logprobs[..count], &token_ends[..count]);
    wide.clear();
    let mut from = 0;
    for block in (1..count).step_by(BLOCK) {
        let inside = block..count.min(block + BLOCK);
        let pairs = token_ends[block - 1..inside.end - 1].iter().zip(&token_ends[inside.clone()]);
        // No early end: that lets the compiler compare many at a time.
        if pairs.map(|(start, end)| start < end).fold(true, |all, has_width| all & has_width) {
            continue;
        }
        for token in inside.filter(|&token| token_ends[token - 1] == token_ends[token]) {
            wide.take(&logprobs[from..token], &token_ends[from..token]);
            from = token + 1;
        }
    }
    if from == 0 {
        return (logprobs, token_ends);
    }
    wide.take(&logprobs[from..], &token_ends[from..]);
    (&wide.logprobs, &wide.token_ends)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends(token_ends: &[u32]) -> (Vec<f32>, Vec<u32>) {
        let logprobs: Vec<f32> = token_ends.iter().zip(0_u8..).map(|(_, i)| f32::from(i)).collect();
        let mut wide = Wide { logprobs: vec![9.0], token_ends: vec![9] };
        let (logprobs, token_ends) = with_width(&logprobs, token_ends, &mut wide);
        (logprobs.to_vec(), token_ends.to_vec())
    }

    #[test]
    fn only_tokens_that_cover_bytes_are_left() {
        assert_eq!(ends(&[2, 5]), (vec![0.0, 1.0], vec![2, 5]));
        assert_eq!(ends(&[2, 5, 5, 5]), (vec![0.0, 1.0], vec![2, 5]));
        assert_eq!(ends(&[0, 0, 2, 2, 5, 5]), (vec![2.0, 4.0], vec![2, 5]));
        assert_eq!(ends(&[0, 3]), (vec![1.0], vec![3]));
        assert_eq!(ends(&[0, 0]), (vec![], vec![]));
        assert_eq!(ends(&[]), (vec![], vec![]));
        // Longer than a block.
        let token_ends: Vec<u32> = (0..=200).map(|token| if token == 128 { 127 } else { token }).collect();
        let wanted = || (1..=200_u8).filter(|&token| token != 128);
        assert_eq!(ends(&token_ends), (wanted().map(f32::from).collect(), wanted().map(u32::from).collect()));
    }
}
