//! Edits on each side while the kernel runs, and how long each takes to cross.

use std::time::{Duration, Instant};

use serde::Serialize;

use super::compare::{app_records, email, remote_records};
use super::world::{ACCOUNT, OBJECT, World, key};
use crate::cli::exit::Failure;
use crate::cli::output::Output;
use crate::connectors::embedded::RecordWrite;
use crate::model::ids::RecordId;
use crate::model::record::Body;
use crate::model::side::Side;
use crate::model::value::Value;
use crate::model::write::Change;

/// How long an edit may take to cross before the demo goes on without it.
const PATIENCE: Duration = Duration::from_secs(15);

/// How often the other side is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// One edit of the demo.
struct Edit {
    what: &'static str,
    /// Where it is made; `None` for both sides at once.
    side: Option<Side>,
    act: Act,
    /// What the other side (both, for a conflict) must show.
    expect: Expect,
}

enum Act {
    Create(&'static str),
    /// Sets a field, called this on that side.
    Set(&'static str, &'static str, &'static str),
    Delete(&'static str),
    /// Sets one field on both sides: e-mail, field on each side, value on each side.
    SetBoth(&'static str, &'static str, [&'static str; 2]),
}

enum Expect {
    /// A record with this e-mail address.
    There(&'static str),
    /// A field of it, called this on the other side, with this value.
    Field(&'static str, &'static str, &'static str),
    /// The same, on both sides.
    FieldOnBoth(&'static str, [&'static str; 2], [&'static str; 2]),
    Gone(&'static str),
}

fn edits() -> Vec<Edit> {
    let app = Some(Side::App);
    let remote = Some(Side::Remote);
    vec![
        Edit {
            what: "Amélie Fournier gets a new phone",
            side: app,
            act: Act::Set("amelie.fournier@maisonlumiere.example", "phone", "+33 6 00 00 00 01"),
            expect: Expect::Field("amelie.fournier@maisonlumiere.example", "phone", "+33 6 00 00 00 01"),
        },
        Edit {
            what: "Oisín Byrne is promoted",
            side: remote,
            act: Act::Set("oisin.byrne@kestrellabs.example", "job_title", "Head of Research"),
            expect: Expect::Field("oisin.byrne@kestrellabs.example", "title", "Head of Research"),
        },
        Edit {
            what: "Ada Nilsen becomes a contact",
            side: app,
            act: Act::Create(
                r#"{"email":"Ada.Nilsen@fjordline.example","name":"Ada Nilsen","tier":"pro","notes":"Met at the fair","tags":["lead"]}"#,
            ),
            expect: Expect::There("ada.nilsen@fjordline.example"),
        },
        Edit {
            what: "Pál Szabó becomes a contact",
            side: remote,
            act: Act::Create(
                r#"{"email":"pal.szabo@dunapress.example","full_name":"Pál Szabó","plan":"E","notes":"","tags":["vip"]}"#,
            ),
            expect: Expect::There("pal.szabo@dunapress.example"),
        },
        Edit {
            what: "Rosa Delgado upgrades to pro",
            side: app,
            act: Act::Set("rosa.delgado@solar7.example", "tier", "pro"),
            expect: Expect::Field("rosa.delgado@solar7.example", "plan", "P"),
        },
        Edit {
            what: "Uma Jensen's plan, which the app owns, is edited and put back",
            side: remote,
            act: Act::Set("uma.jensen@blabaer.example", "plan", "E"),
            expect: Expect::FieldOnBoth("uma.jensen@blabaer.example", ["tier", "plan"], ["free", "F"]),
        },
        Edit {
            what: "Zoë Papadaki is deleted",
            side: app,
            act: Act::Delete("zoe.papadaki@aegeansail.example"),
            expect: Expect::Gone("zoe.papadaki@aegeansail.example"),
        },
        Edit {
            what: "Walter Eriksen is deleted",
            side: remote,
            act: Act::Delete("walter.eriksen@polarfisk.example"),
            expect: Expect::Gone("walter.eriksen@polarfisk.example"),
        },
        Edit {
            what: "Grace Mbeki's city is edited on both sides at once; the app wins",
            side: None,
            act: Act::SetBoth("grace.mbeki@kapeinsight.example", "city", ["Stellenbosch", "Durban"]),
            expect: Expect::FieldOnBoth(
                "grace.mbeki@kapeinsight.example",
                ["city", "city"],
                ["Stellenbosch", "Stellenbosch"],
            ),
        },
    ]
}

/// How one edit went, for people and programs.
#[derive(Debug, Serialize)]
struct Crossing {
    edit: &'static str,
    from: &'static str,
    to: &'static str,
    crossed: bool,
    latency_ms: u64,
}

/// Makes all edits, one after the other. Whether each one crossed.
pub(super) async fn run(world: &World, out: &Output) -> Result<bool, Failure> {
    let mut all_crossed = true;
    for edit in edits() {
        let (crossed, took) = timed(async {
            make(world, &edit).await?;
            wait_for(world, &edit).await
        })
        .await;
        let crossed = crossed?;
        all_crossed &= crossed;
        tell(&edit, crossed, took, out);
    }
    Ok(all_crossed)
}

fn tell(edit: &Edit, crossed: bool, took: Duration, out: &Output) {
    let (from, to) = match edit.side {
        Some(Side::App) => ("app", "remote"),
        Some(Side::Remote) => ("remote", "app"),
        None => ("both", "both"),
    };
    let latency_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
    let arrow = match edit.side {
        Some(Side::App) => "app → remote",
        Some(Side::Remote) => "remote → app",
        None => "app ⇄ remote",
    };
    let end = if crossed {
        out.green(&format!("{latency_ms:>5} ms"))
    } else {
        out.red(&format!("not seen within {} s", PATIENCE.as_secs()))
    };
    out.say(format!("  {arrow}  {end}  {}", edit.what));
    out.value(
        &serde_json::json!({ "step": "edit", "edit": Crossing { edit: edit.what, from, to, crossed, latency_ms } }),
    );
}

async fn make(world: &World, edit: &Edit) -> Result<(), Failure> {
    match (&edit.act, edit.side) {
        (Act::Create(json), Some(Side::App)) => {
            let id = RecordId::from("c-demo");
            world.write_app(RecordWrite::Create { id, record: Body::from_json(*json) }).await
        }
        (Act::Create(json), _) => {
            let record = Value::from_json(json).map_err(|error| Failure::usage(error.to_string()))?;
            world.sandbox.create(ACCOUNT, OBJECT, &record)?;
            Ok(())
        }
        (Act::Set(email, field, value), Some(Side::App)) => set_in_app(world, email, field, value).await,
        (Act::Set(email, field, value), _) => set_in_sandbox(world, email, field, value),
        (Act::SetBoth(email, field, [app, remote]), _) => {
            set_in_sandbox(world, email, field, remote)?;
            set_in_app(world, email, field, app).await
        }
        (Act::Delete(email), Some(Side::App)) => {
            let id = find(app_records(world)?, email)?;
            world.write_app(RecordWrite::Delete { id, expected: None }).await
        }
        (Act::Delete(email), _) => {
            let id = find(remote_records(world)?, email)?;
            Ok(world.sandbox.delete(ACCOUNT, OBJECT, id.as_str())?)
        }
    }
}

async fn set_in_app(world: &World, email: &str, field: &str, value: &str) -> Result<(), Failure> {
    let id = find(app_records(world)?, email)?;
    let changes = vec![Change { path: key(field), value: Some(Value::string(value)) }];
    world.write_app(RecordWrite::Patch { id, expected: None, changes }).await
}

fn set_in_sandbox(world: &World, email: &str, field: &str, value: &str) -> Result<(), Failure> {
    let id = find(remote_records(world)?, email)?;
    let change = Value::Object(vec![(field.to_owned(), Value::string(value))]);
    world.sandbox.patch(ACCOUNT, OBJECT, id.as_str(), &change)?;
    Ok(())
}

fn find(records: Vec<(RecordId, Value)>, wanted: &str) -> Result<RecordId, Failure> {
    let found = records.into_iter().find(|(_, record)| email(record) == wanted);
    found.map(|(id, _)| id).ok_or_else(|| Failure::refused(format!("the demo's contact {wanted} is not there")))
}

/// Whether the other side shows the edit in time.
async fn wait_for(world: &World, edit: &Edit) -> Result<bool, Failure> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if arrived(world, edit)? {
            return Ok(true);
        }
        if Instant::now() > deadline {
            return Ok(false);
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

fn arrived(world: &World, edit: &Edit) -> Result<bool, Failure> {
    let other = match edit.side {
        Some(Side::Remote) => app_records(world)?,
        Some(Side::App) | None => remote_records(world)?,
    };
    Ok(match &edit.expect {
        Expect::There(email) => field(&other, email, "email").is_some(),
        Expect::Gone(email) => field(&other, email, "email").is_none(),
        Expect::Field(email, name, value) => field(&other, email, name).as_deref() == Some(*value),
        Expect::FieldOnBoth(email, [app_name, remote_name], [app, remote]) => {
            field(&app_records(world)?, email, app_name).as_deref() == Some(*app)
                && field(&remote_records(world)?, email, remote_name).as_deref() == Some(*remote)
        }
    })
}

fn field(records: &[(RecordId, Value)], wanted: &str, name: &str) -> Option<String> {
    let (_, record) = records.iter().find(|(_, record)| email(record) == wanted)?;
    record.get(&key(name)).and_then(Value::as_str).map(str::to_owned)
}

/// Runs something and tells how long it took.
pub(super) async fn timed<T>(work: impl Future<Output = T>) -> (T, Duration) {
    let start = Instant::now();
    let done = work.await;
    (done, start.elapsed())
}
