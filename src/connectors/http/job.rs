//! Jobs that a side works on after it has answered: a batch of writes, an export. They are
//! asked for again and again, within the budget, more and more seldom, and not for ever.

use std::time::Duration;

use serde_json::value::RawValue;
use tokio::time::Instant;
use url::Url;

use crate::connectors::Calls;
use crate::model::path::Path;
use crate::model::value::Value;

use super::HttpConnector;
use super::body::encode;
use super::call::{Meaning, PathIds, Prepared, Reply, unanswered_read};
use super::raw::{at, text_of};
use super::send::SendError;
use super::spec::Endpoint;
use super::template::{Values, fill_tree};
use super::transport::{Method, TransportError};

/// The longest time between two questions about a job, in milliseconds.
const MAX_INTERVAL_MS: u64 = 30_000;

/// Most of such questions that may fail in a row.
const MAX_FAILURES: u32 = 10;

/// How a job is followed.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct JobSpec {
    pub poll: Poll,
    /// Where an answer tells the job's state.
    pub status: Path,
    /// The states of a job that was carried out.
    pub done: Vec<String>,
    /// The states of a job that was not, or not to its end.
    pub failed: Vec<String>,
    /// How long to wait before the first question, in milliseconds.
    pub every_ms: u64,
    /// How long a job may take, in milliseconds.
    pub most_ms: u64,
}

/// How a job is asked for.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Poll {
    /// At a URL that the first answer tells.
    Url(Path),
    /// At an endpoint, by an id that the first answer tells: `{id}` of its path, or of the body
    /// that asks for it.
    Id { endpoint: Endpoint, body: Option<Value>, id: Path },
}

/// How a job stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum JobState {
    Running,
    Done,
    Failed,
}

impl JobSpec {
    /// What an answer says of the job. A state that the file does not name is on the way to
    /// one that it does.
    pub fn state(&self, json: &RawValue) -> JobState {
        let found = at(json, Some(&self.status)).ok().flatten();
        let text = found.map(|raw| text_of(raw).unwrap_or_else(|| raw.get().to_owned()));
        let is_one_of = |words: &[String]| text.as_ref().is_some_and(|text| words.contains(text));
        if is_one_of(&self.done) {
            JobState::Done
        } else if is_one_of(&self.failed) {
            JobState::Failed
        } else {
            JobState::Running
        }
    }

    /// How long to wait before the next question, in milliseconds, when so many were asked:
    /// half as long again each time, at most half a minute.
    pub fn interval_ms(&self, asked: u32) -> u64 {
        let grown = self.every_ms as f64 * 1.5_f64.powi(i32::try_from(asked.min(64)).unwrap_or(64));
        (grown as u64).clamp(1, MAX_INTERVAL_MS.max(self.every_ms))
    }

    /// The id or URL by which the job is asked for.
    ///
    /// # Errors
    /// With a sentence, when the answer tells none.
    pub fn handle(&self, json: &RawValue) -> Result<String, String> {
        let path = match &self.poll {
            Poll::Url(path) | Poll::Id { id: path, .. } => path,
        };
        let found = at(json, Some(path)).ok().flatten().and_then(text_of).filter(|text| !text.is_empty());
        found.ok_or_else(|| format!("the answer names no job at '{path}'"))
    }
}

impl HttpConnector {
    /// What asks for a job.
    ///
    /// # Errors
    /// When no URL comes of its id, or the URL leads elsewhere.
    pub(super) fn job_request(&self, spec: &JobSpec, handle: &str) -> Result<Prepared, String> {
        match &spec.poll {
            Poll::Url(_) => {
                let url = self.caller.next_url(&self.caller.base, handle)?;
                Ok(Prepared::new(Method::Get, url, &self.file.headers, &[]))
            }
            Poll::Id { endpoint, body, .. } => {
                let ids = PathIds { id: Some(handle), ..PathIds::default() };
                let url: Url = self.caller.url(&endpoint.path, ids, &endpoint.query)?;
                let mut request = Prepared::to(endpoint, url, &self.file.headers);
                let id = Value::string(handle);
                let values = Values { ids: std::slice::from_ref(&id), ..Values::default() };
                let body = body.as_ref().and_then(|body| fill_tree(body, &values));
                request.body = body.map(|body| encode(&request.headers, &body)).transpose()?;
                Ok(request)
            }
        }
    }

    /// Follows a job of writes to its end, from the answer that began it.
    ///
    /// # Errors
    /// With a sentence, when its end cannot be known: the writes then may have been carried
    /// out or not.
    pub(super) async fn follow_job(
        &self,
        calls: &Calls,
        spec: &JobSpec,
        begun: Reply,
    ) -> Result<(Reply, JobState), String> {
        let first = begun.json()?;
        let state = spec.state(first);
        if state != JobState::Running {
            return Ok((begun, state));
        }
        let place = begun.place.clone();
        let handle = spec.handle(first).map_err(|reason| format!("{place}: {reason}"))?;
        let request = self.job_request(spec, &handle)?;
        let started = Instant::now();
        let most = Duration::from_millis(spec.most_ms);
        let (mut asked, mut failures) = (0, 0);
        loop {
            let wait = Duration::from_millis(spec.interval_ms(asked));
            if started.elapsed() + wait > most {
                return Err(format!("{place}: the job '{}' took longer than {} s", clip(&handle), most.as_secs()));
            }
            tokio::time::sleep(wait).await;
            asked += 1;
            let reply = match self.send(calls, request.clone()).await {
                Ok(reply) => reply,
                Err(error) => {
                    failures += 1;
                    match error {
                        SendError::Transport(TransportError::NotSent(_) | TransportError::Unknown(_))
                            if failures < MAX_FAILURES =>
                        {
                            continue;
                        }
                        error => return Err(unanswered_read(error).message),
                    }
                }
            };
            match reply.judge(&self.file, self.now()).meaning {
                Meaning::Success => {}
                Meaning::Limited { millis } => {
                    calls.pause_class(reply.class.as_deref(), Duration::from_millis(millis));
                    continue;
                }
                Meaning::NotNow | Meaning::Broken if failures < MAX_FAILURES => {
                    failures += 1;
                    continue;
                }
                // Also a job that is no longer known: it may have been carried out.
                _ => {
                    return Err(format!(
                        "the job '{}' cannot be read: {}",
                        clip(&handle),
                        self.caller.sentence(&reply)
                    ));
                }
            }
            failures = 0;
            match spec.state(reply.json()?) {
                JobState::Running => {}
                state => return Ok((reply, state)),
            }
        }
    }
}

fn clip(handle: &str) -> String {
    super::text::clip(handle)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> JobSpec {
        JobSpec {
            poll: Poll::Url("job.url".parse().unwrap()),
            status: "job.status".parse().unwrap(),
            done: vec!["completed".into(), "true".into()],
            failed: vec!["failed".into()],
            every_ms: 1_000,
            most_ms: 60_000,
        }
    }

    #[test]
    fn states_and_handles() {
        for (json, state, handle) in [
            (r#"{"job":{"status":"queued","url":"https://a/1"}}"#, JobState::Running, Some("https://a/1")),
            (r#"{"job":{"status":"completed","url":7}}"#, JobState::Done, Some("7")),
            (r#"{"job":{"status":true,"url":""}}"#, JobState::Done, None),
            (r#"{"job":{"status":"failed"}}"#, JobState::Failed, None),
            (r#"{"job":null}"#, JobState::Running, None),
            ("[]", JobState::Running, None),
        ] {
            let raw: &RawValue = serde_json::from_str(json).unwrap();
            assert_eq!(spec().state(raw), state, "{json}");
            assert_eq!(spec().handle(raw).ok().as_deref(), handle, "{json}");
        }
    }

    #[test]
    fn questions_become_seldom() {
        let intervals: Vec<u64> = (0..11).map(|asked| spec().interval_ms(asked)).collect();
        assert_eq!(intervals[..4], [1_000, 1_500, 2_250, 3_375]);
        assert!(intervals.is_sorted());
        assert_eq!(intervals[10], 30_000);
        assert_eq!(spec().interval_ms(u32::MAX), 30_000);
        assert_eq!(JobSpec { every_ms: 60_000, ..spec() }.interval_ms(3), 60_000);
        assert_eq!(JobSpec { every_ms: 0, ..spec() }.interval_ms(3), 1);
    }
}
