//! A real edit history, told to both sides in turns: the kernel writes exactly what was
//! edited on the other side, and nothing else, ever.

use std::collections::BTreeMap;

use serde_json::Value;
use syncline::model::side::{self, PerSide};
use syncline::model::work::Totals;

use crate::fields::{Views, app_view, assert_same, by_key, remote_view};
use crate::harness::Pair;
use crate::history::{Event, FIELDS, List, Revision, apply, revisions};
use crate::records::{Edit, Records, Side};

/// The position of the match key in the mapping.
const SYMBOL: usize = 0;

#[actix::test]
async fn a_real_edit_history_told_to_both_sides_in_turns() {
    let revisions = revisions();
    assert_eq!(revisions.len(), 187);
    let pair = Pair::start("companies").await;
    let mut list = List::new();
    let mut written = PerSide::<u64>::default();
    let mut edited = PerSide::<u64>::default();
    for revision in &revisions {
        let edits = edit(&pair, &mut list, revision).await;
        let stands = PerSide { app: pair.app.position().await, remote: pair.remote.position().await };
        let totals = pair.sync().await;

        let number = revision.number;
        // Counted by the sides themselves, past the kernel's own counting.
        let seen = PerSide {
            app: pair.app.written_since(&stands.app).await as u64,
            remote: pair.remote.written_since(&stands.remote).await as u64,
        };
        assert_eq!((seen.app, seen.remote), (edits.remote, edits.app), "revision {number}: {totals:?}");
        assert_eq!((writes(&totals, side::Side::App), writes(&totals, side::Side::Remote)), (seen.app, seen.remote));
        assert_both_are(&pair, &list, number).await;
        for side in side::Side::BOTH {
            edited[side] += edits[side];
            written[side] += writes(&totals, side);
        }
    }
    assert_eq!((written.app, written.remote), (edited.remote, edited.app));
    assert_eq!(list.len(), 503);
    println!("edits {edited:?}, writes {written:?}, {:?} calls", pair.calls().await);

    let stands = (pair.app.position().await, pair.remote.position().await);
    let again = pair.sync().await;
    assert_eq!(again.writes(), 0, "{again:?}");
    assert_eq!((pair.app.position().await, pair.remote.position().await), stands);
    pair.stop().await;
}

/// Makes a revision's edits, in turns on both sides; how many really changed a record on
/// each.
async fn edit(pair: &Pair, list: &mut List, revision: &Revision) -> PerSide<u64> {
    let ids = PerSide { app: ids(&pair.app.all().await), remote: ids(&pair.remote.all().await) };
    let mut edits = PerSide::<Vec<Edit>>::default();
    let mut changes = PerSide::<u64>::default();
    for (position, (symbol, event)) in revision.events.iter().enumerate() {
        let side = side::Side::BOTH[position % 2];
        let id = ids[side].get(symbol).cloned();
        edits[side].extend(match (event, id) {
            (Event::Upsert(record), None) => Some(Edit::Create(record.clone())),
            (Event::Upsert(record), Some(id)) => Some(Edit::Replace(id, record.clone())),
            (Event::Delete, Some(id)) => Some(Edit::Delete(id)),
            (Event::Delete, None) => None,
        });
        changes[side] += u64::from(apply(list, symbol, event));
    }
    pair.app.make(edits.app).await;
    pair.remote.make(edits.remote).await;
    changes
}

/// The id of each company on a side.
fn ids(records: &Records) -> BTreeMap<String, String> {
    let symbol = |id: &str, object: &crate::records::Object| {
        let symbol = object.get("symbol").and_then(Value::as_str).unwrap_or_else(|| panic!("{id} has no symbol"));
        symbol.to_owned()
    };
    records.iter().map(|(id, object)| (symbol(id, object), id.clone())).collect()
}

async fn assert_both_are(pair: &Pair, list: &List, revision: u64) {
    let wanted: Views = list.iter().map(|(symbol, record)| (symbol.clone(), app_view(&FIELDS, record))).collect();
    let app = by_key(&pair.app.all().await, |object| app_view(&FIELDS, object), SYMBOL);
    let remote = by_key(&pair.remote.all().await, |object| remote_view(&FIELDS, object), SYMBOL);
    assert_same(&format!("your app after revision {revision}"), &app, &wanted);
    assert_same(&format!("kinto after revision {revision}"), &remote, &wanted);
}

fn writes(totals: &Totals, side: side::Side) -> u64 {
    totals.created[side] + totals.updated[side] + totals.deleted[side]
}
