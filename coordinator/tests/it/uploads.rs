//! Room for blobs: quotas that hold for uploads side by side, and uploads that announce no length.

use reqwest::{Body, Method, Response, StatusCode};
use tallymill_protocol::Digest;

use crate::world::{Person, World, problem};

const SIZE: u64 = 1_000;

fn bytes(n: u8) -> Vec<u8> {
    vec![n; usize::try_from(SIZE).unwrap()]
}

async fn put(world: &World, who: &Person, bytes: Vec<u8>) -> Response {
    let path = format!("/api/v1/blobs/{}", Digest::of(&bytes));
    world.as_person(who, Method::PUT, &path, bytes).await
}

/// A world in which an account may store three blobs.
async fn three() -> World {
    World::start_with(|options| options.bounds.account_bytes = 3 * SIZE + SIZE / 2).await
}

#[tokio::test]
async fn uploads_side_by_side_never_pass_the_quota() {
    let world = three().await;
    let (payer, other) = (world.person(2, 0).await, world.person(3, 0).await);
    let uploads = (0..12).map(|n| put(&world, &payer, bytes(n)));
    let answers = futures_util::future::join_all(uploads).await;
    let (stored, refused): (Vec<Response>, Vec<Response>) =
        answers.into_iter().partition(|answer| answer.status() == StatusCode::CREATED);
    assert_eq!((stored.len(), refused.len()), (3, 9));
    for answer in refused {
        let told = problem(answer, 507).await;
        assert_eq!(told["limit"], (3 * SIZE + SIZE / 2).to_string());
        assert!(told["next"].as_str().unwrap().contains("operator"), "{told}");
    }
    problem(put(&world, &payer, bytes(99)).await, 507).await;
    assert_eq!(put(&world, &payer, vec![1; 500]).await.status(), 201, "what is left can be used");
    assert_eq!(put(&world, &other, bytes(98)).await.status(), 201, "others have their own");
}

#[tokio::test]
async fn an_equal_blob_counts_once_and_a_failed_upload_not_at_all() {
    let world = three().await;
    let payer = world.person(2, 0).await;
    for n in [1, 1, 2, 2, 1] {
        assert_eq!(put(&world, &payer, bytes(n)).await.status(), 201);
    }
    for _ in 0..5 {
        let path = format!("/api/v1/blobs/{}", Digest::ZERO);
        let wrong = world.as_person(&payer, Method::PUT, &path, bytes(7)).await;
        assert_eq!(problem(wrong, 422).await["field"], "digest");
    }
    assert_eq!(put(&world, &payer, bytes(3)).await.status(), 201);
    problem(put(&world, &payer, bytes(4)).await, 507).await;
    assert_eq!(put(&world, &payer, bytes(3)).await.status(), 201, "a full account repeats itself");
}

#[tokio::test]
async fn an_upload_to_a_full_disk_is_507_and_goes_through_once_there_is_space() {
    let world = three().await;
    let payer = world.person(2, 0).await;
    let links = world.fill_disk(Digest::of(&bytes(1)));
    for _ in 0..4 {
        let told = problem(put(&world, &payer, bytes(1)).await, 507).await;
        assert_eq!(told["type"], "urn:tallymill:problem:disk-full");
        assert!(told["next"].as_str().unwrap().contains("operator"), "{told}");
    }
    let path = format!("/api/v1/blobs/{}", Digest::of(&bytes(1)));
    problem(world.get(&payer, &path).await, 404).await;
    links.iter().for_each(|link| drop(std::fs::remove_file(link)));
    // What did not fit takes no room of the account.
    for n in 1..=3 {
        assert_eq!(put(&world, &payer, bytes(n)).await.status(), 201, "{n}");
    }
}

#[tokio::test]
async fn an_upload_without_a_body_is_the_empty_blob() {
    let world = World::start().await;
    let payer = world.person(2, 0).await;
    let upload = |digest| {
        let path = format!("/api/v1/blobs/{digest}");
        world.call(Method::PUT, &path).bearer_auth(&payer.token).send()
    };
    assert_eq!(upload(Digest::of(b"")).await.unwrap().status(), 201);
    let told = problem(upload(Digest::of(b"x")).await.unwrap(), 422).await;
    assert_eq!(told["field"], "digest");
}

#[tokio::test]
async fn an_upload_without_a_length_is_411_and_a_long_one_is_refused_before_its_bytes() {
    let world = World::start().await;
    let payer = world.person(2, 0).await;
    let path = format!("/api/v1/blobs/{}", Digest::of(b"x"));
    let put = |body| world.call(Method::PUT, &path).bearer_auth(&payer.token).body(body);
    let parts = futures_util::stream::iter([Ok::<_, std::io::Error>("x")]);
    let told = problem(put(Body::wrap_stream(parts)).send().await.unwrap(), 411).await;
    assert_eq!(told["field"], "content-length");
    assert_eq!(put(Body::from("x")).send().await.unwrap().status(), 201);
    let endless =
        Body::wrap_stream(futures_util::stream::pending::<Result<&str, std::io::Error>>());
    let long = put(endless).header("content-length", "4097");
    assert_eq!(problem(long.send().await.unwrap(), 413).await["limit"], "4096");
}
