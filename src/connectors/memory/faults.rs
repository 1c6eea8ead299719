//! What goes wrong, as data: rates, and faults written down in advance.

use crate::model::ids::{ObjectName, RecordId};

/// How often what goes wrong, drawn for each call from the app's seed. Rates are per
/// mille of the calls which that fault can befall.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Faults {
    /// [`Fault::NotSent`]
    pub not_sent: u16,
    /// [`Fault::TimeoutBefore`]
    pub timeout_before: u16,
    /// [`Fault::TimeoutAfter`]
    pub timeout_after: u16,
    /// [`Fault::LateCommit`], after 1 to [`late_commit_ms`](Self::late_commit_ms).
    pub late_commit: u16,
    /// The latest a late commit comes, in milliseconds.
    pub late_commit_ms: u64,
    /// [`Fault::PartialCommit`]
    pub partial_commit: u16,
    /// [`Fault::ServerError`]
    pub server_error: u16,
    /// [`Fault::RateLimited`], for 1 to [`retry_after_ms`](Self::retry_after_ms).
    pub rate_limited: u16,
    /// The longest pause asked for, in milliseconds.
    pub retry_after_ms: u64,
    /// [`Fault::Unauthorised`]
    pub unauthorised: u16,
    /// [`Fault::Panic`], in reads.
    pub panic_in_read: u16,
    /// [`Fault::Panic`], in writes.
    pub panic_in_write: u16,
    /// [`Fault::Truncated`]
    pub truncated: u16,
    /// [`Fault::Drift`]
    pub drift: u16,
    /// [`Fault::EmptyPage`]
    pub empty_page: u16,
    /// [`Fault::TokenExpired`]
    pub token_expired: u16,
    /// [`Fault::CursorExpired`]
    pub cursor_expired: u16,
    /// [`Fault::BadRecord`]
    pub bad_record: u16,
    /// Changes, of the kernel and from outside alike, which reads show only after 1 to
    /// [`stale_ms`](Self::stale_ms) and until then the state before.
    pub stale: u16,
    /// The longest a change stays unseen, in milliseconds.
    pub stale_ms: u64,
    /// [`Fault::RateLimitedSilently`]
    pub rate_limited_silently: u16,
    /// [`Fault::Rejected`] of one write of a call, drawn among them.
    pub refused_one: u16,
    /// Edits from outside whose transaction commits 1 to
    /// [`late_visible_ms`](Self::late_visible_ms) later, with the modified time of its
    /// beginning; with time cursors never later than their lookback reaches.
    pub late_visible: u16,
    /// The same without regard to what a cursor can bear: also the number of the change
    /// is taken at the beginning, so a cursor may pass it. Such a change is seen in a
    /// complete read only.
    pub late_beyond_lookback: u16,
    /// The latest an edit from outside is committed, in milliseconds.
    pub late_visible_ms: u64,
    /// Changes that reach the search index only after 1 to
    /// [`slow_index_ms`](Self::slow_index_ms) more.
    pub slow_index: u16,
    /// The longest a change stays unknown to `Find`, in milliseconds.
    pub slow_index_ms: u64,
}

/// When a transaction that began now will commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LateVisible {
    pub after_ms: u64,
    /// Its number is taken now.
    pub numbered_now: bool,
}

impl Faults {
    /// Some faults at some rates, drawn from a seed: each is off, rare or frequent.
    /// Only what a kernel must survive without a person: no refused credentials, no
    /// panic, no record that cannot be read.
    #[must_use]
    pub fn swarm(seed: u64) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut rate = || [0, 0, 10, 100][rng.usize(0..4)];
        Self {
            not_sent: rate(),
            timeout_before: rate(),
            timeout_after: rate(),
            late_commit: rate(),
            late_commit_ms: 300_000,
            partial_commit: rate(),
            server_error: rate(),
            rate_limited: rate(),
            retry_after_ms: 5_000,
            unauthorised: 0,
            panic_in_read: 0,
            panic_in_write: 0,
            truncated: rate(),
            drift: rate(),
            empty_page: rate(),
            token_expired: rate(),
            cursor_expired: rate() / 10,
            bad_record: 0,
            stale: rate(),
            stale_ms: 10_000,
            ..Self::default()
        }
    }

    /// Everything at some rate, drawn from a seed: what [`Faults::swarm`] draws, and
    /// what needs a person (refused credentials, records refused or unreadable), a
    /// restart (panics), a declared lag (slow index) or a complete read (changes beyond
    /// the lookback).
    #[must_use]
    pub fn harsh(seed: u64) -> Self {
        // Another stream than the swarm's, so that the two are not the same draws.
        let mut rng = fastrand::Rng::with_seed(seed ^ 0x6861_7273_6800_0000);
        let mut rate = || [0, 0, 10, 100][rng.usize(0..4)];
        Self {
            unauthorised: rate() / 10,
            panic_in_read: rate() / 10,
            panic_in_write: rate() / 10,
            bad_record: rate(),
            rate_limited_silently: rate(),
            refused_one: rate(),
            late_visible: rate(),
            late_beyond_lookback: rate(),
            late_visible_ms: 300_000,
            slow_index: rate(),
            slow_index_ms: 90_000,
            ..Self::swarm(seed)
        }
    }

    /// Draws what befalls a call of this kind.
    pub(super) fn draw(&self, call: &CallShape<'_>, rng: &mut fastrand::Rng) -> Option<(Fault, Option<usize>)> {
        let kind = call.kind;
        let late = Fault::LateCommit { after_ms: up_to(self.late_commit_ms, rng) };
        let limited = Fault::RateLimited { retry_after_ms: up_to(self.retry_after_ms, rng) };
        let panic = if kind.is_write() { self.panic_in_write } else { self.panic_in_read };
        let rates = [
            (self.not_sent, Fault::NotSent),
            (self.timeout_before, Fault::TimeoutBefore),
            (self.timeout_after, Fault::TimeoutAfter),
            (self.late_commit, late),
            (self.partial_commit, Fault::PartialCommit),
            (self.server_error, Fault::ServerError),
            (self.rate_limited, limited),
            (self.unauthorised, Fault::Unauthorised),
            (panic, Fault::Panic),
            (self.truncated, Fault::Truncated { keep: rng.usize(0..4) }),
            (self.drift, Fault::Drift),
            (self.empty_page, Fault::EmptyPage),
            (self.token_expired, Fault::TokenExpired),
            (self.cursor_expired, Fault::CursorExpired),
            (self.bad_record, Fault::BadRecord),
            (self.rate_limited_silently, Fault::RateLimitedSilently),
            (self.refused_one, Fault::Rejected { reason: "refused by chance".to_owned() }),
        ];
        let (_, fault) = rates.into_iter().find(|(rate, fault)| fault.befalls(kind) && happens(*rate, rng))?;
        let part = matches!(fault, Fault::Rejected { .. }).then(|| rng.usize(0..call.parts.len().max(1)));
        Some((fault, part))
    }

    /// Draws how long a change stays unseen, in milliseconds.
    pub(super) fn draw_stale_ms(&self, rng: &mut fastrand::Rng) -> u64 {
        if happens(self.stale, rng) { up_to(self.stale_ms, rng) } else { 0 }
    }

    /// Draws how much longer than others a change stays unknown to `Find`.
    pub(super) fn draw_slow_index_ms(&self, rng: &mut fastrand::Rng) -> u64 {
        if happens(self.slow_index, rng) { up_to(self.slow_index_ms, rng) } else { 0 }
    }

    /// Draws whether an edit from outside commits late. `bearable_ms`: for how long a
    /// cursor can bear that.
    pub(super) fn draw_late_visible(&self, bearable_ms: u64, rng: &mut fastrand::Rng) -> Option<LateVisible> {
        if happens(self.late_beyond_lookback, rng) {
            return Some(LateVisible { after_ms: up_to(self.late_visible_ms, rng), numbered_now: true });
        }
        let most_ms = self.late_visible_ms.min(bearable_ms);
        let happens = most_ms > 0 && happens(self.late_visible, rng);
        happens.then(|| LateVisible { after_ms: up_to(most_ms, rng), numbered_now: false })
    }
}

fn happens(rate: u16, rng: &mut fastrand::Rng) -> bool {
    rate > 0 && rng.u16(0..1_000) < rate
}

fn up_to(most: u64, rng: &mut fastrand::Rng) -> u64 {
    rng.u64(1..=most.max(1))
}

/// One thing that goes wrong with one call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// No connection: certainly not carried out.
    NotSent,
    /// No answer, and nothing was done.
    TimeoutBefore,
    /// No answer, but it was carried out. On a read the answer is lost.
    TimeoutAfter,
    /// No answer, and it is carried out later.
    LateCommit {
        /// So many milliseconds after the call.
        after_ms: u64,
    },
    /// No answer, and the first half of a batch was carried out (of a single write:
    /// nothing).
    PartialCommit,
    /// A 5xx answer to a call that did nothing.
    ServerError,
    /// A 429 answer with `Retry-After`. The budget is paused, as a connector must.
    RateLimited {
        /// The pause asked for, in milliseconds.
        retry_after_ms: u64,
    },
    /// A 429 answer that does not say when to come back. A connector pauses by itself.
    RateLimitedSilently,
    /// A 401 answer: the credentials are refused.
    Unauthorised,
    /// A refusal of what is written. In a batch it befalls the first write that
    /// matches.
    Rejected {
        /// What the app says.
        reason: String,
    },
    /// The change is carried out, but reads show the state before for so long.
    Stale {
        /// Milliseconds.
        for_ms: u64,
    },
    /// The connector panics before anything is done.
    Panic,
    /// The answer comes, but so many milliseconds late.
    Slow {
        /// Milliseconds.
        by_ms: u64,
    },
    /// A list ends early, as if it were complete.
    Truncated {
        /// Records left on the page.
        keep: usize,
    },
    /// A record slips through between two pages; the connector notices and every
    /// later page of the read says so.
    Drift,
    /// A page without records that is not the last.
    EmptyPage,
    /// The page token has expired, for good: only a read from its beginning helps.
    TokenExpired,
    /// The cursor is no longer valid (410).
    CursorExpired,
    /// One record of the page cannot be understood this time.
    BadRecord,
}

/// What kind of call is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CallKind {
    /// A page of all records or of changes.
    List { page: u32, changes: bool, continued: bool },
    /// By id.
    Ids,
    /// By field or external id.
    Find,
    /// A write call.
    Write,
}

impl CallKind {
    pub(super) fn is_write(self) -> bool {
        matches!(self, CallKind::Write)
    }
}

impl Fault {
    /// Whether it makes a difference to this kind of call.
    pub(super) fn befalls(&self, kind: CallKind) -> bool {
        match self {
            Fault::NotSent
            | Fault::TimeoutBefore
            | Fault::TimeoutAfter
            | Fault::ServerError
            | Fault::RateLimited { .. }
            | Fault::RateLimitedSilently
            | Fault::Unauthorised
            | Fault::Panic
            | Fault::Slow { .. } => true,
            Fault::LateCommit { .. } | Fault::PartialCommit | Fault::Rejected { .. } | Fault::Stale { .. } => {
                kind.is_write()
            }
            Fault::Truncated { .. } | Fault::Drift | Fault::EmptyPage | Fault::BadRecord => {
                matches!(kind, CallKind::List { .. })
            }
            Fault::TokenExpired => matches!(kind, CallKind::List { continued: true, .. }),
            Fault::CursorExpired => matches!(kind, CallKind::List { changes: true, .. }),
        }
    }
}

/// Which calls a scripted fault waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum On {
    /// Any call.
    Call,
    /// Any read.
    Read,
    /// A page of all records or of changes.
    List,
    /// The nth page of such a read, counted from 1.
    Page(u32),
    /// A read by id.
    Ids,
    /// A read by field or external id.
    Find,
    /// Any write.
    Write,
    /// A create.
    Create,
    /// An update.
    Update,
    /// A delete.
    Delete,
}

/// A fault written down in advance: `Scripted::new(On::Write, Fault::TimeoutAfter).nth(3)`
/// is "the third write times out, once".
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scripted {
    pub(super) on: On,
    pub(super) fault: Fault,
    object: Option<ObjectName>,
    id: Option<RecordId>,
    skip: u32,
    times: u32,
}

impl Scripted {
    /// The next such call, once.
    #[must_use]
    pub fn new(on: On, fault: Fault) -> Self {
        Self { on, fault, object: None, id: None, skip: 0, times: 1 }
    }

    /// Only from the nth such call on, counted from 1.
    #[must_use]
    pub fn nth(self, nth: u32) -> Self {
        Self { skip: nth.saturating_sub(1), ..self }
    }

    /// So many times in a row; `u32::MAX` for ever.
    #[must_use]
    pub fn times(self, times: u32) -> Self {
        Self { times, ..self }
    }

    /// Only calls about this object.
    #[must_use]
    pub fn object(self, object: impl Into<ObjectName>) -> Self {
        Self { object: Some(object.into()), ..self }
    }

    /// Only calls that name this record id.
    #[must_use]
    pub fn id(self, id: impl Into<RecordId>) -> Self {
        Self { id: Some(id.into()), ..self }
    }

    /// Whether it is used up.
    pub(super) fn spent(&self) -> bool {
        self.times == 0
    }

    /// Told of a call: the fault, if it is this call's.
    pub(super) fn meets(&mut self, call: &CallShape<'_>) -> Option<Fault> {
        if self.spent() || !self.fault.befalls(call.kind) || !call.matches(self.on, &self.object, &self.id) {
            return None;
        }
        if self.skip > 0 {
            self.skip -= 1;
            return None;
        }
        if self.times != u32::MAX {
            self.times -= 1;
        }
        Some(self.fault.clone())
    }
}

/// One part of a call as scripts see it: an id read, or one write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Part {
    pub on: On,
    pub id: Option<RecordId>,
}

/// A call as scripts see it.
#[derive(Debug)]
pub(super) struct CallShape<'a> {
    pub kind: CallKind,
    pub object: &'a ObjectName,
    pub parts: Vec<Part>,
}

impl CallShape<'_> {
    fn matches(&self, on: On, object: &Option<ObjectName>, id: &Option<RecordId>) -> bool {
        object.as_ref().is_none_or(|object| object == self.object)
            && (self.kind_matches(on) || self.parts.iter().any(|part| part.on == on))
            && (id.is_none() || self.parts.iter().any(|part| part.matches(on, id)))
    }

    fn kind_matches(&self, on: On) -> bool {
        match on {
            On::Call => true,
            On::Read => !self.kind.is_write(),
            On::List => matches!(self.kind, CallKind::List { .. }),
            On::Page(n) => matches!(self.kind, CallKind::List { page, .. } if page == n),
            On::Ids => matches!(self.kind, CallKind::Ids),
            On::Find => matches!(self.kind, CallKind::Find),
            On::Write => self.kind.is_write(),
            // What the parts of a batch are is asked of the parts.
            On::Create | On::Update | On::Delete => false,
        }
    }
}

impl Part {
    /// Whether a script that waits for this would be about this part.
    pub(super) fn matches(&self, on: On, id: &Option<RecordId>) -> bool {
        let kind = match on {
            On::Create | On::Update | On::Delete => self.on == on,
            On::Call | On::Read | On::List | On::Page(_) | On::Ids | On::Find | On::Write => true,
        };
        kind && (id.is_none() || *id == self.id)
    }
}

impl Scripted {
    /// Whether this part of a call is one it waits for.
    pub(super) fn is_about(&self, part: &Part) -> bool {
        part.matches(self.on, &self.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write<'a>(object: &'a ObjectName, on: On, id: &str) -> CallShape<'a> {
        CallShape { kind: CallKind::Write, object, parts: vec![Part { on, id: Some(id.into()) }] }
    }

    #[test]
    fn a_script_waits_for_its_call_and_is_then_used_up() {
        let contacts = ObjectName::from("contacts");
        let mut script = Scripted::new(On::Update, Fault::TimeoutAfter).nth(2).object("contacts").id("7");
        for (call, want) in [
            (write(&contacts, On::Create, "7"), None),
            (write(&contacts, On::Update, "8"), None),
            (write(&ObjectName::from("tickets"), On::Update, "7"), None),
            (write(&contacts, On::Update, "7"), None),
            (write(&contacts, On::Update, "7"), Some(Fault::TimeoutAfter)),
            (write(&contacts, On::Update, "7"), None),
        ] {
            assert_eq!(script.meets(&call), want, "{call:?}");
        }
        assert!(script.spent());
    }

    #[test]
    fn a_fault_that_could_make_no_difference_waits() {
        let contacts = ObjectName::from("contacts");
        let first = CallKind::List { page: 1, changes: false, continued: false };
        let second = CallKind::List { page: 2, changes: false, continued: true };
        let mut script = Scripted::new(On::Call, Fault::TokenExpired);
        for (kind, want) in [(CallKind::Write, false), (first, false), (second, true)] {
            let call = CallShape { kind, object: &contacts, parts: Vec::new() };
            assert_eq!(script.meets(&call).is_some(), want, "{kind:?}");
        }
    }

    #[test]
    fn rates_are_rates() {
        let mut rng = fastrand::Rng::with_seed(1);
        let faults = Faults { timeout_after: 250, truncated: 1_000, ..Faults::default() };
        let contacts = ObjectName::from("contacts");
        let call = |kind| CallShape { kind, object: &contacts, parts: Vec::new() };
        let drawn: Vec<_> = (0..4_000).filter_map(|_| faults.draw(&call(CallKind::Write), &mut rng)).collect();
        assert!((800..1_200).contains(&drawn.len()), "{}", drawn.len());
        assert!(drawn.iter().all(|(fault, _)| *fault == Fault::TimeoutAfter), "a write cannot be truncated");
        assert_eq!(Faults::default().draw(&call(CallKind::Ids), &mut rng), None);
    }

    #[test]
    fn one_write_of_a_batch_is_refused_and_not_always_the_same() {
        let mut rng = fastrand::Rng::with_seed(1);
        let faults = Faults { refused_one: 1_000, ..Faults::default() };
        let contacts = ObjectName::from("contacts");
        let part = || Part { on: On::Update, id: None };
        let call = CallShape { kind: CallKind::Write, object: &contacts, parts: vec![part(), part(), part()] };
        let parts: std::collections::BTreeSet<_> =
            (0..50).filter_map(|_| faults.draw(&call, &mut rng)).map(|(_, part)| part).collect();
        assert_eq!(parts.into_iter().collect::<Vec<_>>(), [Some(0), Some(1), Some(2)]);
    }

    /// What was found with a seed must be found again.
    #[test]
    fn a_swarm_has_none_of_the_harsh_faults() {
        for seed in 0..200 {
            let swarm = Faults::swarm(seed);
            let tame = Faults {
                unauthorised: 0,
                panic_in_read: 0,
                panic_in_write: 0,
                bad_record: 0,
                rate_limited_silently: 0,
                refused_one: 0,
                late_visible: 0,
                late_beyond_lookback: 0,
                late_visible_ms: 0,
                slow_index: 0,
                slow_index_ms: 0,
                ..Faults::harsh(seed)
            };
            assert_eq!(swarm, tame, "seed {seed}");
        }
        let drawn = Faults::swarm(7);
        assert_eq!((drawn.not_sent, drawn.timeout_before, drawn.stale), SWARM_OF_7, "the draws of old seeds changed");
    }

    const SWARM_OF_7: (u16, u16, u16) = (100, 0, 100);
}
