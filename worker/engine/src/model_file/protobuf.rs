//! Reads protobuf's wire format, field by field.

use crate::{EngineFault, fault::one_line};

pub(super) enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
    /// Four or eight bytes, never needed here.
    Fixed,
}

/// One message, read from front to back.
pub(super) struct Reader<'a> {
    rest: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    /// Reads a message that starts at byte `at` of the file.
    pub(super) const fn new(message: &'a [u8], at: usize) -> Self {
        Self { rest: message, at }
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next field's number, the start of its value, and the value.
    pub(super) fn field(&mut self) -> Result<Option<(u64, usize, Value<'a>)>, EngineFault> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let key = self.varint()?;
        // Protobuf drops the bits above the 32nd. So must we, or a field could hide behind them.
        let field = (key & u64::from(u32::MAX)) >> 3;
        let mut at = self.at;
        let value = match key & 7 {
            0 => Value::Number(self.varint()?),
            1 => self.take(8).map(|_| Value::Fixed)?,
            2 => {
                let len = self.varint()?;
                at = self.at;
                Value::Bytes(self.take(usize::try_from(len).unwrap_or(usize::MAX))?)
            }
            5 => self.take(4).map(|_| Value::Fixed)?,
            _ => {
                return Err(EngineFault::NotOnnx { what: "a field of an unknown kind", at });
            }
        };
        Ok(Some((field, at, value)))
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], EngineFault> {
        let cut = EngineFault::NotOnnx { what: "a field longer than the rest of the file", at: self.at };
        let (taken, rest) = self.rest.split_at_checked(len).ok_or(cut)?;
        self.rest = rest;
        self.at += len;
        Ok(taken)
    }

    pub(super) fn varint(&mut self) -> Result<u64, EngineFault> {
        let start = self.at;
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let &[byte] = self.take(1)? else { break };
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(EngineFault::NotOnnx { what: "a number without an end", at: start })
    }
}

/// The text in a field. In protobuf, the last of repeated fields counts.
pub(super) fn last_text(bytes: &[u8], at: usize, wanted: u64) -> Result<String, EngineFault> {
    let mut text = String::new();
    let mut reader = Reader::new(bytes, at);
    while let Some((field, _, value)) = reader.field()? {
        if let Value::Bytes(bytes) = value
            && field == wanted
        {
            text = one_line(&String::from_utf8_lossy(bytes));
        }
    }
    Ok(text)
}
