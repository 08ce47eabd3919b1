//! Finding bytes, many at a time.

/// Bytes that are looked at together.
pub(super) const WIDTH: usize = 16;

/// Where the first `mark` is.
pub(super) fn position(bytes: &[u8], mark: u8) -> Option<usize> {
    let skipped = without(bytes, |byte| byte == mark);
    bytes[skipped..].iter().position(|&byte| byte == mark).map(|position| skipped + position)
}

/// Length of the front of `bytes` that surely has no byte that `is_hit`, some bytes short of the first one.
pub(super) fn without(bytes: &[u8], is_hit: impl Fn(u8) -> bool) -> usize {
    // All of a chunk, without a way out in between: that becomes a few vector comparisons.
    let is_free = |chunk: &&[u8]| !chunk.iter().fold(false, |any, &byte| any | is_hit(byte));
    WIDTH * bytes.chunks_exact(WIDTH).take_while(is_free).count()
}
