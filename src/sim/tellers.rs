//! Those who tell the kernel of changes: the connected app with webhooks, your backend
//! with events. They forget, repeat themselves, come late and in any order, speak of what
//! does not exist, and try again or do not.
//!
//! They are outside of the process: they outlive it, and hear nothing from one that died.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fastrand::Rng;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::edge::{Account, Edge};
use super::swarm::Rules;
use super::telling::{Signed, Telling, TriggerSwarm};
use super::world::{FIRST_MOMENT_MS, OBJECT, connection, email_of, flat, scope};
use crate::actors::spec::Webhook;
use crate::connectors::webhook::payload::{ObjectPlace, WebhookSpec};
use crate::connectors::webhook::signature::Scheme;
use crate::kernel::Kernel;
use crate::model::direction::Direction;
use crate::model::ids::RecordId;
use crate::model::path::Path;
use crate::model::side::{PerSide, Side};
use crate::model::value::Value;
use crate::store::faulty::Life;
use crate::triggers::event::{Accepted, Event, Fire, Whose};
use crate::triggers::webhook::{Answer, Deliver};

/// What webhooks are signed with.
const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";

/// How long an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(30);

/// How many messages are remembered to be told once more.
const REMEMBERED: usize = 50;

/// Something that is told.
#[derive(Debug, Clone)]
struct Message {
    /// The same for each attempt at it.
    no: u64,
    account: usize,
    side: Side,
    /// None for a whole object.
    ids: Vec<RecordId>,
    /// For a webhook.
    body: Arc<[u8]>,
}

/// What the kernel made of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Heard {
    Taken,
    /// It may be tried again.
    NotNow,
    /// It is pointless.
    Refused,
}

/// All who tell.
#[derive(Debug)]
pub(super) struct Tellers {
    swarm: TriggerSwarm,
    accounts: Vec<Account>,
    edge: Arc<Edge>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    rng: Rng,
    /// Whom to tell.
    process: Option<(Kernel, Arc<Life>)>,
    /// How much of each side's history was looked at.
    seen: BTreeMap<(usize, Side), usize>,
    emails: BTreeMap<(usize, Side, RecordId), String>,
    /// Records that somebody changed and nobody has told of since, with the moment.
    untold: BTreeMap<(usize, Side, RecordId), u64>,
    /// When a message was first sent.
    first_sent: BTreeMap<u64, u64>,
    old: Vec<Message>,
    messages: u64,
    under_way: usize,
    /// The process dies so many operations after it next takes something.
    kill_after: Option<u64>,
    is_off: bool,
}

/// Where the webhooks of an account come in.
pub(super) fn webhook(swarm: &TriggerSwarm, account: usize) -> Option<Webhook> {
    let names = vec![("contact.*".to_owned(), OBJECT.into())];
    let spec = WebhookSpec {
        scheme: Scheme::preset(swarm.scheme.preset())?,
        events: None,
        object: ObjectPlace::By { path: Path::key("type"), names },
        ids: "data.id".parse().into_iter().collect(),
        record: None,
        account: Some(Path::key("account")),
        handshake: None,
    };
    let secret = match swarm.scheme {
        Signed::Standard => format!("whsec_{}", STANDARD.encode(SECRET)),
        Signed::Github => String::from_utf8_lossy(SECRET).into_owned(),
    };
    Some(Webhook {
        path: path(swarm, account).into(),
        base_url: "https://sync.example.com".to_owned(),
        secrets: vec![secret.into()],
        account: swarm.shared_path.then(|| account.to_string()),
        spec: Arc::new(spec),
    })
}

fn path(swarm: &TriggerSwarm, account: usize) -> String {
    format!("hook-0123456789abcdef-{}", if swarm.shared_path { 0 } else { account })
}

fn mac(text: &[u8]) -> Vec<u8> {
    let Ok(mac) = Hmac::<Sha256>::new_from_slice(SECRET) else { return Vec::new() };
    mac.chain_update(text).finalize().into_bytes().to_vec()
}

/// With a chance of so many in a thousand.
fn falls(rng: &mut Rng, per_mille: u16) -> bool {
    rng.u16(0..1_000) < per_mille
}

impl Tellers {
    pub fn new(swarm: TriggerSwarm, accounts: Vec<Account>, edge: Arc<Edge>) -> Arc<Self> {
        let state = State {
            rng: Rng::with_seed(swarm.seed),
            process: None,
            seen: BTreeMap::new(),
            emails: BTreeMap::new(),
            untold: BTreeMap::new(),
            first_sent: BTreeMap::new(),
            old: Vec::new(),
            messages: 0,
            under_way: 0,
            kill_after: None,
            is_off: false,
        };
        Arc::new(Self { swarm, accounts, edge, state: Mutex::new(state) })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on this process is told; or nobody, while there is none.
    pub fn talk_to(&self, process: Option<(Kernel, Arc<Life>)>) {
        self.lock().process = process;
    }

    /// The process dies so many operations after it next takes something.
    pub fn kill_when_taken(&self, after: u64) {
        self.lock().kill_after = Some(after);
    }

    /// Nobody dies of what it takes any more.
    pub fn calm(&self) {
        self.lock().kill_after = None;
    }

    /// Nothing is told any more.
    pub fn fall_silent(&self) {
        self.lock().is_off = true;
    }

    /// Whether nothing is on its way.
    pub fn are_done(&self) -> bool {
        self.lock().under_way == 0
    }

    /// How long an answer to one of the kernel's writes is held up, so that what was
    /// written is told before.
    pub fn before_answer(&self, side: Side) -> Option<Duration> {
        let held_ms = self.swarm.of(side)?.before_answer_ms;
        (held_ms > 0).then(|| Duration::from_millis(held_ms))
    }

    /// Notices what has changed, and tells of it.
    pub fn look(self: &Arc<Self>) {
        for account in &self.accounts {
            for side in Side::BOTH {
                let key = (account.no, side);
                let from = self.lock().seen.get(&key).copied().unwrap_or(0);
                let new = account.apps[side].history_from(from);
                self.lock().seen.insert(key, from + new.len());
                for entry in new.into_iter().filter(|entry| entry.object == account.objects[side]) {
                    let is_ours = !entry.cause.is_outside();
                    let moment = self.edge.moment();
                    let key = (account.no, side, entry.id.clone());
                    let mut state = self.lock();
                    if let Some(value) = &entry.value {
                        state.emails.insert(key.clone(), email_of(&flat(side, value)));
                    }
                    if !is_ours {
                        state.untold.insert(key, moment);
                    }
                    drop(state);
                    if let Some(telling) = self.swarm.of(side)
                        && (telling.own_writes || !is_ours)
                    {
                        self.tell(telling, account.no, side, &entry.id);
                    }
                }
            }
        }
    }

    /// Tells of a change, however badly.
    fn tell(self: &Arc<Self>, telling: &Telling, account: usize, side: Side, id: &RecordId) {
        let mut state = self.lock();
        if state.is_off {
            return;
        }
        let rng = &mut state.rng;
        let is_lost = falls(rng, telling.lost);
        let ids = if falls(rng, telling.whole) { Vec::new() } else { vec![id.clone()] };
        let copies = if falls(rng, telling.repeated) { rng.usize(2..5) } else { 1 };
        let bogus = falls(rng, telling.bogus).then(|| RecordId::from(format!("nobody{}", rng.u16(..)).as_str()));
        let is_old = falls(rng, telling.old);
        let (pick, now_or) = (rng.usize(..), rng.bool());
        // What is told at once comes before the answer to the write.
        let mut delays = Vec::new();
        for _ in 0..copies + 2 {
            delays.push(if now_or { 0 } else { state.rng.u64(0..=telling.delay_ms) });
        }
        let mut messages = Vec::new();
        if !is_lost {
            let message = state.message(&self.swarm, account, side, ids);
            messages.extend((0..copies).map(|_| message.clone()));
            if state.old.len() < REMEMBERED {
                state.old.push(message);
            }
        }
        if let Some(bogus) = bogus {
            messages.push(state.message(&self.swarm, account, side, vec![bogus]));
        }
        if is_old && !state.old.is_empty() {
            messages.push(state.old[pick % state.old.len()].clone());
        }
        drop(state);
        for (message, after_ms) in messages.into_iter().zip(delays) {
            self.send(message, after_ms);
        }
    }

    /// Tells of more than there is room for: what is there, and much that is not.
    pub fn flood(self: &Arc<Self>, account: usize, side: Side, calls: usize, records: usize) {
        let known = &self.accounts[account];
        let real: Vec<RecordId> = known.apps[side].all(known.objects[side].clone()).into_keys().collect();
        if self.swarm.of(side).is_none() {
            return;
        }
        for call in 0..calls {
            let bogus = (0..records).map(|n| RecordId::from(format!("flood{call}x{n}").as_str()));
            let ids: Vec<RecordId> = real.iter().cloned().chain(bogus).take(records).collect();
            let message = self.lock().message(&self.swarm, account, side, ids);
            self.send(message, 0);
        }
    }

    /// Tells once more of what was told before, under new names: late replays, which say
    /// nothing new.
    pub fn replay(self: &Arc<Self>) {
        let old = self.lock().old.clone();
        for Message { account, side, ids, .. } in old {
            let message = self.lock().message(&self.swarm, account, side, ids);
            self.send(message, 0);
        }
    }

    fn send(self: &Arc<Self>, message: Message, after_ms: u64) {
        self.lock().under_way += 1;
        let tellers = Arc::clone(self);
        actix::spawn(async move {
            let mut wait_ms = after_ms;
            let tries = tellers.swarm.of(message.side).map_or(0, |telling| telling.tries);
            for _ in 0..=tries {
                tokio::time::sleep(Duration::from_millis(wait_ms)).await;
                let heard = tellers.attempt(&message).await;
                let Message { no, account, side, ids, .. } = &message;
                let first = ids.first().map_or("everything", RecordId::as_str);
                tellers.edge.note(format_args!("a{account} {side}: told {no} of {first} and so on: {heard:?}"));
                if heard != Heard::NotNow {
                    break;
                }
                wait_ms = 2_000 + wait_ms.min(60_000) * 2;
            }
            tellers.lock().under_way -= 1;
        });
    }

    /// One attempt at a message. What is taken is owed a read from then on; what is known
    /// when it comes again, since its first attempt, whose answer may be lost.
    async fn attempt(&self, message: &Message) -> Heard {
        let moment = self.edge.moment();
        let process = self.lock().process.clone().filter(|(_, life)| !life.is_over());
        let Some((kernel, life)) = process else { return Heard::NotNow };
        let first_sent = *self.lock().first_sent.entry(message.no).or_insert(moment);
        if self.is_known_again(message.side) {
            self.edge.with_owed(|owed| owed.owe_perhaps(message.no, self.promised(message), first_sent));
        }
        let heard = tokio::select! {
            biased;
            () = life.ended() => Heard::NotNow,
            heard = tokio::time::timeout(PATIENCE, self.ask(&kernel, message)) => heard.unwrap_or(Heard::NotNow),
        };
        if life.is_over() {
            return Heard::NotNow;
        }
        if heard == Heard::Taken {
            let since = if self.is_known_again(message.side) {
                self.edge.with_owed(|owed| owed.was_taken(message.no));
                first_sent
            } else {
                self.edge.with_owed(|owed| {
                    self.promised(message).for_each(|(account, side, id)| owed.owe(account, side, id, moment));
                });
                moment
            };
            self.lock().told(message, since);
            if let Some(after) = self.lock().kill_after.take() {
                self.edge.note(format_args!("-- dies {after} operations after it took {}", message.no));
                if after == 0 { life.end() } else { life.ends_after(after) }
            }
        }
        heard
    }

    /// What is to be read once a message is accepted.
    fn promised<'a>(&self, message: &'a Message) -> impl Iterator<Item = (usize, Side, Option<RecordId>)> + 'a {
        let Message { account, side, ids, .. } = message;
        // Many are read as a whole, and so is one that comes amid many or goes beyond what
        // hints may use of the budget.
        let is_owed = self.is_listed(*account, *side);
        let everything = ids.is_empty().then_some(None);
        let each = ids.iter().cloned().map(Some).chain(everything).filter(move |_| is_owed);
        each.map(move |id| (*account, *side, id))
    }

    /// Whether runs read a side: the target of a one-way sync is not, where nothing is
    /// paired.
    fn is_listed(&self, account: usize, side: Side) -> bool {
        let known = &self.accounts[account];
        let is_target = match known.direction {
            Direction::TwoWay => false,
            Direction::Out => side == Side::Remote,
            Direction::In => side == Side::App,
        };
        !(is_target && known.rules == Rules::Unpaired)
    }

    fn is_known_again(&self, side: Side) -> bool {
        match side {
            Side::App => self.swarm.events.as_ref().is_some_and(|events| events.keyed),
            Side::Remote => self.swarm.scheme == Signed::Standard,
        }
    }

    async fn ask(&self, kernel: &Kernel, message: &Message) -> Heard {
        match message.side {
            Side::Remote => match kernel.deliver(self.delivery(message)).await {
                Answer::Taken => Heard::Taken,
                Answer::ComeBack(_) => Heard::NotNow,
                Answer::Unauthorised | Answer::Bad | Answer::Challenge(_) => Heard::Refused,
            },
            Side::App => match kernel.fire(self.fire(message)).await {
                Ok(Accepted::Now | Accepted::Before) => Heard::Taken,
                Err(_) => Heard::NotNow,
            },
        }
    }

    fn fire(&self, message: &Message) -> Fire {
        let telling = self.swarm.events.as_ref();
        let whose = match message.no.is_multiple_of(2) {
            true => Whose::Connection(connection(message.account)),
            false => Whose::Scope(scope(message.account).as_str().into()),
        };
        let event = Event::new(whose, OBJECT, message.ids.iter().cloned());
        Fire {
            events: vec![event],
            key: telling.filter(|telling| telling.keyed).map(|_| format!("call {}", message.no)),
            settle_ms: telling.map_or(0, |telling| telling.settle_ms),
        }
    }

    fn delivery(&self, message: &Message) -> Deliver {
        let body = &message.body;
        let headers = match self.swarm.scheme {
            Signed::Standard => {
                // The sender's clock is right, whatever ours is.
                let now_ms = FIRST_MOMENT_MS + i64::try_from(self.edge.now_ms()).unwrap_or(0);
                let (id, at_s) = (format!("message {}", message.no), (now_ms / 1_000).to_string());
                let signed = [id.as_bytes(), b".", at_s.as_bytes(), b".", body].concat();
                let signature = format!("v1,{}", STANDARD.encode(mac(&signed)));
                vec![
                    ("webhook-id".to_owned(), id),
                    ("webhook-timestamp".to_owned(), at_s),
                    ("webhook-signature".to_owned(), signature),
                ]
            }
            Signed::Github => {
                let hex: String = mac(body).iter().map(|byte| format!("{byte:02x}")).collect();
                vec![("x-hub-signature-256".to_owned(), format!("sha256={hex}"))]
            }
        };
        Deliver {
            method: "POST".to_owned(),
            path: path(&self.swarm, message.account),
            query: String::new(),
            headers,
            body: Arc::clone(body),
        }
    }

    // ---- what was told ----

    /// Everything that was changed before this moment has been read.
    pub fn all_was_read(&self, account: usize, since: u64) {
        self.lock().untold.retain(|(no, _, _), changed| *no != account || *changed > since);
    }

    /// The names of records all of whose changes were told, and that was accepted.
    pub fn told_whole(&self, account: usize) -> BTreeSet<String> {
        let state = self.lock();
        let of_account = state.emails.iter().filter(|((no, _, _), _)| *no == account);
        let untold: BTreeSet<&String> =
            of_account.clone().filter(|(key, _)| state.untold.contains_key(*key)).map(|(_, email)| email).collect();
        of_account.map(|(_, email)| email).filter(|email| !untold.contains(email)).cloned().collect()
    }

    /// The name of a record that is or was there.
    pub fn emails_of(&self, account: usize, ids: &PerSide<BTreeSet<RecordId>>) -> BTreeSet<String> {
        let state = self.lock();
        let named = state.emails.iter().filter(|((no, side, id), _)| *no == account && ids[*side].contains(id));
        named.map(|(_, email)| email.clone()).collect()
    }
}

impl State {
    /// Somebody has heard of some records as they were at this moment.
    fn told(&mut self, message: &Message, since: u64) {
        for id in &message.ids {
            let key = (message.account, message.side, id.clone());
            if self.untold.get(&key).is_some_and(|changed| *changed < since) {
                self.untold.remove(&key);
            }
        }
    }

    fn message(&mut self, swarm: &TriggerSwarm, account: usize, side: Side, ids: Vec<RecordId>) -> Message {
        self.messages += 1;
        // What it says of the record besides its name is not to be believed.
        let kind = ["created", "updated", "deleted"][self.rng.usize(0..3)];
        let event = |id: Option<&RecordId>| {
            let id = id.map_or(String::new(), |id| format!(r#""id":{},"#, Value::string(id.as_str()).to_json()));
            let account = if swarm.shared_path { format!(r#""account":{account},"#) } else { String::new() };
            format!(r#"{{"type":"contact.{kind}",{account}"data":{{{id}"properties":{{"email":"nobody@x.io"}}}}}}"#)
        };
        let body = match ids.as_slice() {
            [] => event(None),
            [id] => event(Some(id)),
            many => format!("[{}]", many.iter().map(|id| event(Some(id))).collect::<Vec<_>>().join(",")),
        };
        let body = if side == Side::Remote { Arc::from(body.as_bytes()) } else { Arc::from(&b""[..]) };
        Message { no: self.messages, account, side, ids, body }
    }
}
