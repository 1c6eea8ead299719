//! Stripe's rules, each as its documents tell it.

use serde_json::json;

use super::super::Dialect;
use super::super::testing::{Face, Got, START_MS};
use super::*;
use crate::connectors::webhook::signature::{Delivery, Scheme};
use crate::sandbox::{Webhook, webhook_secret};

const FORM: (&str, &str) = ("Content-Type", "application/x-www-form-urlencoded");
const ONE: &str = "/v1/customers/cus_00000000000101";

fn face() -> Face {
    Face::new(Dialect::Stripe)
}

async fn post(face: &Face, path: &str, form: &str) -> Got {
    face.send("POST", path, &[FORM], form).await
}

async fn keyed(face: &Face, path: &str, form: &str, key: &str) -> Got {
    face.send("POST", path, &[FORM, ("Idempotency-Key", key)], form).await
}

fn told(got: &Got) -> (u16, String, String) {
    let text = |key: &str| got.json["error"][key].as_str().unwrap_or_default().to_owned();
    (got.status, text("code"), text("param"))
}

fn ids(got: &Got) -> Vec<u64> {
    let data = got.json["data"].as_array().unwrap();
    data.iter().map(|one| Stripe.id_of(one["id"].as_str().unwrap()).unwrap()).collect()
}

#[actix_web::test]
async fn forms_set_and_empty_texts_unset() {
    let face = face();
    let made = post(
        &face,
        "/v1/customers",
        "email=Ada%40X.io&name=Ada&metadata[plan]=pro&metadata[seat]=7&address[city]=Oslo",
    )
    .await;
    assert_eq!((made.status, &made.json["email"], &made.json["object"]), (200, &json!("Ada@X.io"), &json!("customer")));
    assert_eq!(
        (&made.json["metadata"], &made.json["address"]),
        (&json!({ "plan": "pro", "seat": "7" }), &json!({ "city": "Oslo" }))
    );
    assert_eq!(made.json["created"], START_MS / 1_000);
    let cleared = post(&face, ONE, "name=&metadata[seat]=&metadata[tier]=a&address=").await;
    assert_eq!((&cleared.json["name"], &cleared.json["address"]), (&Json::Null, &Json::Null));
    assert_eq!(cleared.json["metadata"], json!({ "plan": "pro", "tier": "a" }));
    assert_eq!(post(&face, ONE, "metadata=").await.json["metadata"], json!({}));
}

#[actix_web::test]
async fn what_is_wrong_is_told_with_its_code_and_parameter() {
    let face = face();
    post(&face, "/v1/customers", "email=a@x.io").await;
    let owned = |status: u16, code: &str, param: &str| (status, code.to_owned(), param.to_owned());
    let long = format!("phone={}", "1".repeat(21));
    for (form, want) in [
        ("nickname=x", owned(400, "parameter_unknown", "nickname")),
        ("email=nobody", owned(400, "email_invalid", "email")),
        (&long, owned(400, "", "phone")),
        ("name[a]=b", owned(400, "", "name")),
        ("metadata[a][b]=c", owned(400, "", "metadata[a]")),
        ("a[b=c", owned(400, "", "a[b")),
    ] {
        assert_eq!(told(&post(&face, ONE, form).await), want, "{form}");
    }
    let json = face.json("POST", ONE, &json!({ "name": "x" })).await;
    assert_eq!((json.status, &json.json["error"]["type"]), (400, &json!("invalid_request_error")));
    assert_eq!(told(&face.get("/v1/customers/cus_1").await), owned(404, "resource_missing", "id"));
    assert_eq!(told(&face.get("/v1/customers?limit=101").await), owned(400, "", "limit"));
    assert_eq!(told(&face.get("/v1/customers?since=1").await), owned(400, "parameter_unknown", "since"));
    let both = face.get("/v1/customers?starting_after=a&ending_before=b").await;
    assert_eq!(both.status, 400);
    let stranger = face.send("GET", "/v1/customers", &[("Authorization", "Bearer nobody")], "").await;
    assert_eq!((stranger.status, &stranger.json["error"]["type"]), (401, &json!("invalid_request_error")));
}

#[actix_web::test]
async fn lists_are_newest_first_and_go_on_behind_an_id() {
    let face = face();
    for n in 0..5 {
        post(&face, "/v1/customers", &format!("email=p{n}@x.io")).await;
        face.pass_ms(1_000);
    }
    let first = face.get("/v1/customers?limit=2").await;
    assert_eq!((ids(&first), &first.json["has_more"]), (vec![105, 104], &json!(true)));
    let after = |id: u64| format!("/v1/customers?limit=2&starting_after={}", Stripe.id_text(id));
    let rest = face.get(&after(103)).await;
    assert_eq!((ids(&rest), &rest.json["has_more"]), (vec![102, 101], &json!(false)));
    let back = face.get(&format!("/v1/customers?limit=2&ending_before={}", Stripe.id_text(102))).await;
    assert_eq!((ids(&back), &back.json["has_more"]), (vec![104, 103], &json!(true)));
    // Whoever goes on behind one that is gone by now misses nothing.
    face.send("DELETE", &format!("/v1/customers/{}", Stripe.id_text(103)), &[], "").await;
    assert_eq!(ids(&face.get(&after(103)).await), [102, 101]);
    assert_eq!(ids(&face.get("/v1/customers?email=p1@x.io").await), [102]);
    assert_eq!(ids(&face.get("/v1/customers?email=P1@x.io").await), Vec::<u64>::new());
    let second = START_MS / 1_000 + 1;
    assert_eq!(
        ids(&face.get(&format!("/v1/customers?created[gte]={second}&created[lt]={}", second + 3)).await),
        [104, 102]
    );
}

#[actix_web::test]
async fn a_deleted_one_is_a_stub() {
    let face = face();
    post(&face, "/v1/customers", "email=a@x.io").await;
    let stub = json!({ "id": "cus_00000000000101", "object": "customer", "deleted": true });
    assert_eq!(face.send("DELETE", ONE, &[], "").await.json, stub);
    assert_eq!((face.get(ONE).await.status, face.get(ONE).await.json), (200, stub));
    assert_eq!(face.send("DELETE", ONE, &[], "").await.status, 404);
    assert_eq!(post(&face, ONE, "name=x").await.status, 404);
    assert_eq!(ids(&face.get("/v1/customers").await), Vec::<u64>::new());
}

#[actix_web::test]
async fn a_key_gives_the_same_answer_again_and_to_another_body_an_error() {
    let face = face();
    let first = keyed(&face, "/v1/customers", "email=a@x.io", "k1").await;
    let again = keyed(&face, "/v1/customers", "email=a@x.io", "k1").await;
    assert_eq!((again.status, &again.json, again.headers["idempotent-replayed"].as_str()), (200, &first.json, "true"));
    let other = keyed(&face, "/v1/customers", "email=b@x.io", "k1").await;
    assert_eq!((other.status, &other.json["error"]["type"]), (400, &json!("idempotency_error")));
    // What was refused before anything was done is not remembered.
    assert_eq!(keyed(&face, "/v1/customers", "email=nobody", "k2").await.status, 400);
    assert_eq!(keyed(&face, "/v1/customers", "email=b@x.io", "k2").await.status, 200);
    face.pass_ms(crate::sandbox::KEY_LIFE_MS);
    assert_ne!(keyed(&face, "/v1/customers", "email=a@x.io", "k1").await.json["id"], first.json["id"]);
}

#[actix_web::test]
async fn events_go_back_thirty_days_and_show_what_was_then() {
    let face = face();
    post(&face, "/v1/customers", "email=a@x.io").await;
    face.pass_ms(1_500);
    post(&face, ONE, "name=Ada").await;
    post(&face, ONE, "name=Ada").await;
    face.pass_ms(1_500);
    face.send("DELETE", ONE, &[], "").await;
    let types = |got: &Got| {
        let data = got.json["data"].as_array().unwrap().clone();
        data.iter().map(|event| event["type"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let all = face.get("/v1/events").await;
    assert_eq!(
        types(&all),
        ["customer.deleted", "customer.updated", "customer.created"],
        "an update that changes nothing is none"
    );
    assert_eq!(all.json["data"][2]["data"]["object"]["name"], Json::Null);
    assert_eq!(all.json["data"][1]["data"]["previous_attributes"], json!({ "name": null }));
    assert_eq!(all.json["data"][1]["created"], START_MS / 1_000 + 1);
    let some = face.get("/v1/events?types[0]=customer.created&types[]=customer.deleted").await;
    assert_eq!(types(&some), ["customer.deleted", "customer.created"]);
    assert_eq!(types(&face.get("/v1/events?type=customer.*&limit=1").await), ["customer.deleted"]);
    assert_eq!(
        types(&face.get(&format!("/v1/events?created[gte]={}", START_MS / 1_000 + 3)).await),
        ["customer.deleted"]
    );
    let id = all.json["data"][1]["id"].as_str().unwrap();
    assert_eq!(types(&face.get(&format!("/v1/events?starting_after={id}")).await), ["customer.created"]);
    assert_eq!(face.get(&format!("/v1/events/{id}")).await.json["id"], id);
    face.pass_ms(events::REMEMBERED_MS - 3_000);
    assert_eq!(types(&face.get("/v1/events").await), ["customer.deleted", "customer.updated"]);
}

#[actix_web::test]
async fn too_many_are_refused_without_a_word_how_long() {
    let face = face();
    for _ in 0..25 {
        assert_eq!(face.get("/v1/customers").await.status, 200);
    }
    let got = face.get("/v1/customers").await;
    assert_eq!((told(&got).0, told(&got).1.as_str()), (429, "rate_limit"));
    assert!(!got.headers.contains_key("retry-after"));
    face.pass_ms(1_000);
    assert_eq!(face.get("/v1/customers").await.status, 200);
    let locked = Stripe.limited(Kind::Write, 0, RetryAfter::Seconds, 0);
    assert!(locked.status == 429 && String::from_utf8_lossy(&locked.body).contains("lock_timeout"));
}

#[actix_web::test]
async fn webhooks_are_the_events_signed_with_their_time() {
    let face = face();
    let url = "https://app.example.com/hook";
    face.sandbox.set_webhook("acme", Some(&Webhook::to(url))).unwrap();
    post(&face, "/v1/customers", "email=a@x.io").await;
    let kept = face.sandbox.take_kept();
    let event: Json = serde_json::from_slice(&kept[0].body).unwrap();
    assert_eq!(event, face.get("/v1/events").await.json["data"][0]);
    let headers: Vec<(String, String)> =
        kept[0].headers.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    let delivery = Delivery { method: "POST", url, headers: &headers, body: &kept[0].body };
    let scheme = Scheme::preset("stripe").unwrap();
    assert!(scheme.check(&[webhook_secret("acme").into()], &delivery, START_MS).is_ok());
    assert!(scheme.check(&["another".into()], &delivery, START_MS).is_err());
}
