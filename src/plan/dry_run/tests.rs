use super::*;
use crate::connectors::memory::MemoryApp;
use crate::model::budget::Limits;
use crate::model::write::Delete;

fn value(json: &str) -> Value {
    Value::from_json(json).unwrap()
}

struct Rig {
    app: MemoryApp,
    connector: Box<dyn Connector>,
    recorder: Arc<Recorder>,
    calls: Calls,
    object: ObjectName,
}

fn rig() -> Rig {
    let app = MemoryApp::new(1);
    app.put("contacts", "1", value(r#"{"email":"a@b.c","name":"Ada","note":"x"}"#));
    app.put("contacts", "2", value(r#"{"email":"d@e.f","name":"Dan"}"#));
    let recorder = Arc::new(Recorder::default());
    let factory = DryFactory::new(Arc::new(app.factory()), Side::Remote, Arc::clone(&recorder));
    let connector = factory.make(&ConnectorScope { scope: None }).unwrap();
    Rig { app, connector, recorder, calls: Calls::new(&Limits::default()), object: "contacts".into() }
}

impl Rig {
    async fn write(&self, write: Write) -> Outcome {
        self.connector.write(&self.calls, &self.object, vec![write]).await.pop().unwrap()
    }

    async fn read(&self, read: Read) -> Vec<(String, Option<String>)> {
        let page = self.connector.read(&self.calls, &self.object, read).await.unwrap();
        let told = |entry: Entry| match entry {
            Entry::Live(record) => (record.id.to_string(), Some(record.body.as_str().to_owned())),
            Entry::Deleted { id, .. } => (id.to_string(), None),
            Entry::Bad(bad) => panic!("{bad:?}"),
        };
        let mut entries: Vec<_> = page.entries.into_iter().map(told).collect();
        entries.sort();
        entries
    }
}

fn create(json: &str) -> Write {
    Write::Create(Create { record: value(json), idempotency_key: "k".into(), external_id: "x-1".into() })
}

fn update(id: &str, changes: &[(&str, Option<&str>)]) -> Write {
    let change = |(path, json): &(&str, Option<&str>)| Change { path: path.parse().unwrap(), value: json.map(value) };
    let changes = changes.iter().map(change).collect();
    Write::Update(Update { id: id.into(), expected: None, current: None, changes })
}

#[tokio::test]
async fn nothing_reaches_the_real_side_and_everything_reads_as_if_it_had() {
    let rig = rig();
    let before = rig.app.all("contacts");
    let Outcome::Written(made) = rig.write(create(r#"{"email":"n@e.w"}"#)).await else { panic!() };
    assert_eq!(made.id.as_str(), "(new 1)");
    let Outcome::Written(changed) = rig.write(update("1", &[("name", Some("\"Ada L\"")), ("note", None)])).await else {
        panic!()
    };
    assert_ne!(changed.version, None);
    assert_eq!(rig.write(Write::Delete(Delete { id: "2".into(), expected: None })).await, Outcome::Deleted);
    assert_eq!((rig.app.all("contacts"), rig.app.writes()), (before, 0), "the real side is as it was");

    let ada = ("1".to_owned(), Some(r#"{"email":"a@b.c","name":"Ada L"}"#.to_owned()));
    let new = ("(new 1)".to_owned(), Some(r#"{"email":"n@e.w"}"#.to_owned()));
    let ids = ["1", "2", "(new 1)", "9"].map(RecordId::from).to_vec();
    let gone = |id: &str| (id.to_owned(), None);
    assert_eq!(rig.read(Read::Ids(ids)).await, [new.clone(), ada.clone(), gone("2"), gone("9")]);
    assert_eq!(rig.read(Read::All { page: None }).await, [ada.clone(), gone("2")]);
    assert_eq!(rig.read(Read::ExternalId("x-1".into())).await, std::slice::from_ref(&new));
    let by_email = |email: &str| Read::Find(vec![(Path::key("email"), Value::string(email))]);
    rig.app.set_capabilities(
        "contacts",
        Capabilities { find: vec![Path::key("email")], ..rig.app.capabilities("contacts") },
    );
    assert_eq!(rig.read(by_email("n@e.w")).await, [new]);
    assert_eq!(rig.read(by_email("a@b.c")).await, [ada], "once, although both sides of the overlay know it");

    let effects: Vec<Effect> = rig.recorder.take().into_iter().map(|recorded| recorded.effect).collect();
    let difference = |path: &str, old: &str, new: Option<&str>| FieldDifference {
        path: path.into(),
        old: Some(old.into()),
        new: new.map(str::to_owned),
    };
    let fields = vec![difference("name", "\"Ada\"", Some("\"Ada L\"")), difference("note", "\"x\"", None)];
    assert_eq!(
        effects,
        [
            Effect::Create(PlannedCreate { id: "(new 1)".into(), record: r#"{"email":"n@e.w"}"#.into() }),
            Effect::Update(PlannedUpdate { id: "1".into(), fields }),
            Effect::Delete("2".into()),
        ]
    );
}

#[tokio::test]
async fn what_is_not_there_cannot_be_updated() {
    let rig = rig();
    assert_eq!(rig.write(update("9", &[("name", Some("1"))])).await, Outcome::Missing);
    rig.write(Write::Delete(Delete { id: "1".into(), expected: None })).await;
    assert_eq!(rig.write(update("1", &[("name", Some("1"))])).await, Outcome::Missing);
}
