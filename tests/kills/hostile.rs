//! Danger: whoever reaches the port where webhooks come in stops the program, or fills its
//! memory, without knowing any secret.
//!
//! The real binary, over sockets that no well-behaved client would write to. The limits in
//! time are real ones, and waited for.

use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::accepted::{CONNECTIONS, Desk, HOOK};
use crate::processes::PATIENCE;

/// What a body may have, in bytes.
const MOST_BODY_BYTES: u64 = 1024 * 1024;

/// How much more memory than a body the process may take: buffers grow by doubling, and the
/// allocator keeps what it once had.
const MEMORY_ROOM_BYTES: u64 = 16 * 1024 * 1024;

/// The limits in time of a request's headers and of its body, and how late a busy machine
/// may be with them.
const HEADERS_WITHIN: Duration = Duration::from_secs(5);
const BODY_WITHIN: Duration = Duration::from_secs(10);
const LATE: Duration = Duration::from_secs(20);

async fn connect(desk: &Desk) -> TcpStream {
    TcpStream::connect(desk.address()).await.expect("it listens")
}

fn head(rest: &str) -> String {
    format!("POST /webhooks/{HOOK} HTTP/1.1\r\nHost: localhost\r\nX-Hook-Token: t0ken-of-the-hook\r\n{rest}")
}

/// A webhook as it should be, on a connection of its own; the first line of its answer.
async fn deliver(desk: &Desk) -> String {
    let mut stream = connect(desk).await;
    let body = r#"{"type":"contacts.updated","data":{"id":"nobody"}}"#;
    let request = head(&format!("Content-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len()));
    stream.write_all(request.as_bytes()).await.expect("it reads");
    let answer = rest_of(&mut stream).await;
    answer.lines().next().unwrap_or_default().to_owned()
}

/// All that comes until the other side closes.
async fn rest_of(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    // A reset says the same as an end here.
    drop(timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("the connection is closed in time"));
    String::from_utf8_lossy(&answer).into_owned()
}

/// The most memory that the process has held so far, in bytes; where the system tells.
fn most_memory(desk: &Desk) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", desk.pid())).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kib| kib * 1024)
}

/// A body of a GiB that does not say so beforehand.
async fn endless_body(desk: &Desk) {
    assert_eq!(deliver(desk).await, "HTTP/1.1 200 OK");
    let before = most_memory(desk);
    let piece = [b"10000\r\n".as_slice(), &[b'a'; 0x1_0000], b"\r\n"].concat();
    // One that stops when it is answered, as it does before the body is through, and one
    // that sends it all whatever it is told.
    for heeds in [true, false] {
        let mut stream = connect(desk).await;
        stream.write_all(head("Transfer-Encoding: chunked\r\n\r\n").as_bytes()).await.expect("it reads");
        let (mut reads, mut writes) = stream.split();
        let mut answer = [0; 12];
        let answered = reads.read_exact(&mut answer);
        let sends = async {
            for _ in 0..1024 * MOST_BODY_BYTES / 0x1_0000 {
                if writes.write_all(&piece).await.is_err() {
                    break;
                }
                tokio::task::yield_now().await;
            }
        };
        if heeds {
            tokio::select! {
                read = answered => drop(read.expect("it is answered")),
                () = sends => panic!("a GiB was taken"),
            }
            assert_eq!(&answer, b"HTTP/1.1 413");
        } else {
            sends.await;
        }
        rest_of(&mut stream).await;
    }
    if let (Some(before), Some(after)) = (before, most_memory(desk)) {
        let more = after.saturating_sub(before);
        assert!(more <= MOST_BODY_BYTES + MEMORY_ROOM_BYTES, "{more} bytes of memory for one body");
    }
    assert_eq!(deliver(desk).await, "HTTP/1.1 200 OK");
}

/// Drips a text at a byte a second until the other side closes; how long that took.
async fn drip(mut stream: TcpStream, text: &str) -> Duration {
    let start = Instant::now();
    for byte in text.bytes().cycle() {
        if stream.write_all(&[byte]).await.is_err() {
            break;
        }
        let mut answer = [0; 1024];
        // Whatever it answers, it closes after that.
        match timeout(Duration::from_secs(1), stream.read(&mut answer)).await {
            Ok(Ok(0) | Err(_)) => break,
            Ok(Ok(_)) | Err(_) => {}
        }
        assert!(start.elapsed() < PATIENCE, "it is never closed");
    }
    start.elapsed()
}

/// Headers that never end.
async fn drip_headers(desk: &Desk, text: &str) -> Duration {
    drip(connect(desk).await, text).await
}

/// A body that never ends.
async fn drip_body(desk: &Desk, rest: &str) -> Duration {
    let mut stream = connect(desk).await;
    stream.write_all(head(rest).as_bytes()).await.expect("it reads");
    drip(stream, "a").await
}

/// Some connections on which a byte comes each second, and an honest one.
async fn drips(desk: &Desk) {
    let honest = async {
        tokio::time::sleep(Duration::from_secs(2)).await;
        deliver(desk).await
    };
    let (one_head, other_head, one_body, other_body, honest) = tokio::join!(
        drip_headers(desk, "POST /webhooks/x HTTP/1.1\r\nX-A: b\r\n"),
        drip_headers(desk, "GET / HTTP/1.1\r\nX-A: "),
        drip_body(desk, "Content-Length: 100000\r\n\r\n"),
        drip_body(desk, "Transfer-Encoding: chunked\r\n\r\nffff\r\n"),
        honest,
    );
    assert_eq!(honest, "HTTP/1.1 200 OK", "while others drip");
    for took in [one_head, other_head] {
        assert!(took < HEADERS_WITHIN + LATE, "headers were waited for {took:?}");
    }
    for took in [one_body, other_body] {
        assert!(took < BODY_WITHIN + LATE, "a body was waited for {took:?}");
    }
}

/// More connections than there may be.
async fn crowd(desk: &Desk) {
    let begun = |first: &'static str| async move {
        let mut stream = connect(desk).await;
        stream.write_all(first.as_bytes()).await.expect("the system takes it");
        stream
    };
    // Those that are served hold their places with headers that are not whole yet.
    let mut served = Vec::new();
    for _ in 0..CONNECTIONS {
        served.push(begun("GET /webhooks/x HTTP/1.1\r\nHost: localhost\r\n").await);
    }
    let mut beyond = Vec::new();
    for _ in 0..50 {
        beyond.push(begun("GET /webhooks/x HTTP/1.1\r\nHost: localhost\r\n\r\n").await);
    }
    let mut answer = [0; 16];
    let early = timeout(Duration::from_secs(1), beyond[49].read(&mut answer)).await;
    assert!(early.is_err(), "one beyond the most was answered: {early:?}");
    assert_eq!(desk.status().await["connections"][0]["state"], Value::from("ready"), "over the control socket");
    let mut one = served.swap_remove(0);
    one.write_all(b"Connection: close\r\n\r\n").await.expect("it reads");
    assert!(rest_of(&mut one).await.starts_with("HTTP/1.1 401"), "an accepted one gets its answer");
    drop((served, beyond));
    assert_eq!(deliver(desk).await, "HTTP/1.1 200 OK", "once they are gone");
}

#[test]
fn whoever_reaches_the_port_stops_nothing() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let desk = Desk::open(0).await;
        endless_body(&desk).await;
        drips(&desk).await;
        crowd(&desk).await;
    });
}
