//! Where sentences end, by rules made for reasoning text. docs/sentences.md states them for users.

mod abbreviation;
mod fence;
mod scan;
mod span;
mod split;
mod stop;

use crate::error::Error;
use crate::rows::{Lists, Stop, map_blocks};

/// Byte offsets where the sentences of each text end; the last is the text's length.
///
/// Offsets are strictly increasing and fall on character boundaries; an empty text has none, a
/// null text gives a null row. White space after a sentence belongs to it. Linear in the text.
pub fn sentence_ends(texts: &[Option<&str>], stop: &Stop) -> Result<Lists<u32>, Error> {
    let blocks = map_blocks(texts.len(), stop, |rows| {
        let mut lists = Lists::default();
        for row in rows {
            let Some(text) = texts[row] else {
                lists.null_row();
                continue;
            };
            if u32::try_from(text.len()).is_err() {
                let problem = format!("wanted a text of less than 4 GiB, got {} bytes", text.len());
                return Err(Error::row(row, problem));
            }
            split::split(text, &mut lists.values);
            lists.end_row();
        }
        Ok(lists)
    })?;
    Ok(Lists::join(blocks))
}

#[cfg(test)]
mod tests;
