use super::*;
use crate::connectors::memory::MemoryApp;
use crate::model::budget::Limits;
use crate::model::direction::Direction;
use crate::model::document::{Problems, Table, parse};
use crate::model::value::Value;
use crate::model::work::QuarantineKind;
use crate::reconcile::mapping::Mapping;
use crate::reconcile::spec::MappingSpec;

const MAPPING: &str = r#"
match = ["email"]
[fields]
email = { remote = "properties.email", transform = "lowercase" }
name  = "properties.name"
"#;

fn mapping() -> Mapping {
    let problems = Problems::new();
    let document = parse(MAPPING, &problems);
    let top = Table::top(&document, &problems);
    let spec = MappingSpec::parse(&top).unwrap();
    top.finish();
    Mapping::compile(&spec, &problems, Direction::TwoWay).unwrap()
}

fn spec(apps: &PerSide<MemoryApp>) -> ConnectionSpec {
    let sync = SyncSpec {
        name: "contacts".into(),
        objects: PerSide { app: "contacts".into(), remote: "people".into() },
        direction: Direction::TwoWay,
        mapping: mapping(),
        initial: None,
        tie: Side::App,
        schedule: None,
        schemas: crate::reconcile::schema::Schemas::default(),
    };
    ConnectionSpec {
        id: "acme".into(),
        scope: None,
        connectors: PerSide { app: Arc::new(apps.app.factory()), remote: Arc::new(apps.remote.factory()) },
        limits: PerSide { app: Limits::default(), remote: Limits::default() },
        shared_app_calls: None,
        syncs: vec![Arc::new(sync)],
        webhook: None,
        paused: false,
    }
}

/// Two alike, two that differ, one only here, two only there, and one address twice.
fn apps() -> PerSide<MemoryApp> {
    let apps = PerSide { app: MemoryApp::new(1), remote: MemoryApp::new(2) };
    let put = |id: &str, email: &str, name: &str| {
        let json = format!(r#"{{"email":"{email}","name":"{name}"}}"#);
        apps.app.put("contacts", id, Value::from_json(&json).unwrap());
    };
    let put_remote = |id: &str, email: &str, name: &str| {
        let json = format!(r#"{{"properties":{{"email":"{email}","name":"{name}"}}}}"#);
        apps.remote.put("people", id, Value::from_json(&json).unwrap());
    };
    for (email, here, there) in [("a", "Ada", "Ada"), ("b", "Bo", "Bo"), ("c", "Cy", "Cyrus"), ("d", "Di", "Diana")] {
        put(&format!("app-{email}"), &format!("{email}@x.y"), here);
        put_remote(&format!("crm-{email}"), &format!("{}@X.Y", email.to_uppercase()), there);
    }
    put("app-e", "e@x.y", "Eve");
    put_remote("crm-f", "f@x.y", "Fay");
    put_remote("crm-g", "g@x.y", "Gil");
    put("app-h1", "h@x.y", "Hal");
    put("app-h2", "h@x.y", "Hal again");
    put_remote("crm-h", "h@x.y", "Hal");
    apps
}

fn in_system(test: impl Future<Output = ()>) {
    actix::System::new().block_on(test);
}

#[test]
fn a_plan_says_what_the_run_then_does_and_writes_nothing() {
    in_system(async {
        let apps = apps();
        let store = Store::in_memory(StoreOptions::inline()).unwrap();
        let folder = TemporaryFolder::create_in(&std::env::temp_dir(), "plan-test").unwrap();
        let before = dumped(&store);
        let planned = plan(&store, folder.path(), |_| vec![spec(&apps)], &PlanRequest::default()).await.unwrap();
        assert_eq!((apps.app.writes(), apps.remote.writes()), (0, 0));
        assert_eq!(dumped(&store), before, "the state is as it was");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "the copy is gone");

        let [sync] = planned.syncs.as_slice() else { panic!("{planned:?}") };
        assert_eq!(sync.error, None);
        let names = |side: Side| sync.create[side].shown.iter().map(|new| new.id.to_string()).collect::<Vec<_>>();
        assert_eq!(names(Side::App), ["(new 1)", "(new 2)"]);
        let change = &sync.update.remote.shown[0].fields;
        let wanted = FieldDifference {
            path: "properties.name".into(),
            old: Some("\"Cyrus\"".into()),
            new: Some("\"Cy\"".into()),
        };
        assert!(sync.update.remote.shown.iter().any(|update| update.fields == [wanted.clone()]), "{change:?}");
        assert!(sync.ambiguous.shown.iter().all(|row| row.held.kind == QuarantineKind::Ambiguous));
        assert!(sync.ambiguous.count > 0 && !planned.is_quiet());

        let kernel = Kernel::builder().store(store).schedules(false).connection(spec(&apps)).start().await.unwrap();
        let report = kernel.sync_now(&"acme".into(), None).await.unwrap();
        kernel.shutdown().await;
        let counts = |planned: &PlannedSync| {
            PerSide::from_fn(|side| {
                (planned.create[side].count, planned.update[side].count, planned.delete[side].count)
            })
        };
        let totals = &report.totals;
        let done = PerSide::from_fn(|side| (totals.created[side], totals.updated[side], totals.deleted[side]));
        assert_eq!(counts(sync), done);
        assert_eq!(counts(sync).app, (2, 0, 0));
        assert_eq!(counts(sync).remote, (1, 2, 0));
        assert_eq!((sync.totals.matched, sync.ambiguous.count), (totals.matched, report.quarantined));
    });
}

#[test]
fn a_later_plan_starts_from_the_state_and_shows_deletions() {
    in_system(async {
        let apps = apps();
        apps.app.delete("contacts", "app-h2");
        let store = Store::in_memory(StoreOptions::inline()).unwrap();
        let folder = TemporaryFolder::create_in(&std::env::temp_dir(), "plan-test").unwrap();
        let run =
            Kernel::builder().store(store.clone()).schedules(false).connection(spec(&apps)).start().await.unwrap();
        run.sync_now(&"acme".into(), None).await.unwrap();
        let request = PlanRequest { shown: 0, ..PlanRequest::default() };
        let quiet = plan(&store, folder.path(), |_| vec![spec(&apps)], &request).await.unwrap();
        assert!(quiet.is_quiet(), "{quiet:?}");
        apps.remote.delete("people", "crm-a");
        let planned = plan(&store, folder.path(), |_| vec![spec(&apps)], &request).await.unwrap();
        assert_eq!((planned.syncs[0].delete.app.count, planned.syncs[0].delete.app.shown.len()), (1, 0));
        assert!(apps.app.get("contacts", "app-a").is_some(), "nothing was deleted");
        run.shutdown().await;
    });
}

#[test]
fn what_is_not_there_cannot_be_planned() {
    in_system(async {
        let apps = apps();
        let store = Store::in_memory(StoreOptions::inline()).unwrap();
        let folder = TemporaryFolder::create_in(&std::env::temp_dir(), "plan-test").unwrap();
        for (connection, sync) in [(Some("nobody"), None), (None, Some("nothing"))] {
            let request = PlanRequest { connection: connection.map(Into::into), sync: sync.map(Into::into), shown: 1 };
            let refused = plan(&store, folder.path(), |_| vec![spec(&apps)], &request).await.unwrap_err();
            assert!(matches!(&refused, PlanError::Unknown(message) if message.contains("'no")), "{refused}");
        }
    });
}

fn dumped(store: &Store) -> String {
    let mut text = String::new();
    store.dump(&mut text).unwrap();
    text
}
