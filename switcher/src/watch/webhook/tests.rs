//! The door for webhooks on a real socket: a port that is taken, places that are kept, and a registry that rests.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;

/// So long that nothing here ends because of it.
const NEVER: Duration = Duration::from_secs(3600);
/// How long a test waits for what must come.
const DEADLINE: Duration = Duration::from_secs(60);
const SECRET: &[u8] = b"a-secret-of-the-tests-0123456789";

fn webhook(port: Duration) -> (Arc<Webhook>, Arc<Bell>) {
    let bell = Arc::new(Bell::default());
    let bells = BTreeMap::from([("shop".parse().expect("a name"), Arc::clone(&bell))]);
    let patience = Patience { head: NEVER, body: NEVER, port };
    let webhook = Webhook { secret: SECRET.to_vec(), bells, voice: Voice { json: false }, patience };
    (Arc::new(webhook), bell)
}

async fn served() -> (SocketAddr, Arc<Bell>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let (at, (webhook, bell)) = (listener.local_addr().expect("its address"), webhook(NEVER));
    tokio::spawn(webhook.serve(Some(listener), at));
    (at, bell)
}

/// Sends this, and reads the answer to its end.
async fn exchange(at: SocketAddr, request: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(at).await?;
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    timeout(DEADLINE, stream.read_to_end(&mut answer)).await.expect("an answer")?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

fn signed(body: &str) -> String {
    let signature = signature::sign(SECRET, body.as_bytes());
    let (header, length) = (signature::HEADER, body.len());
    format!(
        "POST /hooks/shop HTTP/1.1\r\nHost: h\r\n{header}: {signature}\r\nContent-Length: {length}\r\n\r\n{body}"
    )
}

#[tokio::test]
async fn a_port_that_is_taken_is_tried_again_until_it_is_free() {
    let other = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let at = other.local_addr().expect("its address");
    let (webhook, _bell) = webhook(Duration::from_millis(10));
    let open = webhook.open(at).await;
    assert!(open.is_none(), "somebody else has it");
    tokio::spawn(webhook.serve(open, at));
    drop(other);
    let answered = async {
        loop {
            if let Ok(answer) = exchange(at, &signed("{}")).await {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let answer = timeout(DEADLINE, answered).await.expect("the webhook answers");
    assert!(answer.starts_with("HTTP/1.1 202 ") && answer.ends_with("looking\n"), "{answer}");
}

#[tokio::test]
async fn those_who_keep_places_without_a_word_keep_out_nobody() {
    let (at, bell) = served().await;
    let mut idle = Vec::new();
    for _ in 0..200 {
        idle.push(TcpStream::connect(at).await.expect("a connection"));
    }
    let answer = exchange(at, &signed("{}")).await.expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 202 "), "{answer}");
    timeout(DEADLINE, bell.rung()).await.expect("the bell is rung");
    // The oldest were closed, the newest were not.
    let end = timeout(DEADLINE, idle[0].read(&mut [0; 1])).await.expect("its end");
    assert!(matches!(end, Ok(0) | Err(_)), "{end:?}");
    idle[199].write_all(signed("{}").as_bytes()).await.expect("it is open");
    let mut answer = String::new();
    timeout(DEADLINE, idle[199].read_to_string(&mut answer)).await.expect("in time").expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 202 "), "{answer}");
}

#[tokio::test]
async fn without_a_signature_nobody_waits_for_the_body() {
    let (at, _bell) = served().await;
    let request = "POST /hooks/shop HTTP/1.1\r\nHost: h\r\nContent-Length: 1000\r\n\r\n";
    let answer = exchange(at, request).await.expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 401 ") && answer.ends_with(&format!("{UNSIGNED}\n")), "{answer}");
}

#[tokio::test]
async fn while_the_registry_is_let_alone_the_answer_says_until_when() {
    let (at, bell) = served().await;
    let until = Timestamp::now().checked_add(NEVER).expect("a time");
    bell.rest(Some(until));
    let answer = exchange(at, &signed("{}")).await.expect("an answer");
    let expected = format!("resting until {}", phrase::moment(until));
    assert!(answer.starts_with("HTTP/1.1 202 ") && answer.contains(&expected), "{answer}");
    // A rest that is over, or was said by a clock that was wrong, holds nobody up.
    for rest in [None, Some(Timestamp::UNIX_EPOCH)] {
        bell.rest(rest);
        let answer = exchange(at, &signed("{}")).await.expect("an answer");
        assert!(answer.ends_with("looking\n"), "{answer}");
        timeout(DEADLINE, bell.rung()).await.expect("the bell is rung");
    }
}
