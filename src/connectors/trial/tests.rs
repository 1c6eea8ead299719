//! The trial against a small app of which every habit can be chosen.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use async_trait::async_trait;
use futures_util::FutureExt;

use super::*;
use crate::model::record::{Body, DeletionCause};
use crate::model::write::CreateRecovery;

/// What an app does.
#[derive(Debug, Clone)]
struct Habits {
    exclusive: bool,
    granularity: i64,
    /// Lists and searches show what was written so many seconds later.
    lag_s: i64,
    bumps_unchanged: bool,
    never_bumps: bool,
    ignores_version: bool,
    trims: bool,
    thin_list: bool,
    keeps_deleted: bool,
    replaces: bool,
}

const GOOD: Habits = Habits {
    exclusive: false,
    granularity: 1_000,
    lag_s: 0,
    bumps_unchanged: false,
    never_bumps: false,
    ignores_version: false,
    trims: false,
    thin_list: false,
    keeps_deleted: false,
    replaces: false,
};

#[derive(Debug, Clone)]
struct Row {
    id: String,
    value: Value,
    version: u64,
    modified: i64,
    is_deleted: bool,
}

struct App {
    habits: Habits,
    times: DeclaredTimes,
    can: Capabilities,
    rows: RefCell<Vec<Row>>,
    now: Rc<Cell<i64>>,
}

const START: i64 = 1_700_000_000_000_000;

fn path(text: &str) -> Path {
    text.parse().unwrap()
}

impl App {
    fn new(habits: Habits, times: DeclaredTimes) -> Self {
        let can = Capabilities {
            changes: true,
            find: vec![path("email")],
            conditional: true,
            create: CreateRecovery::ExternalId,
            ..Capabilities::default()
        };
        let app = Self { habits, times, can, rows: RefCell::default(), now: Rc::new(Cell::new(START)) };
        for n in 0..30 {
            let json = format!(r#"{{"email":"{n}@x.org","name":"N{n}","city":"C"}}"#);
            app.store(n.to_string(), Value::from_json(&json).unwrap());
            app.now.set(app.now.get() + 1_234_567);
        }
        app
    }

    fn store(&self, id: String, value: Value) -> Record {
        let mut rows = self.rows.borrow_mut();
        rows.retain(|row| row.id != id);
        let modified = self.now.get() / self.habits.granularity * self.habits.granularity;
        let row = Row { id, value, version: rows.len() as u64 + 100, modified, is_deleted: false };
        rows.push(row.clone());
        self.shown(&row, false)
    }

    fn shown(&self, row: &Row, listed: bool) -> Record {
        let mut value = row.value.clone();
        if listed && self.habits.thin_list {
            value.remove(&path("city"));
        }
        Record {
            id: row.id.as_str().into(),
            version: Some(format!("v{}", row.version).into()),
            modified: DateTime::from_timestamp_micros(row.modified),
            body: Body::from_value(&value),
        }
    }

    fn visible(&self) -> Vec<Row> {
        let until = self.now.get() - self.habits.lag_s * 1_000_000;
        let rows = self.rows.borrow();
        rows.iter()
            .filter(|row| !row.is_deleted && (self.habits.lag_s == 0 || row.modified <= until))
            .cloned()
            .collect()
    }
}

#[async_trait(?Send)]
impl Through for App {
    fn capabilities(&self) -> Result<Capabilities, ConnectorError> {
        Ok(self.can.clone())
    }

    async fn read(&self, read: Read) -> Result<Page, ConnectorError> {
        let listed = |row: &Row| Entry::Live(self.shown(row, true));
        Ok(Page::last(match read {
            Read::All { .. } => self.visible().iter().map(listed).collect(),
            Read::Changes { since, .. } => {
                let since = DateTime::parse_from_rfc3339(since.as_str().strip_prefix("t:").unwrap()).unwrap();
                // What the HTTP connector makes of it by the same declaration.
                let step = if self.times.exclusive { self.times.granularity } else { 0 };
                let from = since.timestamp_micros() - self.times.lookback - step;
                let later = |row: &Row| if self.habits.exclusive { row.modified > from } else { row.modified >= from };
                self.visible().iter().filter(|row| later(row)).map(listed).collect()
            }
            Read::ExternalId(_) => Vec::new(),
            Read::Find(fields) => {
                let fits = |row: &Row| fields.iter().all(|(path, value)| row.value.get(path) == Some(value));
                self.visible().iter().filter(|row| fits(row)).map(listed).collect()
            }
            Read::Ids(ids) => {
                let rows = self.rows.borrow();
                let one = |id: RecordId| match rows.iter().find(|row| row.id == id.as_str()) {
                    Some(row) if !row.is_deleted || self.habits.keeps_deleted => Entry::Live(self.shown(row, false)),
                    Some(_) | None => Entry::Deleted { id, version: None, cause: DeletionCause::NotFound },
                };
                ids.into_iter().map(one).collect()
            }
        }))
    }

    async fn write(&self, write: Write) -> Outcome {
        self.now.set(self.now.get() + 7_000);
        match write {
            Write::Create(create) => {
                let mut value = create.record;
                if self.habits.trims
                    && let Some(name) = value.get(&path("name")).and_then(Value::as_str)
                {
                    let name = Value::string(name.trim());
                    value.set(&path("name"), name);
                }
                value.set(&path("number"), Value::from_json("7").unwrap());
                Outcome::written(self.store("new".to_owned(), value))
            }
            Write::Update(update) => {
                let Some(mut row) = self.rows.borrow().iter().find(|row| row.id == update.id.as_str()).cloned() else {
                    return Outcome::Missing;
                };
                let is_outdated =
                    update.expected.is_some_and(|expected| expected.as_str() != format!("v{}", row.version));
                if is_outdated && !self.habits.ignores_version {
                    return Outcome::Changed;
                }
                let before = row.value.clone();
                if self.habits.replaces {
                    row.value = Value::Object(Vec::new());
                }
                for change in update.changes {
                    row.value.set(&change.path, change.value.unwrap_or(Value::Null));
                }
                let is_same = row.value == before;
                if !self.habits.never_bumps && (!is_same || self.habits.bumps_unchanged) {
                    row.version += 1;
                    row.modified = self.now.get() / self.habits.granularity * self.habits.granularity;
                }
                let mut rows = self.rows.borrow_mut();
                rows.retain(|other| other.id != row.id);
                rows.push(row.clone());
                Outcome::written(self.shown(&row, false))
            }
            Write::Delete(delete) => {
                let mut rows = self.rows.borrow_mut();
                rows.iter_mut().filter(|row| row.id == delete.id.as_str()).for_each(|row| row.is_deleted = true);
                Outcome::Deleted
            }
        }
    }
}

const TIMES: DeclaredTimes = DeclaredTimes { exclusive: false, granularity: 1_000, lookback: 5_000_000 };

async fn tried(habits: Habits, times: DeclaredTimes, write: bool) -> (Vec<Finding>, App) {
    let app = App::new(habits, times);
    let now = Rc::clone(&app.now);
    let wait = move |length: Duration| {
        now.set(now.get() + i64::try_from(length.as_micros()).unwrap());
        async {}.boxed_local()
    };
    let record = Value::from_json(r#"{"email":"new@x.org","name":" New ","city":"C"}"#).unwrap();
    let findings = try_out(&app, Some(times), write.then_some(record), "key-1", &wait).await;
    (findings, app)
}

fn wrong(findings: &[Finding]) -> Vec<String> {
    let wrong = findings.iter().filter(|finding| finding.verdict == Verdict::Wrong);
    wrong
        .map(|finding| format!("{}: {} [{}]", finding.tried, finding.said, finding.propose.as_deref().unwrap_or("")))
        .collect()
}

#[actix_web::test]
async fn an_app_that_does_as_declared_is_fine_and_left_as_it_was() {
    let (findings, app) = tried(GOOD, TIMES, true).await;
    assert_eq!(wrong(&findings), [""; 0], "{findings:#?}");
    for tried in ["list", "read", "create", "find", "changes", "update", "delete"] {
        assert!(findings.iter().any(|finding| finding.tried == tried), "{tried} is not in {findings:#?}");
    }
    assert!(findings.iter().any(|finding| finding.said == "the side adds 'number'"));
    assert_eq!(app.visible().len(), 30, "what was made is gone");
}

#[actix_web::test]
async fn nothing_is_written_without_consent() {
    let (findings, app) = tried(GOOD, TIMES, false).await;
    assert_eq!(app.rows.borrow().len(), 30);
    assert!(findings.iter().all(|finding| matches!(finding.tried, "list" | "read" | "changes")), "{findings:#?}");
}

#[actix_web::test]
async fn each_habit_that_is_not_declared_is_told_with_the_line_that_is_right() {
    let whole = |habits: Habits| Habits { replaces: true, ..habits };
    for (habits, want) in [
        (Habits { exclusive: true, ..GOOD }, "op = \">\""),
        (Habits { granularity: 1_000_000, ..GOOD }, "granularity = \"1s\""),
        (Habits { lag_s: 3, ..GOOD }, "settle = \"8s\""),
        (Habits { ignores_version: true, ..GOOD }, "# no if_match: the side does not look at it"),
        (Habits { thin_list: true, ..GOOD }, "thin = true"),
        (Habits { keeps_deleted: true, ..GOOD }, "deleted = { path = \"…\" }"),
        (whole(GOOD), "whole = true"),
    ] {
        let (findings, app) = tried(habits.clone(), TIMES, true).await;
        let proposed = findings.iter().any(|finding| finding.propose.as_deref() == Some(want));
        assert!(proposed, "{want} is not proposed for {habits:?}: {findings:#?}");
        assert!(app.rows.borrow().iter().all(|row| row.id != "new" || row.is_deleted), "it cleans up: {habits:?}");
    }
    let (findings, _) = tried(Habits { never_bumps: true, ..GOOD }, TIMES, true).await;
    assert!(wrong(&findings).iter().any(|said| said.contains("leaves the time of change as it was")), "{findings:#?}");
    let (findings, _) = tried(Habits { bumps_unchanged: true, ..GOOD }, TIMES, true).await;
    assert!(findings.iter().any(|finding| finding.said.contains("changes nothing changes its time of change")));
    let (findings, _) = tried(Habits { trims: true, ..GOOD }, TIMES, true).await;
    assert!(findings.iter().any(|finding| finding.said == r#"'name' was sent as " New " and stands there as "New""#));
    // Declared exclusive, and it is not.
    let (findings, _) = tried(GOOD, DeclaredTimes { exclusive: true, ..TIMES }, true).await;
    assert!(findings.iter().any(|finding| finding.propose.as_deref() == Some("op = \">=\"")), "{findings:#?}");
}
