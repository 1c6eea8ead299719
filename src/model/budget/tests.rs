//! Danger: more calls than a side allows, in whatever window and whatever it tells.

use super::*;

fn limits(requests: u32, per_ms: u64, concurrency: usize) -> Limits {
    Limits { windows: vec![Window::new(requests, per_ms)], concurrency, ..Limits::default() }
}

fn plain() -> Charge {
    Charge::default()
}

fn of(class: &str, points: u32) -> Charge {
    Charge { class: Some(class.into()), points }
}

fn points(points: u32, per_ms: u64) -> Window {
    Window { counts: Counts::Points, ..Window::new(points, per_ms) }
}

fn class(name: &str, windows: Vec<Window>, apart: bool) -> ClassLimits {
    ClassLimits { name: name.into(), windows, concurrency: None, apart, exclusive_ms: None }
}

fn go(grant: Grant) -> Pass {
    match grant {
        Grant::Go(pass) => pass,
        Grant::At(_) | Grant::WhenOneEnds | Grant::ClassAt(_) | Grant::WhenOneOfClassEnds => panic!("{grant:?}"),
    }
}

/// A seed of its own for each run, told where it fails.
fn seeds() -> impl Iterator<Item = u64> {
    let first = fastrand::u64(..1 << 40);
    (0..40).chain(first..first + 40)
}

/// The most that stands in any window of that length, wherever it starts.
fn fullest(made: &[(u64, u64)], per_ms: u64) -> u64 {
    let inside = |start: usize| -> u64 {
        let end_ms = made[start].0 + per_ms;
        made[start..].iter().take_while(|(at, _)| *at < end_ms).map(|(_, amount)| amount).sum()
    };
    (0..made.len()).map(inside).max().unwrap_or(0)
}

#[test]
fn no_window_of_any_start_holds_more_than_the_limit() {
    for (requests, per_ms) in [(1, 1_000), (3, 1_000), (10, 1_000), (100, 10_000), (7, 100)] {
        let mut budget = Budget::new(&limits(requests, per_ms, 1), 0);
        let mut calls: Vec<(u64, u64)> = Vec::new();
        let mut now = 0;
        let mut random = fastrand::Rng::with_seed(u64::from(requests));
        while calls.len() < 500 {
            match budget.ask(now, &plain()) {
                Grant::Go(pass) => {
                    calls.push((now, 1));
                    budget.finish(pass);
                }
                Grant::At(at) => now = at,
                Grant::WhenOneEnds | Grant::ClassAt(_) | Grant::WhenOneOfClassEnds => {
                    unreachable!("each call ends at once")
                }
            }
            if random.u8(..) == 0 {
                now += random.u64(..per_ms * 2);
            }
        }
        let most = fullest(&calls, per_ms);
        assert!(most <= u64::from(requests), "{most} calls in a window of {requests} per {per_ms} ms");
        let rate = calls.len() as f64 / calls[calls.len() - 1].0 as f64 * per_ms as f64;
        assert!(rate > f64::from(requests) * 0.2, "the budget is used: {rate} of {requests}");
    }
}

/// Classes within and apart from the whole, calls that cost several points, a clock that is
/// put back now and then.
#[test]
fn no_window_of_any_class_holds_more_than_its_limit() {
    for seed in seeds() {
        let mut random = fastrand::Rng::with_seed(seed);
        let dearest = random.u32(1..20);
        let mut windows = || {
            let (per_ms, most) = (random.u64(100..5_000), random.u32(1..60));
            vec![Window::new(most, per_ms), points(most.max(dearest) + random.u32(..100), per_ms * 2)]
        };
        let classes = vec![class("search", windows(), false), class("export", windows(), true)];
        let limits = Limits { windows: windows(), concurrency: 3, classes, dearest };
        let mut budget = Budget::new(&limits, 0);
        let (mut now, mut seen, mut made) = (0_u64, 0, Vec::new());
        while made.len() < 300 {
            let name = ["", "search", "export", "unknown"][random.usize(..4)];
            let charge = Charge { class: (!name.is_empty()).then(|| name.into()), points: random.u32(1..=dearest) };
            let told = if random.u8(..20) == 0 { now.saturating_sub(random.u64(..3_000)) } else { now };
            // The budget's clock stands still where it is put back.
            seen = told.max(seen);
            match budget.ask(told, &charge) {
                Grant::Go(pass) => {
                    made.push((seen, name, charge.points));
                    budget.finish(pass);
                }
                // Sometimes somebody of another class asks before that time.
                Grant::At(at) | Grant::ClassAt(at) => {
                    now = if random.bool() { now.max(at) } else { now + random.u64(..200) };
                }
                Grant::WhenOneEnds | Grant::WhenOneOfClassEnds => unreachable!("each call ends at once"),
            }
        }
        let check = |windows: &[Window], belongs: &dyn Fn(&str) -> bool| {
            for window in windows {
                let amount = |points: u32| if window.counts == Counts::Points { u64::from(points) } else { 1 };
                let ours = made.iter().filter(|(_, name, _)| belongs(name));
                let ours: Vec<(u64, u64)> = ours.map(|(at, _, points)| (*at, amount(*points))).collect();
                let most = fullest(&ours, window.per_ms);
                assert!(most <= u64::from(window.requests), "seed {seed}: {most} in {window:?}");
            }
        };
        check(&limits.windows, &|name| name != "export");
        check(&limits.classes[0].windows, &|name| name == "search");
        check(&limits.classes[1].windows, &|name| name == "export");
    }
}

#[test]
fn concurrency_and_pauses_hold() {
    let classes =
        vec![ClassLimits { concurrency: Some(1), ..class("export", vec![], true) }, class("search", vec![], false)];
    let mut budget = Budget::new(&Limits { concurrency: 2, classes, ..Limits::default() }, 0);
    let export = go(budget.ask(0, &of("export", 1)));
    assert_eq!(budget.ask(0, &of("export", 1)), Grant::WhenOneOfClassEnds, "one of its class");
    let other = go(budget.ask(0, &plain()));
    assert_eq!(budget.ask(0, &plain()), Grant::WhenOneEnds, "two in all");
    budget.finish(export);
    budget.finish(other);
    budget.block_class_until("export", 900);
    assert_eq!(budget.ask(100, &of("export", 1)), Grant::ClassAt(900));
    let pass = go(budget.ask(100, &plain()));
    budget.finish(pass);
    budget.block_class_until("search", 500);
    assert_eq!(budget.ask(100, &plain()), Grant::At(500), "what is not counted apart pauses the whole");
    assert_eq!(budget.ask(100, &of("export", 1)), Grant::At(500), "a pause of the whole holds for all");
    assert_eq!(budget.ask(600, &of("export", 1)), Grant::ClassAt(900));
    assert!(matches!(budget.ask(900, &of("export", 1)), Grant::Go(_)));
}

/// A side that counts in fixed windows which others use as well. Its answers come in any order
/// and after any time. Whoever heeds what it tells is refused only before it has told anything
/// in a window, or because of a call of somebody else that nobody could know of.
#[test]
fn what_a_side_says_is_left_is_honoured() {
    const PER_MS: u64 = 1_000;
    struct Flying {
        pass: Pass,
        served_ms: u64,
        answered_ms: u64,
        told: Option<Tell>,
    }
    let mut heeded = 0;
    for seed in seeds() {
        let mut random = fastrand::Rng::with_seed(seed);
        let concurrency = random.usize(1..5);
        let most = random.u64(concurrency as u64 + 1..30);
        // What is declared allows ten times as much as there is.
        let most_declared = u32::try_from(most * 10).unwrap();
        let mut budget = Budget::new(&limits(most_declared, PER_MS, concurrency), 0);
        let (mut used, mut window, mut refused, mut served) = (0, 0, 0, 0);
        let mut flying: Vec<Flying> = Vec::new();
        for now in 0..20_000_u64 {
            if now / PER_MS != window {
                (window, used) = (now / PER_MS, 0);
                // Somebody else has called at once.
                used += random.u64(..most / 2 + 1);
            }
            for call in flying.iter_mut().filter(|call| call.served_ms == now) {
                served += 1;
                if used >= most {
                    refused += 1;
                } else {
                    used += 1;
                }
                let holds_ms = (window + 1) * PER_MS - now;
                call.told = Some(Tell { left: most - used, holds_ms, restores_per_ms: 0.0 });
            }
            let mut kept = Vec::new();
            for call in flying.drain(..) {
                match call.told {
                    Some(tell) if call.answered_ms <= now => {
                        // What is told holds until the side's window ends, as a header says it.
                        let holds_ms = tell.holds_ms.saturating_sub(now - call.served_ms);
                        budget.tell(now, call.pass, Counts::Requests, Tell { holds_ms, ..tell });
                        budget.finish(call.pass);
                    }
                    _ => kept.push(call),
                }
            }
            flying = kept;
            while let Grant::Go(pass) = budget.ask(now, &plain()) {
                let served_ms = now + random.u64(1..20);
                let answered_ms = served_ms + random.u64(0..40);
                flying.push(Flying { pass, served_ms, answered_ms, told: None });
            }
        }
        // In each window the first calls, before anything is told of it, may meet what others
        // have left: at most as many as fly at once.
        let unknowable = (window + 1) * concurrency as u64;
        assert!(refused <= unknowable, "seed {seed}: {refused} of {served} refused");
        assert!(served >= 10, "seed {seed}: only {served} calls");
        heeded += u64::from(refused < served / 4);
    }
    assert!(heeded > 70, "{heeded} of 80 runs were seldom refused");
}

#[test]
fn answers_out_of_order_lower_only() {
    let tell = |left: u64, holds_ms: u64| Tell { left, holds_ms, restores_per_ms: 0.0 };
    let mut budget = Budget::new(&Limits { concurrency: 9, ..Limits::default() }, 0);
    let passes: Vec<Pass> = (0..3).map(|_| go(budget.ask(0, &plain()))).collect();
    // The last one is answered first; two are under way, which it may not have counted.
    budget.tell(10, passes[2], Counts::Requests, tell(5, 1_000));
    budget.finish(passes[2]);
    budget.tell(11, passes[0], Counts::Requests, tell(100, 1_000));
    budget.finish(passes[0]);
    for _ in 0..3 {
        go(budget.ask(12, &plain()));
    }
    assert_eq!(budget.ask(12, &plain()), Grant::At(1_010), "three of five, and two were under way");
    budget.tell(13, passes[1], Counts::Requests, tell(0, 5_000));
    assert_eq!(budget.ask(13, &plain()), Grant::At(1_010));
    // A call after it knows better.
    let later = go(budget.ask(1_010, &plain()));
    budget.tell(1_020, later, Counts::Requests, tell(50, 1_000));
    assert!(matches!(budget.ask(1_020, &plain()), Grant::Go(_)));
}

#[test]
fn what_is_told_never_raises_what_is_declared_and_absurd_numbers_are_bounded() {
    for (left, holds_ms, restores_per_ms) in [
        (u64::MAX, u64::MAX, f64::MAX),
        (u64::MAX, 0, f64::INFINITY),
        (0, u64::MAX, f64::NAN),
        (0, u64::MAX, f64::NEG_INFINITY),
        (0, 0, 0.0),
    ] {
        let mut budget = Budget::new(&limits(10, 1_000, 1), 0);
        let (mut now, mut made) = (0, Vec::new());
        while made.len() < 200 {
            match budget.ask(now, &plain()) {
                Grant::Go(pass) => {
                    made.push((now, 1));
                    budget.tell(now, pass, Counts::Requests, Tell { left, holds_ms, restores_per_ms });
                    budget.correct(pass, u32::MAX);
                    budget.finish(pass);
                }
                Grant::At(at) => {
                    assert!(at > now && at <= now + 24 * 60 * 60 * 1_000, "{at} after {now}");
                    now = at;
                }
                Grant::WhenOneEnds | Grant::ClassAt(_) | Grant::WhenOneOfClassEnds => {
                    unreachable!("each call ends at once")
                }
            }
        }
        assert!(fullest(&made, 1_000) <= 10, "{left} {holds_ms} {restores_per_ms}");
    }
}

/// As a leaky bucket of 1,000 points that loses 50 a second tells it.
#[test]
fn what_comes_back_meanwhile_is_counted() {
    let tell = Tell { left: 30, holds_ms: 60_000, restores_per_ms: 0.05 };
    let limits = Limits { windows: vec![points(1_000, 20_000)], dearest: 100, ..Limits::default() };
    let mut budget = Budget::new(&limits, 0);
    let pass = go(budget.ask(100_000, &of("any", 100)));
    budget.tell(100_000, pass, Counts::Points, tell);
    budget.finish(pass);
    let Grant::At(at) = budget.ask(100_000, &of("any", 100)) else { panic!("30 are left") };
    assert!((101_400..=102_300).contains(&at), "{at}: 70 points at 50 a second, and what is declared");
}

#[test]
fn a_call_that_cost_more_is_owed_and_one_that_cost_less_comes_back() {
    let limits = Limits { windows: vec![points(100, 1_000)], dearest: 10, ..Limits::default() };
    let mut budget = Budget::new(&limits, 0);
    let wait = |budget: &mut Budget, actual: u32| {
        let pass = go(budget.ask(100_000, &of("any", 10)));
        budget.correct(pass, actual);
        budget.finish(pass);
        match budget.ask(100_000, &of("any", 10)) {
            Grant::At(at) => at - 100_000,
            Grant::Go(pass) => {
                budget.finish(pass);
                0
            }
            Grant::WhenOneEnds | Grant::ClassAt(_) | Grant::WhenOneOfClassEnds => {
                unreachable!("each call ends at once")
            }
        }
    };
    assert_eq!(wait(&mut budget.clone(), 0), 0);
    assert_eq!(wait(&mut budget.clone(), 10), 110, "ten points at 91 a second");
    assert_eq!(wait(&mut budget.clone(), 50), 550);
    assert!(wait(&mut budget, u32::MAX) <= 1_210, "at most a window and a call are owed");
}

#[test]
fn a_day_ends_at_its_midnight_and_what_is_left_of_it_may_be_used() {
    let zone: Tz = "America/New_York".parse().unwrap();
    let window = Window { resets: Some(zone), ..Window::new(100, 86_400_000) };
    let limits = Limits { windows: vec![window], ..Limits::default() };
    for seed in seeds() {
        let mut random = fastrand::Rng::with_seed(seed);
        // Clocks are put forward on the eighth of March, and back on the first of November.
        let month = if random.bool() { "2026-03-06" } else { "2026-10-30" };
        let start: DateTime<Utc> = format!("{month}T{:02}:00:00Z", random.u8(..24)).parse().unwrap();
        let mut budget = Budget::new(&limits, 0);
        assert!(budget.has_calendar());
        let mut of_day = std::collections::BTreeMap::<chrono::NaiveDate, u32>::new();
        let (mut now, end, mut latest) = (0_u64, 5 * 86_400_000, start - chrono::Duration::hours(2));
        while now < end {
            let wall = start + chrono::Duration::milliseconds(i64::try_from(now).unwrap());
            // Put back by an hour now and then: no day begins twice.
            let told = if random.u8(..10) == 0 { wall - chrono::Duration::hours(1) } else { wall };
            budget.tell_wall(now, told);
            latest = told.max(latest);
            match budget.ask(now, &plain()) {
                Grant::Go(pass) => {
                    *of_day.entry(latest.with_timezone(&zone).date_naive()).or_default() += 1;
                    budget.finish(pass);
                    now += if random.u8(..60) == 0 { random.u64(..10 * 3_600_000) } else { random.u64(..60_000) };
                }
                Grant::At(at) => now = at,
                Grant::WhenOneEnds | Grant::ClassAt(_) | Grant::WhenOneOfClassEnds => {
                    unreachable!("each call ends at once")
                }
            }
        }
        assert!(of_day.values().all(|made| *made <= 100), "seed {seed}: {of_day:?}");
        assert!(of_day.values().any(|made| *made > 60), "seed {seed}: {of_day:?}");
    }
    // Nothing until the evening, then nearly all of it at once.
    let mut budget = Budget::new(&limits, 0);
    let start: DateTime<Utc> = "2026-06-01T03:00:00Z".parse().unwrap();
    budget.tell_wall(0, start);
    budget.tell_wall(2 * 3_600_000, start + chrono::Duration::hours(2));
    let evening_ms = 24 * 3_600_000;
    budget.tell_wall(evening_ms, start + chrono::Duration::hours(24));
    let mut made = 0;
    while let Grant::Go(pass) = budget.ask(evening_ms, &plain()) {
        budget.finish(pass);
        made += 1;
    }
    assert!((80..=100).contains(&made), "{made}");
}

#[test]
fn one_of_its_kind_at_a_time_and_not_for_ever() {
    let mut budget = Budget::new(&Limits::default(), 0);
    assert_eq!(budget.hold("scroll", 1, 0, 60_000), Ok(()));
    assert_eq!(budget.hold("scroll", 2, 10, 60_000), Err(60_000));
    assert_eq!(budget.hold("scroll", 1, 20_000, 60_000), Ok(()), "it goes on");
    assert_eq!(budget.hold("scroll", 2, 60_000, 60_000), Err(80_000));
    budget.release("scroll", 2);
    assert_eq!(budget.hold("scroll", 2, 70_000, 60_000), Err(80_000), "only its holder ends it");
    assert_eq!(budget.hold("export", 2, 70_000, 60_000), Ok(()));
    assert_eq!(budget.hold("scroll", 2, 80_000, 60_000), Ok(()), "the side has forgotten it");
    budget.release("scroll", 2);
    assert_eq!(budget.hold("scroll", 3, 80_001, 60_000), Ok(()));
}
