//! The end of a world: nothing goes wrong any more, everything comes to rest, and the
//! oracles look at what is left.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::edge::Account;
use super::ledger::Edit;
use super::oracle::{Oracle, Verdict, Violation, holds};
use super::state::State;
use super::swarm::{Rules, Swarm, TEXTS};
use super::world::{Seen, World, conn_no, connection};
use crate::connectors::memory::Cursors;
use crate::model::cursor::StreamNo;
use crate::model::direction::Direction;
use crate::model::ids::{PairNo, RecordId};
use crate::model::marker::LinkState;
use crate::model::record::Body;
use crate::model::side::{PerSide, Side};
use crate::model::value::Value;

/// How many times everything is read before a world must have come to rest, and how
/// long apart, in milliseconds: enough for ten tries with their backoff, for a late
/// commit and a slow index, and for clocks that were set back.
const ROUNDS: usize = 40;
const ROUND_MS: u64 = 100_000;

/// How many more times a settled world is read.
const ROUNDS_AT_REST: usize = 10;

/// The longest one run may take without faults, in simulated time.
const LONGEST_RUN: Duration = Duration::from_secs(7_200);

/// Brings a world to rest and judges it.
pub(super) async fn settle(world: &mut World) -> Verdict {
    world.look_for_the_gone();
    world.calm();
    world.restart().await?;
    for account in 0..world.accounts.len() {
        let _ = world.kernel.resume(&connection(account)).await;
    }
    rest_on_hints(world).await?;
    touch_sources(world);
    come_to_rest(world).await?;
    judge(world)?;
    stay_at_rest(world).await?;
    restart_at_rest(world).await?;
    change_the_mapping(world).await?;
    world.edge.verdict()
}

/// What was told comes through by itself, before anybody asks for a run.
async fn rest_on_hints(world: &mut World) -> Verdict {
    let Some(tellers) = world.tellers.clone() else { return Ok(()) };
    let alone = world.swarm.triggers.as_ref().is_some_and(|triggers| triggers.alone);
    let mut is_through = false;
    for _ in 0..ROUNDS {
        world.sleep(ROUND_MS).await;
        world.edge.verdict()?;
        let is_taken_out = world.inboxes().iter().all(|(_, waiting)| *waiting == 0);
        let is_served = is_taken_out && world.edge.owed().is_empty();
        // Under a tight schedule something is always under way.
        is_through = tellers.are_done() && is_served && (!alone || world.is_idle().await);
        if is_through {
            break;
        }
    }
    accepted_was_read(world)?;
    holds(Oracle::Liveness, tellers.are_done(), || "what is told is not heard to its end".to_owned())?;
    if alone {
        let status = world.kernel.status().await;
        holds(Oracle::HintsAreEnough, is_through, || format!("what was told does not come through: {status:#?}"))?;
        for account in &world.accounts {
            what_was_told_stands(world, account)?;
        }
    }
    Ok(())
}

/// Whoever was told that something is accepted had it read, and nothing is left of it.
fn accepted_was_read(world: &World) -> Verdict {
    for (account, waiting) in world.inboxes() {
        holds(Oracle::AcceptedIsDurable, waiting == 0, || {
            format!("account {account}: {waiting} hints are left in its inbox")
        })?;
    }
    let owed = world.edge.owed();
    holds(Oracle::AcceptedIsDurable, owed.is_empty(), || format!("accepted and never read after that: {owed:?}"))
}

/// Records all of whose changes were told are the same on both sides, or gone from both.
fn what_was_told_stands(world: &World, account: &Account) -> Verdict {
    let Some(tellers) = &world.tellers else { return Ok(()) };
    let state = state_of(world, account)?;
    let held = PerSide::from_fn(|side| {
        let ids = state.held_back.keys().filter(|(of, _)| *of == side);
        ids.map(|(_, id)| RecordId::from(id.as_str())).collect()
    });
    // What was tried too often while nothing worked waits for another change.
    let held = tellers.emails_of(account.no, &held);
    let told: BTreeSet<String> =
        tellers.told_whole(account.no).into_iter().filter(|name| !held.contains(name)).collect();
    let sides = PerSide::from_fn(|side| {
        let mut all = world.by_email(account.no, side);
        all.retain(|email, _| told.contains(email));
        all
    });
    both_sides_agree(world, account, &sides).map_err(|violation| Violation::new(Oracle::HintsAreEnough, violation.seen))
}

/// In a one-way sync an edit on the target stands until its source changes; so each
/// source changes.
fn touch_sources(world: &mut World) {
    let source = match world.swarm.direction {
        Direction::TwoWay => return,
        Direction::Out => Side::App,
        Direction::In => Side::Remote,
    };
    for account in 0..world.accounts.len() {
        world.touch_all(account, source);
    }
}

async fn come_to_rest(world: &mut World) -> Verdict {
    let mut quiet = 0;
    for round in 0..ROUNDS {
        sync_all(world, round == 2).await?;
        world.sleep(ROUND_MS).await;
        world.look_at_cursors()?;
        world.edge.verdict()?;
        quiet = if world.is_caught_up().await { quiet + 1 } else { 0 };
        if quiet >= 3 && round > 5 {
            return Ok(());
        }
    }
    let status = world.kernel.status().await;
    Err(Violation::new(Oracle::Liveness, format!("it does not come to rest: {status:#?}")))
}

async fn sync_all(world: &World, full: bool) -> Verdict {
    for account in 0..world.accounts.len() {
        let id = connection(account);
        loop {
            let run = async {
                if full { world.kernel.resync(&id, None).await } else { world.kernel.sync_now(&id, None).await }
            };
            match tokio::time::timeout(LONGEST_RUN, run).await {
                Err(_) => {
                    let status = world.kernel.status().await;
                    return Err(Violation::new(Oracle::Liveness, format!("a run does not end: {status:#?}")));
                }
                Ok(Ok(_)) => break,
                // It is being started again after a backoff.
                Ok(Err(_)) => world.sleep(1_000).await,
            }
        }
    }
    Ok(())
}

fn judge(world: &World) -> Verdict {
    holds(Oracle::MarksAreServed, world.edge.unserved().is_empty(), || {
        format!("marked and never read: {:?}", world.edge.unserved())
    })?;
    accepted_was_read(world)?;
    for account in &world.accounts {
        let sides = PerSide::from_fn(|side| world.by_email(account.no, side));
        nothing_stands_twice(account, &sides)?;
        nothing_is_held_back(world, account)?;
        the_gone_stay_gone(world, account, &sides)?;
        both_sides_agree(world, account, &sides)?;
        every_edit_is_accounted_for(world, account, &sides)?;
        unmapped_fields_stand(world, account)?;
        bases_are_true(world, account)?;
        limits_were_kept(world, account)?;
        for side in Side::BOTH {
            let blind = account.apps[side].blind_overwrites();
            // A one-way sync deletes on its target whatever somebody wrote there.
            let may = account.direction != Direction::TwoWay;
            holds(Oracle::NoBlindOverwrite, may || blind == 0, || {
                format!("{side} was overwritten unseen {blind} times")
            })?;
        }
    }
    Ok(())
}

fn nothing_is_held_back(world: &World, account: &Account) -> Verdict {
    let held = state_of(world, account)?.held_back;
    holds(Oracle::Liveness, held.is_empty(), || format!("nothing here deserves to be held back: {held:?}"))
}

fn state_of(world: &World, account: &Account) -> Result<State, Violation> {
    let broken = |seen: String| Violation::new(Oracle::AtomicState, seen);
    let state = State::load(&world.store, &world.swarm, account).map_err(|error| broken(error.to_string()))?;
    state.ok_or_else(|| broken(format!("account {} is not known", account.no)))
}

type BothSides = PerSide<BTreeMap<String, Vec<Seen>>>;

fn nothing_stands_twice(account: &Account, sides: &BothSides) -> Verdict {
    for side in Side::BOTH {
        for (email, records) in &sides[side] {
            holds(Oracle::NoDuplicateCreate, records.len() == 1, || format!("{side} has {email} twice: {records:?}"))?;
        }
        let twice = account.apps[side].duplicates();
        holds(Oracle::NoDuplicateCreate, twice.is_empty(), || format!("{side} has two records of {twice:?}"))?;
    }
    Ok(())
}

fn the_gone_stay_gone(world: &World, account: &Account, sides: &BothSides) -> Verdict {
    for email in &world.ledgers[account.no].gone {
        for side in Side::BOTH {
            let back = sides[side].get(email);
            holds(Oracle::NoResurrection, back.is_none(), || {
                format!("{email} was gone and is back on {side}: {back:?}")
            })?;
        }
    }
    Ok(())
}

fn both_sides_agree(world: &World, account: &Account, sides: &BothSides) -> Verdict {
    let must_be = match account.direction {
        Direction::TwoWay => vec![Side::App, Side::Remote],
        Direction::Out => vec![Side::App],
        Direction::In => vec![Side::Remote],
    };
    for source in must_be {
        for (email, records) in &sides[source] {
            let Some(partner) = sides[source.other()].get(email).and_then(|all| all.first()) else {
                let seen = format!("{email} is only on {source}: {records:?}");
                return Err(Violation::new(Oracle::Convergence, seen));
            };
            // What nobody touched at the source in the end is left as it is on a target.
            let others = if account.direction == Direction::TwoWay { vec!["grade"] } else { Vec::new() };
            for field in TEXTS.into_iter().chain(others) {
                let (one, other) = (alike(&world.swarm, field, &records[0].1), alike(&world.swarm, field, &partner.1));
                holds(Oracle::Convergence, one == other, || {
                    format!("{field} of {email} is {one:?} on {source} and {other:?} on the other side")
                })?;
            }
        }
    }
    Ok(())
}

/// A field in a form in which both sides can be compared, whatever they do to what they
/// store.
fn alike(swarm: &Swarm, field: &str, fields: &BTreeMap<String, Value>) -> Option<String> {
    let value = fields.get(field)?;
    match value {
        // For what is left to its owner, nothing and null are the same.
        Value::Null if drops_nulls(swarm) || swarm.rules.owner(field).is_some() => None,
        Value::Null => Some("null".to_owned()),
        Value::String(text) if field == "grade" => Some(text.replace("one", "1").replace("two", "2")),
        Value::String(text) => Some(alike_text(swarm, text)),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => Some(value.to_json()),
    }
}

fn alike_text(swarm: &Swarm, text: &str) -> String {
    let normalise = |side: Side| &swarm.sides[side].behaviour.normalise;
    let text = if Side::BOTH.into_iter().any(|side| normalise(side).trim) { text.trim() } else { text };
    if Side::BOTH.into_iter().any(|side| !normalise(side).lowercase.is_empty()) {
        text.to_lowercase()
    } else {
        text.to_owned()
    }
}

fn drops_nulls(swarm: &Swarm) -> bool {
    Side::BOTH.into_iter().any(|side| {
        // Taking a field away is said with a null to most APIs, and some store just that.
        swarm.sides[side].api.is_some() || swarm.sides[side].behaviour.normalise.drop_nulls
    })
}

fn every_edit_is_accounted_for(world: &World, account: &Account, sides: &BothSides) -> Verdict {
    if account.direction != Direction::TwoWay {
        // Edits on a target are left to whoever made them.
        return Ok(());
    }
    let ledger = &world.ledgers[account.no];
    let lost = losers(world, account);
    for edit in &ledger.edits {
        let Edit { order: _, email, field, value } = edit;
        let Some(value) = value else { continue };
        let wanted = alike_text(&world.swarm, value);
        let stands = Side::BOTH.into_iter().any(|side| {
            let record = sides[side].get(email).and_then(|all| all.first());
            record.is_some_and(|(_, fields)| alike(&world.swarm, field, fields).as_ref() == Some(&wanted))
        });
        holds(Oracle::NoLostChange, stands || ledger.overtaken(edit) || lost.contains(&wanted), || {
            format!("{edit:?} is gone without a trace")
        })?;
    }
    Ok(())
}

/// Every value that is recorded as the loser of a conflict.
fn losers(world: &World, account: &Account) -> BTreeSet<String> {
    let mut lost = BTreeSet::new();
    let Ok(snapshot) = world.store.snapshot() else { return lost };
    let (Some(conn), Ok(Some(sync))) =
        (conn_no(&world.store, account.no), snapshot.find_sync(&super::edge::SYNC.into()))
    else {
        return lost;
    };
    // Only what a record leads to can be found by a person.
    let pairs = snapshot.markers(conn, sync, PairNo(0), usize::MAX).unwrap_or_default();
    for (pair, _) in pairs {
        for (_, conflict) in snapshot.history(conn, sync, pair).unwrap_or_default() {
            let text = conflict.lost.and_then(|lost| Value::from_json(&lost).ok());
            if let Some(text) = text.as_ref().and_then(Value::as_str) {
                lost.insert(alike_text(&world.swarm, text));
            }
        }
    }
    lost
}

fn unmapped_fields_stand(world: &World, account: &Account) -> Verdict {
    for ((side, id), wanted) in &world.ledgers[account.no].unmapped {
        let there = world.records(account.no, *side).into_iter().find(|(other, _)| other == id);
        // A record that was deleted for its partner's sake takes them with it.
        let Some((_, fields)) = there else { continue };
        // Also where it was made again under its old id.
        let lives = account.apps[*side].history(account.objects[*side].clone(), id.clone());
        if lives.iter().any(|state| state.value.is_none()) {
            continue;
        }
        let found = fields.get("unmapped").and_then(Value::as_str);
        holds(Oracle::Convergence, found == Some(wanted), || {
            format!("{side} {id}: what is not mapped was {wanted:?} and is {found:?}")
        })?;
    }
    Ok(())
}

/// Each side's base is what that side stores.
fn bases_are_true(world: &World, account: &Account) -> Verdict {
    if account.direction != Direction::TwoWay {
        return Ok(());
    }
    let state = state_of(world, account)?;
    for side in Side::BOTH {
        let all = account.apps[side].all(account.objects[side].clone());
        for (id, value) in &all {
            let filed = state.by_id.get(&(side, id.clone()));
            let Some(marker) = filed.map(|pair| &state.markers[pair]) else {
                return Err(Violation::new(Oracle::MarkerTruth, format!("{side} {id} has no marker")));
            };
            holds(Oracle::MarkerTruth, marker.state == LinkState::Linked, || {
                format!("{side} {id} stands and its marker says {:?}", marker.state)
            })?;
            let wrong = state.base_holds(side, marker, &Body::from_value(value));
            holds(Oracle::MarkerTruth, wrong.is_none(), || format!("{side} {id}: {}", wrong.unwrap_or_default()))?;
        }
    }
    Ok(())
}

/// Calls came no faster than each window allows. Requests that take their time on the
/// way may come closer together than they left.
fn limits_were_kept(world: &World, account: &Account) -> Verdict {
    for side in Side::BOTH {
        let (_, slowest_ms) = world.swarm.sides[side].behaviour.latency_ms;
        for window in &world.swarm.sides[side].limits.windows {
            let span_ms = window.per_ms.saturating_sub(slowest_ms);
            let most = account.apps[side].busiest(span_ms) as u64;
            let allowed = u64::from(window.requests);
            holds(Oracle::RateLimit, most <= allowed, || {
                format!("{side}: {most} calls within {span_ms} ms, {allowed} are allowed")
            })?;
        }
        let impatient = account.apps[side].impatient_calls();
        // Over HTTP the answer that asks for a pause is lost with the actor that awaits it.
        let heard = !(world.panics && world.swarm.sides[side].api.is_some());
        holds(Oracle::RateLimit, impatient == 0 || !heard, || {
            format!("{side}: {impatient} calls within a pause it asked for")
        })?;
    }
    Ok(())
}

fn writes(world: &World) -> usize {
    world.accounts.iter().map(|account| account.apps.remote.writes()).sum::<usize>()
        + world.accounts.first().map_or(0, |account| account.apps.app.writes())
}

fn forget_what_was_done(world: &World) {
    for account in &world.accounts {
        for side in Side::BOTH {
            account.apps[side].clear_log();
        }
    }
}

async fn stay_at_rest(world: &mut World) -> Verdict {
    forget_what_was_done(world);
    if let Some(tellers) = &world.tellers {
        tellers.replay();
    }
    for _ in 0..ROUNDS_AT_REST {
        sync_all(world, false).await?;
        world.sleep(1_000).await;
    }
    world.tellers.iter().for_each(|tellers| tellers.fall_silent());
    let writes = writes(world);
    holds(Oracle::NoEchoLoop, writes == 0, || format!("a settled world was written {writes} times"))
}

async fn restart_at_rest(world: &mut World) -> Verdict {
    let before = cursors(world);
    forget_what_was_done(world);
    world.restart().await?;
    world.look_at_epochs()?;
    sync_all(world, false).await?;
    let writes = writes(world);
    holds(Oracle::IdempotentRestart, writes == 0, || format!("a restart wrote {writes} times"))?;
    let after = cursors(world);
    holds(Oracle::IdempotentRestart, before == after, || format!("a restart moved cursors: {before:?} to {after:?}"))
}

fn cursors(world: &World) -> Vec<Option<String>> {
    let Ok(snapshot) = world.store.snapshot() else { return Vec::new() };
    let Ok(Some(sync)) = snapshot.find_sync(&super::edge::SYNC.into()) else { return Vec::new() };
    // A cursor that is a time moves with the clock.
    let exact = |side: &Side| world.swarm.sides[*side].behaviour.cursors == Cursors::Sequence;
    let conns = world.accounts.iter().filter_map(|account| conn_no(&world.store, account.no));
    let at = |conn, side| snapshot.cursor(conn, sync, side, StreamNo::CHANGES).ok().flatten();
    conns
        .flat_map(|conn| Side::BOTH.into_iter().filter(exact).map(move |side| (conn, side)))
        .map(|(conn, side)| at(conn, side))
        .map(|cursor| cursor.map(|cursor| cursor.as_str().to_owned()))
        .collect()
}

async fn change_the_mapping(world: &mut World) -> Verdict {
    // Both sides hold something else in the field that is new, and neither is an edit.
    world.put_extras();
    sync_all(world, false).await?;
    forget_what_was_done(world);
    world.grown = true;
    world.restart().await?;
    for full in [false, true, false] {
        sync_all(world, full).await?;
    }
    let writes = writes(world);
    holds(Oracle::MappingChange, writes == 0, || format!("another mapping wrote {writes} times by itself"))
}

impl World {
    /// Changes every text field of every record of a side.
    fn touch_all(&mut self, account: usize, side: Side) {
        let all: Vec<RecordId> = self.records(account, side).into_iter().map(|(id, _)| id).collect();
        for id in all {
            for field in TEXTS {
                self.set_text(account, side, &id, field);
            }
        }
    }

    /// Gives each record something of its own in the field that only the grown rules map.
    fn put_extras(&mut self) {
        if self.swarm.rules == Rules::Unpaired {
            return;
        }
        for account in 0..self.accounts.len() {
            for side in Side::BOTH {
                let all: Vec<RecordId> = self.records(account, side).into_iter().map(|(id, _)| id).collect();
                for id in all {
                    self.set_text(account, side, &id, "extra");
                }
            }
        }
    }
}
