//! Values: one format byte, then the row in a compact binary form.
//!
//! The binary form names no fields, so a row type that changes its shape takes the
//! next format byte and keeps the code that reads the old one.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::error::{StoreError, clip, corrupt};
use super::tables::Table;

/// The format byte of every row type so far.
const ROW_FORMAT: u8 = 1;

/// Encodes a row.
pub(crate) fn encode<T: Serialize>(row: &T) -> Vec<u8> {
    postcard::to_extend(row, vec![ROW_FORMAT]).expect("a Vec grows, and every row type has a known shape")
}

/// Decodes a row; a row that cannot be understood is told with its table and key.
pub(crate) fn decode<T: DeserializeOwned>(table: Table, key: &[u8], bytes: &[u8]) -> Result<T, StoreError> {
    let Some((&format, rest)) = bytes.split_first() else { return Err(bad_row(table, key, "it is empty")) };
    if format != ROW_FORMAT {
        return Err(bad_row(table, key, &format!("its format byte is {format}, and {ROW_FORMAT} is known")));
    }
    match postcard::take_from_bytes(rest) {
        Ok((row, [])) => Ok(row),
        Ok((_, left)) => Err(bad_row(table, key, &format!("{} bytes are left over", left.len()))),
        Err(error) => Err(bad_row(table, key, &error.to_string())),
    }
}

/// A key or value that cannot be understood.
pub(crate) fn bad_row(table: Table, key: &[u8], reason: &str) -> StoreError {
    corrupt(format!("row {} of table {}", clip(&key.escape_ascii().to_string()), table.name()), reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_the_row_is_refused_with_its_place() {
        let good = encode(&(1_u16, "text".to_owned()));
        assert_eq!(decode::<(u16, String)>(Table::Marker, b"k", &good).unwrap(), (1, "text".to_owned()));
        let mut newer = good.clone();
        newer[0] = 9;
        let mut longer = good.clone();
        longer.push(0);
        for (bytes, words) in [
            (Vec::new(), "empty"),
            (newer, "format byte is 9"),
            (longer, "1 bytes are left over"),
            (good[..good.len() - 1].to_vec(), "row k\\x00 of table marker"),
        ] {
            let error = decode::<(u16, String)>(Table::Marker, b"k\0", &bytes).unwrap_err();
            assert!(error.to_string().contains(words), "{error}");
        }
    }
}
