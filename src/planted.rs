//! Bugs planted on purpose, to show that the tests which search for bugs are not blind.
//!
//! Each stands at the one place where somebody would have made it, as a short condition
//! on [`is`]. With the feature `planted` a test plants one for its own thread, or whole
//! suites run with one: `SYNCLINE_PLANTED=tomb-dropped cargo test --features planted`.
//! Without the feature [`is`] is always false and the compiler leaves nothing of them.

/// Declares the bugs, so that a list, a name and an invariant cannot be forgotten.
macro_rules! bugs {
    ($($(#[$doc:meta])+ $bug:ident: $name:literal, $invariant:literal;)+) => {
        /// A bug that can be planted. Each says what is broken, and what a world must do
        /// to show it.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Bug {
            $($(#[$doc])+ $bug,)+
        }

        #[cfg(feature = "planted")]
        impl Bug {
            /// All of them.
            pub const ALL: &[Bug] = &[$(Bug::$bug),+];

            /// Its name in tables and on command lines.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self {
                    $(Bug::$bug => $name,)+
                }
            }

            /// The bug of a name.
            #[must_use]
            pub fn named(name: &str) -> Option<Bug> {
                Bug::ALL.iter().copied().find(|bug| bug.name() == name)
            }

            /// The invariant it breaks first.
            #[must_use]
            pub fn invariant(self) -> &'static str {
                match self {
                    $(Bug::$bug => $invariant,)+
                }
            }
        }
    };
}

bugs! {
    // ---- cursors and lists ----

    /// A time cursor is asked for with `>`: a record that shares its stamp with the
    /// newest one seen is never listed. Needs time cursors without lookback, coarse
    /// stamps, and an edit in the same granule after a run has read it.
    ExclusiveCursor: "exclusive-cursor", "I7";
    /// A read begins at its cursor and not before: what became visible late, with an
    /// older stamp, is never listed. Needs time cursors, and changes that reads show late.
    NoLookback: "no-lookback", "I7";
    /// A cursor moves to the newest change seen although older ones are not visible yet.
    /// Needs changes that reads show late while newer ones are shown at once.
    NoHighWater: "no-high-water", "I7";
    /// A cursor takes the position of the last read even where that lies behind it.
    /// Harmless but for repeated reads, so only an oracle that compares each stored
    /// cursor with the one before sees it. Needs time cursors with a lookback.
    CursorGoesBack: "cursor-goes-back", "I8";
    /// A side's cursor is committed when its last page is read, before that page's
    /// records are, and before the held records are created. Needs a kill within a run
    /// after the last page of a side was asked for.
    CursorBeforeRecords: "cursor-before-records", "I7";
    /// Pages that shifted are taken as if they were whole, and the cursor with them.
    /// Needs offset paging or a drift fault, and a record that is not edited again.
    CursorPastDrift: "cursor-past-drift", "I7";
    /// Of two entries for one record in one unit the older one is used. Needs small pages,
    /// latency in lists, several pages to a unit, and an edit between two of its pages.
    OlderEntryWins: "older-entry-wins", "I1";
    /// An expired page token is sent for ever. Needs a token that expires.
    ExpiredTokenKept: "expired-token-kept", "I19";
    /// A record that a complete list leaves out is taken for deleted. Needs a second
    /// complete read (a resync, an expired cursor) that fits into one unit, with its list
    /// truncated, a page empty, or a side without a change list.
    AbsentIsDeleted: "absent-is-deleted", "I12";
    /// A record that a read by id leaves out is taken for deleted. Needs an app that
    /// answers fewer records than it was asked for, and pending rows.
    LeftOutIsDeleted: "left-out-is-deleted", "I12";

    // ---- what a read is worth ----

    /// A read that shows the state before our own last write is taken for an edit back.
    /// Needs stale reads after writes of the kernel.
    StaleReadApplied: "stale-read-applied", "I1";
    /// Only the state before our very last write is remembered. Needs two writes of one
    /// record within the time that its side's reads may be stale.
    OneStateBefore: "one-state-before", "I1";
    /// A page read before our own last write of the pair is applied after it. Needs
    /// latency in lists, several pages to a unit, and live work on the same records.
    OwnWriteNotNoticed: "own-write-not-noticed", "I1";
    /// A 404 by id right after our create is taken for a deletion. Needs stale reads of
    /// what was just created, and a look at it by id: a mark, or an edit of its partner.
    NotYetVisibleIsDeleted: "not-yet-visible-is-deleted", "I12";
    /// A buried record in a list is believed without a read by id. Needs lists that are
    /// staler than reads by id; where both lag alike the kernel heals it, and an oracle
    /// must refuse the create that follows a deletion.
    BuriedBelievedFromList: "buried-believed-from-list", "I11";
    /// Nothing is kept of a deleted pair. Needs a page that shows the deleted record
    /// after its deletion has crossed, and an oracle as above, or a side whose tombstones
    /// are not listed.
    TombDropped: "tomb-dropped", "I11";
    /// A side nobody read is taken for unchanged where its writes are not conditional.
    /// Needs a side without conditional writes that takes single fields, and edits of one
    /// field on both sides between two runs: the loser is in no history.
    TrustedUnguarded: "trusted-unguarded", "I2";
    /// A side nobody read is taken for unchanged before a delete. Where deletes are
    /// conditional the app refuses, so it needs a side without them (or a pair whose
    /// version is not known), deleted here and edited there between two runs.
    DeletedUnread: "deleted-unread", "I1";
    /// The hash of its text alone decides that a record needs no look, also after a
    /// write of its pair failed. Needs refused or unknown updates.
    SkippedAlthoughPending: "skipped-although-pending", "I1";
    /// After a write failed, the version that was read is trusted although the bases do
    /// not hold what it says. Needs an update that fails on one side, takes single
    /// fields there, and a later edit on the other.
    VersionKeptAfterFailure: "version-kept-after-failure", "I1";

    // ---- bases ----

    /// The remote base is overwritten by the app's. Needs a remote that stores something
    /// else than it was sent (trims, lower case).
    OneBaseForBoth: "one-base-for-both", "I9";
    /// What was sent is taken for what is stored. Needs a side that normalises; two that
    /// normalise against each other write for ever.
    SentTakenForStored: "sent-taken-for-stored", "I4";
    /// All fields of a write's answer become the base, also those somebody edited in
    /// between. Needs a side without conditional writes that answers with the record,
    /// latency, and edits of other fields between the kernel's read and its write.
    AnswerTakenForBase: "answer-taken-for-base", "I1";
    /// What is read back after a write is taken for what was stored although somebody
    /// has edited it since. Needs answers without the record, latency, and edits between
    /// a write and the read after it.
    ReadBackOfAnyVersion: "read-back-of-any-version", "I1";
    /// A create found by recovery takes what was read as its base, and swallows an edit
    /// made since. Needs a create whose answer is lost and an edit of what it made before
    /// it is looked up.
    AdoptedAsRead: "adopted-as-read", "I1";
    /// The mapping under which bases were taken is not compared. Needs a mapping that
    /// gains a field mid-run: unchanged pairs never take it up. Where the field differs
    /// on the two sides, an edit of it is what shows it.
    MappingHashIgnored: "mapping-hash-ignored", "I24";
    /// A field is known by its name alone, so a base taken under another path or lens
    /// serves as its base. Needs a mapping that changes a field's path or lens mid-run;
    /// every pair then looks edited on both sides.
    FieldKnownByName: "field-known-by-name", "I24";

    // ---- writes ----

    /// Updates carry no expected version. Needs latency and edits of the record between
    /// the kernel's read and its write.
    UpdateUnconditional: "update-unconditional", "I2";
    /// Deletes carry no expected version. Needs latency, and an edit of the record right
    /// before the kernel's delete of it.
    DeleteUnconditional: "delete-unconditional", "I2";
    /// The expected version of a side nobody read is the other side's. Where version
    /// numbers of the two sides differ each such write is refused once and then made
    /// right, so it needs small version numbers on both sides (a counter for each record),
    /// or an oracle that asks of each refusal whether somebody had edited the record.
    VersionOfOtherSide: "version-of-other-side", "I2";
    /// What is not mapped is dropped where whole records are written. Needs unmapped keys
    /// on a side that replaces whole records.
    UnmappedDropped: "unmapped-dropped", "I5";
    /// A side is written although nothing changes there. Needs an oracle that counts
    /// writes: no more than one on the other side for each edit, and none that changes
    /// nothing. Records that hold their own time of modification then never settle.
    EmptyWrite: "empty-write", "I4";
    /// A create fills fields which the target owns. Needs new records that hold a value
    /// in a field of the other side's.
    OwnerIgnoredOnCreate: "owner-ignored-on-create", "I6";
    /// An edit on the side that does not own a field is carried to the one that does.
    /// Needs such edits in a two-way sync.
    OwnerIgnoredOnUpdate: "owner-ignored-on-update", "I6";
    /// A one-way sync carries an edit of its target back. Needs a one-way sync and edits
    /// of its target.
    OneWayWritesBack: "one-way-writes-back", "I6";
    /// Who wins a conflict depends on whose news came first. Needs conflicts of a shared
    /// field in a sync whose tie goes to the remote, and an oracle that looks at who won.
    ConflictByArrival: "conflict-by-arrival", "I26";
    /// The loser of a conflict is not recorded. Needs edits of one field on both sides.
    LoserNotRecorded: "loser-not-recorded", "I1";
    /// The loser of a conflict is recorded under a pair that does not exist. As above,
    /// with an oracle that looks history up by pair.
    HistoryOfNoPair: "history-of-no-pair", "I1";

    // ---- creates, deletes and their outcomes ----

    /// Intents are not durable before their write is sent. Needs a kill between a create
    /// and its commit, and a record that no read shows for a while (late commit, stale).
    IntentNotDurable: "intent-not-durable", "I3";
    /// An intent is closed although its outcome is unknown. Needs creates or deletes
    /// whose answer is lost, and that were not carried out.
    UnknownClosed: "unknown-closed", "I1";
    /// A create whose outcome is unknown is made again without looking for it. Needs late
    /// commits, or stale reads, where creates are found again by key or by search.
    CreateRetriedBlind: "create-retried-blind", "I3";
    /// An unknown create is searched before a late commit or a slow index must have shown
    /// it. Needs late commits where creates are found again by search.
    LateCommitNotAwaited: "late-commit-not-awaited", "I3";
    /// A pair is written although the outcome of its create or delete is unknown. Needs
    /// unknown creates, and news of their source before they are recovered.
    OpenWriteIgnored: "open-write-ignored", "I16";
    /// News of a record that could be the one an open create made is not held. Needs
    /// unknown creates that were carried out, and a read of that side before recovery.
    NewsNotHeld: "news-not-held", "I3";
    /// The external id of a create names the epoch, so that another attempt has another.
    /// Needs late commits, and a kill before the second attempt, where creates are found
    /// again by id.
    ExternalIdOfOneEpoch: "external-id-of-one-epoch", "I3";
    /// The external id of a create does not name the connection. Needs two connections
    /// of one kernel whose remote side is one app, with the same pair numbers.
    ExternalIdOfAnyConnection: "external-id-of-any-connection", "I18";
    /// New records of the side read first are created before the other side was read.
    /// Needs records that stand on both sides when they are first read.
    FirstSideCreates: "first-side-creates", "I3";
    /// A record that comes alone is created without searching the other side. Needs marks
    /// of new records whose partner no run has read yet.
    PartnerNotSearched: "partner-not-searched", "I3";
    /// A record that waits for a run to show its partner does not wait. Needs the same on
    /// a side that cannot be searched.
    PartnerNotAwaited: "partner-not-awaited", "I3";
    /// Two records with one match key in one unit are both created. Needs two such
    /// records on one side within a page; an oracle finds two records with one match key
    /// where nobody made the second.
    SameKeyCreatedTwice: "same-key-created-twice", "I3";
    /// A record that is put off or held back keeps no half marker, so its partner takes
    /// it for absent. Needs records that break a rule and stand on both sides; one that is
    /// put off counts as unread without its marker, and is waited for.
    HalfNotKept: "half-not-kept", "I3";
    /// A record that was deleted while outside the filter is deleted on the other side,
    /// too. Needs a filter, a pair that leaves it, and then a deletion.
    OutOfScopeDeleted: "out-of-scope-deleted", "I12";

    // ---- work that is due ----

    /// Pending rows are not loaded at a start. Needs a kill while something is pending,
    /// and one only: they are still in the file.
    PendingLostAtRestart: "pending-lost-at-restart", "I7";
    /// Pending rows are removed with the intents, before their effect is committed. Needs
    /// a kill between the two commits of a unit of pending records.
    PendingRemovedEarly: "pending-removed-early", "I7";
    /// A mark is taken to be covered by a row that is being worked on already. Needs
    /// latency, marks of one record in quick succession with an edit between, and either
    /// no runs or an oracle that wants a read to start after each mark.
    MarkSwallowed: "mark-swallowed", "I15";
    /// A run that is asked for while one is running is taken to be covered by it. Needs
    /// requests during a run, and an answer awaited or edits behind the run's read.
    WakeSwallowed: "wake-swallowed", "I15";
    /// Hints are taken out of the inbox before the rows that are made of them are durable.
    /// Needs a kill between the two commits, which follow each other at once.
    InboxRemovedEarly: "inbox-removed-early", "I15";
    /// A hint that comes while its record is being worked on is taken to be covered by
    /// that. Needs latency, an edit behind the unit's read, and either no runs or an oracle
    /// that wants a read to start after each acceptance.
    HintSwallowed: "hint-swallowed", "I15";
    /// A hint for an object is taken to be covered by the run that is under way. Needs the
    /// same, with hints that name no record.
    ObjectHintSwallowed: "object-hint-swallowed", "I15";
    /// A hint for an object is taken out when its run is asked for, not when that has
    /// ended. Needs a kill in between, and no schedule that runs anyway.
    ObjectHintForgotten: "object-hint-forgotten", "I15";
    /// A trigger says that it has accepted before what it accepted is durable. Needs a kill
    /// right after an answer.
    AcceptedEarly: "accepted-early", "I15";
    /// The inbox is looked at when something comes, and not at a start. Needs a kill right
    /// after an acceptance, and nothing that comes after it.
    InboxNotReadAtStart: "inbox-not-read-at-start", "I15";
    /// Leases keep nobody out. Needs both slots at work on one record: marks, or
    /// recoveries, while a run of the other slot reads the same records.
    LeaseNotTaken: "lease-not-taken", "I16";
    /// A record that failed before is tried together with others. Needs a connector that
    /// crashes on one record of a batch, every time.
    PoisonGoesAlong: "poison-goes-along", "I19";
    /// A record is tried for ever. Needs a record whose write is never answered.
    EndlessRetries: "endless-retries", "I19";
    /// A held-back record that has not changed is let go, and never looked at again. Needs
    /// a record that is held back for its content, and is listed again unchanged.
    ReleasedUnchanged: "released-unchanged", "I1";
    /// A unit of work takes as many pages as there are. Needs lists of many pages, and a
    /// bound on the entries between two commits.
    EndlessUnit: "endless-unit", "I22";
    /// Recoveries start in the order of a hash map. Needs several open intents due at
    /// once; the same seed then runs in two ways.
    RecoveriesUnsorted: "recoveries-unsorted", "I21";

    // ---- budget ----

    /// A pause that a side asks for is not kept. Needs 429 answers; the app counts calls
    /// that come too early.
    RetryAfterIgnored: "retry-after-ignored", "I14";
    /// A budget starts full, also after a restart. Needs a limited app, restarts at times
    /// of load, and a window that is counted at the app across them.
    BudgetStartsFull: "budget-starts-full", "I14";
    /// More calls are in flight than the side allows. Needs latency, and calls in flight
    /// counted at the app.
    ConcurrencyIgnored: "concurrency-ignored", "I14";

    // ---- store ----

    /// The store takes commits of an old epoch. Needs an actor that lives on after it was
    /// replaced, or a right that is kept and used.
    StaleEpochAccepted: "stale-epoch-accepted", "I17";
    /// What the store refuses or cannot write counts as written. Needs a store that fails
    /// at some write, and goes on after that.
    CommitErrorSwallowed: "commit-error-swallowed", "I25";
}

/// Whether this bug is planted on this thread: never, without the feature.
#[cfg(not(feature = "planted"))]
#[inline(always)]
#[must_use]
pub const fn is(_: Bug) -> bool {
    false
}

#[cfg(feature = "planted")]
pub use switch::{Planted, is, plant};

#[cfg(feature = "planted")]
mod switch {
    use std::cell::Cell;

    use super::Bug;

    thread_local! {
        static NOW: Cell<Option<Bug>> = Cell::new(everywhere());
    }

    /// The bug that the environment plants on every thread.
    fn everywhere() -> Option<Bug> {
        let name = std::env::var("SYNCLINE_PLANTED").ok()?;
        Some(Bug::named(&name).unwrap_or_else(|| panic!("there is no bug named '{name}' to plant")))
    }

    /// Puts back what was planted before when it is dropped, also by a panic that a test
    /// catches.
    #[derive(Debug)]
    #[must_use = "the bug is there for as long as this lives"]
    pub struct Planted {
        before: Option<Bug>,
    }

    /// Plants a bug on this thread, or makes sure that there is none. A kernel shows it
    /// where it runs on this thread whole: no arbiters, commits inline.
    pub fn plant(bug: Option<Bug>) -> Planted {
        Planted { before: NOW.replace(bug) }
    }

    impl Drop for Planted {
        fn drop(&mut self) {
            NOW.set(self.before);
        }
    }

    /// Whether this bug is planted on this thread.
    #[inline]
    #[must_use]
    pub fn is(bug: Bug) -> bool {
        NOW.get() == Some(bug)
    }
}
