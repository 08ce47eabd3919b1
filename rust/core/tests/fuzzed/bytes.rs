//! Bytes as numbers, rows and settings; what has run out reads as 0, so no input is refused.

use dasd_core::Row;

/// Reads on from where it stopped.
pub struct Bytes<'a>(pub &'a [u8]);

impl Bytes<'_> {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn byte(&mut self) -> u8 {
        let (first, rest) = self.0.split_first().unwrap_or((&0, &[]));
        self.0 = rest;
        *first
    }

    pub fn number(&mut self) -> u32 {
        u32::from_le_bytes([self.byte(), self.byte(), self.byte(), self.byte()])
    }

    /// Small numbers as a byte, so that equal ones are met; any number behind a 255.
    pub fn token(&mut self) -> u32 {
        match self.byte() {
            u8::MAX => self.number(),
            small => small.into(),
        }
    }

    /// All that is left, as rows of tokens. 254 and a second byte is a command: end the row, end it and add a
    /// null row, or repeat the end of the row.
    pub fn rows(&mut self) -> Vec<Option<Vec<u32>>> {
        let (mut rows, mut row) = (Vec::new(), Vec::new());
        while !self.is_empty() {
            match self.0[0] {
                254 => {
                    self.byte();
                    match self.byte() {
                        0..=99 => rows.push(Some(std::mem::take(&mut row))),
                        100..=119 => rows.extend([Some(std::mem::take(&mut row)), None]),
                        command => {
                            let from = row.len().saturating_sub(usize::from(command) - 119);
                            row.extend_from_within(from..);
                        }
                    }
                }
                _ => row.push(self.token()),
            }
        }
        rows.push(Some(row));
        rows
    }
}

/// Owned rows as the kernels take them.
pub fn borrowed<T>(rows: &[Option<Vec<T>>]) -> Vec<Row<'_, T>> {
    rows.iter().map(Option::as_deref).collect()
}
