//! The app's contacts, in SQLite. Knows nothing of the kernel.
//!
//! Two things here would make any app easy to sync: a version for every contact, and a
//! list of what has changed, deletions included. Both are one table, kept by triggers, so
//! that no code that writes contacts, not even a hand at a SQL prompt, can forget it.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::{Connection, OptionalExtension, Result, TransactionBehavior, params};
use serde::{Deserialize, Serialize};

// AUTOINCREMENT gives no number twice, not even that of a row that is deleted. The
// triggers delete and insert rather than replace: inside a trigger SQLite takes the
// conflict clause of the statement that fired it, so an INSERT OR IGNORE of the app's would
// lose the change. A contact's id and customer never change.
const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS contacts (
    customer TEXT NOT NULL,
    id       TEXT NOT NULL,
    email    TEXT,
    name     TEXT,
    phone    TEXT,
    PRIMARY KEY (customer, id)
);
CREATE TABLE IF NOT EXISTS changes (
    number   INTEGER PRIMARY KEY AUTOINCREMENT,
    customer TEXT NOT NULL,
    id       TEXT NOT NULL,
    at_ms    INTEGER NOT NULL DEFAULT (CAST(unixepoch('subsec') * 1000 AS INTEGER)),
    UNIQUE (customer, id)
);
CREATE INDEX IF NOT EXISTS changes_in_order ON changes (customer, number);
CREATE TRIGGER IF NOT EXISTS contact_made AFTER INSERT ON contacts BEGIN
    DELETE FROM changes WHERE customer = new.customer AND id = new.id;
    INSERT INTO changes (customer, id) VALUES (new.customer, new.id);
END;
CREATE TRIGGER IF NOT EXISTS contact_edited AFTER UPDATE ON contacts BEGIN
    DELETE FROM changes WHERE customer = new.customer AND id = new.id;
    INSERT INTO changes (customer, id) VALUES (new.customer, new.id);
END;
CREATE TRIGGER IF NOT EXISTS contact_deleted AFTER DELETE ON contacts BEGIN
    DELETE FROM changes WHERE customer = old.customer AND id = old.id;
    INSERT INTO changes (customer, id) VALUES (old.customer, old.id);
END;
";

/// Every contact that there is or was, with its last change.
const SELECT: &str = "
SELECT changes.id, number, at_ms, contacts.id IS NOT NULL, email, name, phone
FROM changes LEFT JOIN contacts ON contacts.customer = changes.customer AND contacts.id = changes.id
WHERE changes.customer = ?1";

/// What the app knows of a contact.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Contact {
    pub email: Option<String>,
    pub name: Option<String>,
    pub phone: Option<String>,
}

/// A contact as it stands, or that it was deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    pub id: String,
    /// The number of its last change; greater with each.
    pub version: i64,
    /// When that was, in milliseconds since 1970.
    pub modified_ms: i64,
    /// `None` once it is deleted.
    pub contact: Option<Contact>,
}

/// The database of all customers.
#[derive(Clone)]
pub struct Database(Arc<Mutex<Connection>>);

impl Database {
    pub fn open(path: &Path) -> Result<Self> {
        let connection = Connection::open(path)?;
        connection.execute_batch(SCHEMA)?;
        Ok(Self(Arc::new(Mutex::new(connection))))
    }

    /// One customer's contacts. Whoever holds this reaches no other's.
    pub fn contacts_of(&self, customer: &str) -> Contacts {
        Contacts { database: self.clone(), customer: customer.to_owned() }
    }
}

/// One customer's contacts.
#[derive(Clone)]
pub struct Contacts {
    database: Database,
    customer: String,
}

impl Contacts {
    /// Does something in one transaction. Blocks, so call it off the event loop.
    pub fn transact<T>(&self, work: impl FnOnce(&Table<'_>) -> Result<T>) -> Result<T> {
        // Whoever panicked holding it has left no transaction open: that was rolled back.
        let mut connection = self.database.0.lock().unwrap_or_else(PoisonError::into_inner);
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let done = work(&Table { db: &transaction, customer: &self.customer })?;
        transaction.commit()?;
        Ok(done)
    }
}

/// One customer's contacts within a transaction. All SQL about contacts is here, and all of
/// it names the customer.
pub struct Table<'t> {
    db: &'t Connection,
    customer: &'t str,
}

impl Table<'_> {
    /// A contact; one that was deleted, too.
    pub fn get(&self, id: &str) -> Result<Option<Row>> {
        let sql = format!("{SELECT} AND changes.id = ?2");
        self.db.query_row(&sql, params![self.customer, id], row).optional()
    }

    /// What has changed after the change `number`, deletions too: each contact once, in the
    /// order of its last change.
    pub fn changed_after(&self, number: i64, most: usize) -> Result<Vec<Row>> {
        let sql = format!("{SELECT} AND number > ?2 ORDER BY number LIMIT ?3");
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        let mut statement = self.db.prepare(&sql)?;
        let rows = statement.query_map(params![self.customer, number, most], row)?;
        rows.collect()
    }

    /// The number of the last change of all.
    pub fn last_change(&self) -> Result<i64> {
        self.db.query_row("SELECT coalesce(max(number), 0) FROM changes", [], |row| row.get(0))
    }

    /// The contacts by name.
    pub fn list(&self) -> Result<Vec<Row>> {
        let sql = format!("{SELECT} AND contacts.id IS NOT NULL ORDER BY name, changes.id");
        let mut statement = self.db.prepare(&sql)?;
        let rows = statement.query_map([self.customer], row)?;
        rows.collect()
    }

    /// An id that no contact has.
    pub fn new_id(&self) -> Result<String> {
        self.db.query_row("SELECT lower(hex(randomblob(8)))", [], |row| row.get(0))
    }

    /// Makes a contact, or replaces what is known of it.
    pub fn put(&self, id: &str, contact: &Contact) -> Result<()> {
        let sql = "INSERT INTO contacts (customer, id, email, name, phone) VALUES (?1, ?2, ?3, ?4, ?5)
                   ON CONFLICT DO UPDATE SET email = ?3, name = ?4, phone = ?5";
        let Contact { email, name, phone } = contact;
        self.db.execute(sql, params![self.customer, id, email, name, phone]).map(drop)
    }

    /// Deletes a contact; `false` without one.
    pub fn delete(&self, id: &str) -> Result<bool> {
        let sql = "DELETE FROM contacts WHERE customer = ?1 AND id = ?2";
        Ok(self.db.execute(sql, params![self.customer, id])? > 0)
    }
}

fn row(row: &rusqlite::Row<'_>) -> Result<Row> {
    let contact = match row.get(3)? {
        true => Some(Contact { email: row.get(4)?, name: row.get(5)?, phone: row.get(6)? }),
        false => None,
    };
    Ok(Row { id: row.get(0)?, version: row.get(1)?, modified_ms: row.get(2)?, contact })
}
