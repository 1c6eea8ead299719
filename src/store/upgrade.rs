//! The format of the file, and how an older one becomes the present one.
//!
//! A file says in which format it is and which is the oldest format whose kernels can
//! still read and write it; both are fixed-width bytes, for ever. A change that older
//! kernels can live with raises the first number only.

use super::error::{StoreError, corrupt};
use super::keys::Key;
use super::tables::{Table, WriteTables};

/// The format this kernel writes.
pub(crate) const FORMAT: u32 = 1;

/// The oldest format whose kernels can work with what this kernel writes.
const OLDEST_READER: u32 = 1;

/// One step from a format to the next.
struct Step {
    from: u32,
    run: fn(&mut WriteTables<'_>) -> Result<(), StoreError>,
}

/// All steps, oldest first. None yet: format 1 is the first.
const STEPS: &[Step] = &[];

/// What a kernel knows of formats.
struct Known {
    format: u32,
    oldest_reader: u32,
    steps: &'static [Step],
}

const KNOWN: Known = Known { format: FORMAT, oldest_reader: OLDEST_READER, steps: STEPS };

fn format_key() -> Key {
    Key::from_bytes(b"format")
}

fn kernel_id_key() -> Key {
    Key::from_bytes(b"kernel_id")
}

/// Makes the tables of a new file.
pub(crate) fn create(tables: &mut WriteTables<'_>, kernel_id: &str) -> Result<(), StoreError> {
    tables.create_all()?;
    write_format(tables, &KNOWN)?;
    tables.put(Table::Meta, &kernel_id_key(), kernel_id.as_bytes())
}

/// Brings an existing file to the present format, all steps in one transaction, and
/// answers with the kernel id that it holds. `name` is the file's, for messages.
pub(crate) fn bring_up(tables: &mut WriteTables<'_>, name: &str) -> Result<String, StoreError> {
    bring_up_to(&KNOWN, tables, name)?;
    let id = tables.get(Table::Meta, &kernel_id_key())?;
    id.and_then(|bytes| String::from_utf8(bytes).ok()).ok_or_else(|| corrupt(name, "it holds no kernel id"))
}

fn bring_up_to(known: &Known, tables: &mut WriteTables<'_>, name: &str) -> Result<(), StoreError> {
    let (format, oldest_reader) = read_format(tables, name)?;
    if format > known.format {
        if oldest_reader <= known.format {
            return Ok(());
        }
        return Err(StoreError::Newer { path: name.to_owned(), format, oldest_reader, known: known.format });
    }
    for at in format..known.format {
        let step = known.steps.iter().find(|step| step.from == at);
        let step = step.ok_or_else(|| corrupt(name, format!("nothing leads on from state format {at}")))?;
        (step.run)(tables)?;
    }
    if format < known.format {
        write_format(tables, known)?;
    }
    Ok(())
}

fn read_format(tables: &mut WriteTables<'_>, name: &str) -> Result<(u32, u32), StoreError> {
    let bytes = tables.get(Table::Meta, &format_key())?;
    let parsed = bytes.as_deref().and_then(|bytes| {
        let (format, rest) = bytes.split_first_chunk::<4>()?;
        let (oldest_reader, _) = rest.split_first_chunk::<4>()?;
        Some((u32::from_be_bytes(*format), u32::from_be_bytes(*oldest_reader)))
    });
    parsed.ok_or_else(|| corrupt(name, "it does not say which state format it has"))
}

fn write_format(tables: &mut WriteTables<'_>, known: &Known) -> Result<(), StoreError> {
    let mut bytes = known.format.to_be_bytes().to_vec();
    bytes.extend_from_slice(&known.oldest_reader.to_be_bytes());
    tables.put(Table::Meta, &format_key(), &bytes)
}

#[cfg(test)]
pub(crate) fn write_format_for_test(
    tables: &mut WriteTables<'_>,
    format: u32,
    oldest_reader: u32,
) -> Result<(), StoreError> {
    write_format(tables, &Known { format, oldest_reader, steps: &[] })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Store, StoreOptions};

    const LATER: Known = Known {
        format: 3,
        oldest_reader: 2,
        steps: &[
            Step { from: 1, run: |tables| tables.put(Table::Meta, &Key::from_bytes(b"one"), b"to two") },
            Step {
                from: 2,
                run: |tables| {
                    assert!(tables.get(Table::Meta, &Key::from_bytes(b"one"))?.is_some(), "steps run in order");
                    tables.put(Table::Meta, &Key::from_bytes(b"two"), b"to three")
                },
            },
        ],
    };

    #[test]
    fn the_steps_lead_from_each_older_format_to_the_present_one() {
        let store = Store::in_memory(StoreOptions::inline()).unwrap();
        store.inner.engine.write(|tables| bring_up_to(&LATER, tables, "f")).unwrap();
        store
            .inner
            .engine
            .write(|tables| {
                assert_eq!(read_format(tables, "f")?, (3, 2));
                assert!(tables.get(Table::Meta, &Key::from_bytes(b"two"))?.is_some());
                // Once there, nothing runs again.
                tables.remove(Table::Meta, &Key::from_bytes(b"one"))?;
                bring_up_to(&LATER, tables, "f")
            })
            .unwrap();
        let from: Vec<u32> = STEPS.iter().map(|step| step.from).collect();
        assert_eq!(from, (1..FORMAT).collect::<Vec<u32>>(), "one step leads on from each older format");
    }

    #[test]
    fn a_newer_file_is_taken_only_where_it_says_so() {
        let store = Store::in_memory(StoreOptions::inline()).unwrap();
        for (format, oldest_reader, taken) in [(1, 1, true), (2, 1, true), (2, 2, false), (9, 5, false)] {
            let result = store.inner.engine.write(|tables| {
                write_format(tables, &Known { format, oldest_reader, steps: &[] })?;
                bring_up_to(&KNOWN, tables, "state.redb")
            });
            match result {
                Ok(()) => assert!(taken, "format {format} was taken"),
                Err(error) => {
                    assert!(!taken, "{error}");
                    let text = error.to_string();
                    assert!(text.contains(&format!("state format {format}")), "{text}");
                    assert!(text.contains("formats up to 1"), "{text}");
                }
            }
        }
    }

    #[test]
    fn an_older_file_without_a_step_is_refused_and_left_alone() {
        let store = Store::in_memory(StoreOptions::inline()).unwrap();
        let gap = Known { format: 5, oldest_reader: 5, steps: LATER.steps };
        let error = store.inner.engine.write(|tables| bring_up_to(&gap, tables, "f")).unwrap_err();
        assert!(error.to_string().contains("leads on from state format 3"), "{error}");
        store
            .inner
            .engine
            .write(|tables| {
                assert_eq!(read_format(tables, "f")?, (1, 1));
                assert_eq!(tables.get(Table::Meta, &Key::from_bytes(b"one"))?, None);
                Ok(())
            })
            .unwrap();
    }
}
