use std::sync::Arc;

use super::*;
use crate::kernel::Kernel;
use crate::plan::PlanRequest;
use crate::store::{Store, StoreOptions};
use crate::temporary::TemporaryFolder;

/// A kernel without connections is enough: what a connection answers is told in
/// `tests/it` and `tests/cli`.
#[test]
fn an_operator_reaches_the_kernel_and_is_told_what_does_not_exist() {
    actix::System::new().block_on(async {
        let folder = TemporaryFolder::create_in(&std::env::temp_dir(), "c").unwrap();
        let state = folder.path().join("x.redb");
        assert!(ControlClient::find(&state).is_none(), "nobody is there yet");
        let store = Store::open(&state, StoreOptions::default()).unwrap();
        let kernel = Kernel::builder().store(store.clone()).start().await.unwrap();
        let control = Control::start(kernel.clone(), &state, Arc::new(|_| Vec::new()), None).unwrap();
        let client = ControlClient::find(&state).unwrap();

        let status = client.status().await.unwrap();
        assert!(status.running && status.connections.is_empty() && status.state.ends_with("x.redb"));
        let mut text = String::new();
        store.dump(&mut text).unwrap();
        assert_eq!(client.dump().await.unwrap(), text);
        assert_eq!(client.sync(&SyncRequest::default()).await.unwrap(), SyncAnswer::default());
        assert!(client.plan(&PlanRequest::default()).await.unwrap().syncs.is_empty());

        let nobody = || ConnectionId::from("nobody");
        let request = SyncRequest { connection: Some(nobody()), ..SyncRequest::default() };
        let record = RecordRequest { connection: nobody(), sync: "s".into(), side: Side::App, record: "1".into() };
        for refused in [
            client.sync(&request).await.unwrap_err(),
            client.record(&record).await.unwrap_err(),
            client.set_paused(nobody(), true).await.unwrap_err(),
            client.plan(&PlanRequest { connection: Some(nobody()), ..PlanRequest::default() }).await.unwrap_err(),
        ] {
            assert!(matches!(&refused, ControlError::Unknown(message) if message.contains("'nobody'")), "{refused}");
        }

        let second = Control::start(kernel.clone(), &state, Arc::new(|_| Vec::new()), None).unwrap_err();
        assert!(second.to_string().contains("another kernel answers"), "{second}");
        kernel.shutdown().await;
        control.stop().await;
        assert!(!socket_path(&state).exists() && ControlClient::find(&state).is_none());
    });
}

#[test]
fn names_that_do_not_exist_are_told_with_the_nearest() {
    for (known, told) in [
        (vec!["acme", "globex"], "there is no connection 'acne'; did you mean 'acme'?"),
        (vec!["zz", "yy"], "there is no connection 'acne'; there is: yy, zz"),
        (vec![], "there is no connection 'acne'"),
    ] {
        assert_eq!(unknown("connection", "acne", known.into_iter()), told);
    }
}
