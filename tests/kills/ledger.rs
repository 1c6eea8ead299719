//! What was edited, so that each value can be traced in the end.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::sides::{Fields, Sent, Side};

/// One value written from outside. No value is written twice.
#[derive(Debug, Clone)]
pub struct Edit {
    pub order: u64,
    pub email: String,
    pub field: String,
    pub value: String,
    /// It was answered; one that was not may have been done or not.
    pub sure: bool,
}

/// All edits. A record is followed by its e-mail address, which is never used again.
#[derive(Debug, Default)]
pub struct Ledger {
    pub edits: Vec<Edit>,
    /// When each record was last deleted, perhaps.
    pub deleted: BTreeMap<String, u64>,
    order: u64,
    num_records: u64,
}

impl Ledger {
    pub fn new_email(&mut self) -> String {
        self.num_records += 1;
        format!("u{}@example.com", self.num_records)
    }

    /// A value of its own for each of these fields.
    pub fn values(&mut self, side: Side, fields: &[&str]) -> Fields {
        let mut value = |field: &str| {
            self.order += 1;
            (field.to_owned(), Value::from(format!("v{}-{side}", self.order)))
        };
        fields.iter().map(|field| value(field)).collect()
    }

    /// These values may be about to stand there.
    pub fn sending(&mut self, email: &str, fields: &Fields) {
        for (field, value) in fields.iter().filter(|(field, _)| *field != "email") {
            self.order += 1;
            let value = value.as_str().expect("edits are texts").to_owned();
            self.edits.push(Edit {
                order: self.order,
                email: email.to_owned(),
                field: field.clone(),
                value,
                sure: false,
            });
        }
    }

    /// What came of the last `num` edits.
    pub fn sent(&mut self, num: usize, sent: Sent) {
        let first = self.edits.len() - num;
        match sent {
            Sent::Done => self.edits[first..].iter_mut().for_each(|edit| edit.sure = true),
            Sent::Missing => self.edits.truncate(first),
            Sent::Unknown => {}
        }
    }

    pub fn deleting(&mut self, email: &str) {
        self.order += 1;
        self.deleted.insert(email.to_owned(), self.order);
    }
}
