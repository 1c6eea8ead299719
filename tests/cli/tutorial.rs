//! Danger: a tutorial that tells of what the program once did. Its files are written and
//! its commands run, in its order, and each must say what stands there.

use std::io::{Read, Write};
use std::net::TcpStream;

use super::*;

const TUTORIAL: &str = include_str!("../../docs/tutorial.md");

/// The address that the tutorial is written for; the test's sandbox has another port.
const ADDRESS: &str = "127.0.0.1:8090";

/// The fenced blocks of the tutorial: the language and the text of each.
fn blocks() -> Vec<(&'static str, &'static str)> {
    let fenced = TUTORIAL.split("\n```").skip(1).step_by(2);
    fenced.map(|block| block.split_once('\n').unwrap()).collect()
}

/// What differs from run to run: the ids that a store gives, and how many records a read
/// looks back at.
fn masked(text: &str) -> String {
    let ids = regex::Regex::new(r"sl-[0-9a-f]{8}-").unwrap();
    let read = regex::Regex::new(r"(?m)^ acme         \d+ +").unwrap();
    let text = ids.replace_all(text, "sl-00000000-");
    let text = read.replace_all(&text, " acme         N      ");
    text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n")
}

/// Runs one `syncline` command of the tutorial, which may send what it says to a file.
fn run(folder: &Path, line: &str) -> String {
    let (command, file) = line.split_once(" > ").map_or((line, None), |(command, file)| (command, Some(file)));
    let args: Vec<&str> = command.split(' ').skip(1).collect();
    let said = syncline_with_token(folder, &args);
    if let Some(file) = file {
        let known = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
        assert_eq!(said.json(), serde_json::from_str::<Value>(&std::fs::read_to_string(known).unwrap()).unwrap());
        std::fs::write(folder.join(file), said.out).unwrap();
        return String::new();
    }
    // What is told beside the work is for whoever waits.
    if said.code == 0 { said.out } else { said.err }
}

/// A `console` block: commands, each with what it says.
fn check_console(folder: &Path, block: &str, address: &str) {
    for part in block.split("$ ").filter(|part| !part.is_empty()) {
        let (line, wanted) = part.split_once('\n').unwrap_or((part, ""));
        if line.starts_with("syncline sandbox") || line.starts_with("export ") {
            continue;
        }
        assert!(line.starts_with("syncline "), "the test does not know how to run {line}");
        let said = run(folder, line).replace(address, ADDRESS);
        assert_eq!(masked(said.trim_end()), masked(wanted.trim_end()), "\n$ {line}");
    }
}

/// A request to the sandbox, and its answer's body.
fn ask(address: &str, method: &str, path: &str, body: &str) -> Value {
    let mut stream = TcpStream::connect(address).unwrap();
    let length = body.len();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nAuthorization: Bearer sandbox-token-acme\r\n\
         Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {length}\r\n\r\n{body}"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200"), "{answer}");
    serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {answer}"))
}

/// A block of `sh` with a `curl`: asked for as it stands there.
fn curl(block: &str, address: &str) -> Option<Value> {
    let line = block.replace("\\\n", " ");
    let line = line.trim().strip_prefix("curl ")?;
    let quoted: Vec<&str> = line.split('\'').skip(1).step_by(2).collect();
    let (_, path) = line.split_once(ADDRESS).unwrap();
    let path = path.split(['\'', ' ']).next().unwrap();
    let method = line.split_once("-X ").map_or("GET", |(_, rest)| rest.split(' ').next().unwrap());
    let body = if method == "GET" { "" } else { quoted.last().unwrap() };
    Some(ask(address, method, path, body))
}

/// An answer without what differs from run to run.
fn without_times(mut answer: Value) -> Value {
    for record in answer["results"].as_array_mut().unwrap() {
        for key in ["created_at", "updated_at", "etag"] {
            assert!(record.as_object_mut().unwrap().remove(key).is_some(), "{key} is there");
        }
    }
    answer
}

#[test]
fn the_tutorial_does_what_it_says() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["connectors", "schemas"] {
        std::fs::create_dir(folder.path().join(name)).unwrap();
    }
    let (sandbox, url) = sandbox(folder.path());
    let address = url.trim_start_matches("http://").trim_end_matches("/v1").to_owned();
    let (mut files, mut consoles, mut answer) = (0, 0, None);
    for (language, text) in blocks() {
        match language {
            "toml" => {
                let name = text.lines().find_map(|line| line.strip_prefix("# ")).unwrap();
                std::fs::write(folder.path().join(name), text.replace(ADDRESS, &address)).unwrap();
                files += 1;
            }
            "console" => {
                check_console(folder.path(), text, &address);
                consoles += 1;
            }
            "sh" => answer = curl(text, &address).or(answer),
            "json" => {
                let wanted: Value = serde_json::from_str(text).unwrap();
                assert_eq!(without_times(answer.take().unwrap()), without_times(wanted));
            }
            other => panic!("the test does not know what to do with a block of {other}"),
        }
    }
    assert_eq!((files, consoles), (5, 8), "all blocks were found");
    drop(sandbox);
}

#[test]
fn the_sandbox_of_the_tutorial_says_what_stands_there() {
    let (_, block) = blocks().into_iter().find(|(_, text)| text.starts_with("$ syncline sandbox")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut command = program();
    let mut sandbox = Running::start(command.args(["sandbox", "--port", "0"]), &folder.path().join("sandbox.log"));
    let wanted: Vec<&str> = block.lines().skip(1).collect();
    let mut said = BufReader::new(sandbox.0.stdout.take().unwrap()).lines();
    let first = said.next().unwrap().unwrap();
    let address = first.split("http://").nth(1).unwrap().split('/').next().unwrap().to_owned();
    let mut lines = vec![first];
    lines.extend(said.by_ref().take(wanted.len() - 1).map(Result::unwrap));
    let lines: Vec<String> = lines.into_iter().map(|line| line.replace(&address, ADDRESS)).collect();
    assert_eq!(lines, wanted);
}
