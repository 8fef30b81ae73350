//! What a request means to a pipeline: the steps that a fault can be put at.

use std::collections::BTreeMap;
use std::fmt;

use engine_broker::ObservedRequest;
use engine_wire::messages::{
    ApiKey, EndTxnRequest, FetchRequest, FindCoordinatorRequest, ListOffsetsRequest, ProduceRequest, TopicName,
};
use engine_wire::record_batch::split_batches;
use engine_wire::request::decode_request_body;

/// A request by its API and what it is about.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) api: ApiKey,
    /// A topic's part in the pipeline (`events`, `results`, `dead`, `state`), `group` or `transaction`; or nothing.
    pub(crate) about: &'static str,
}

/// Shorthand.
pub(crate) const fn step(api: ApiKey, about: &'static str) -> Step {
    Step { api, about }
}

impl fmt::Debug for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.about {
            "" => write!(f, "{:?}", self.api),
            about => write!(f, "{:?}({about})", self.api),
        }
    }
}

/// What the observer makes of one request.
#[derive(Debug, Default)]
pub(crate) struct Meaning {
    /// One request may be several steps: it may carry batches for several topics.
    pub(crate) steps: Vec<Step>,
    /// Whether it is the request that makes a checkpoint whole.
    pub(crate) is_commit: bool,
    /// Set on an EndTxn that aborts.
    pub(crate) is_abort: bool,
    /// Of a Produce: whether it names a transactional id, and whether all its batches are transactional.
    pub(crate) transactional: Option<bool>,
}

/// The topics of a pipeline, by what they are to it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Topics {
    by_name: BTreeMap<String, &'static str>,
    by_id: BTreeMap<[u8; 16], &'static str>,
}

impl Topics {
    pub(crate) fn add(&mut self, about: &'static str, name: &str, id: [u8; 16]) {
        self.by_name.insert(name.to_owned(), about);
        self.by_id.insert(id, about);
    }

    fn about(&self, name: &TopicName, id: [u8; 16]) -> Option<&'static str> {
        let by_name = self.by_name.get(name.0.as_str());
        by_name.or_else(|| self.by_id.get(&id)).copied()
    }

    /// What a request means. One that cannot be read means nothing: the broker will say what it thinks of it.
    pub(crate) fn meaning(&self, request: &ObservedRequest<'_>, exactly_once: bool) -> Meaning {
        let mut meaning = Meaning::default();
        let Ok(api) = ApiKey::try_from(request.api_key) else {
            return meaning;
        };
        let version = request.api_version;
        let mut abouts: Vec<&'static str> = match api {
            ApiKey::Produce => match decode_request_body::<ProduceRequest>(version, request.body.clone()) {
                Ok(produce) => {
                    let all_batches = produce
                        .topic_data
                        .iter()
                        .flat_map(|topic| &topic.partition_data)
                        .all(|data| {
                            split_batches(data.records.clone().unwrap_or_default())
                                .all(|batch| batch.is_ok_and(|batch| batch.header.is_transactional()))
                        });
                    meaning.transactional = Some(produce.transactional_id.is_some() && all_batches);
                    let topics = produce.topic_data.iter();
                    topics
                        .filter_map(|topic| self.about(&topic.name, topic.topic_id.into_bytes()))
                        .collect()
                }
                Err(_) => Vec::new(),
            },
            ApiKey::Fetch => match decode_request_body::<FetchRequest>(version, request.body.clone()) {
                Ok(fetch) => {
                    let topics = fetch.topics.iter();
                    topics
                        .filter_map(|topic| self.about(&topic.topic, topic.topic_id.into_bytes()))
                        .collect()
                }
                Err(_) => Vec::new(),
            },
            ApiKey::ListOffsets => match decode_request_body::<ListOffsetsRequest>(version, request.body.clone()) {
                Ok(list) => list
                    .topics
                    .iter()
                    .filter_map(|topic| self.about(&topic.name, [0; 16]))
                    .collect(),
                Err(_) => Vec::new(),
            },
            ApiKey::FindCoordinator => {
                match decode_request_body::<FindCoordinatorRequest>(version, request.body.clone()) {
                    Ok(find) if find.key_type == 1 => vec!["transaction"],
                    _ => vec!["group"],
                }
            }
            ApiKey::EndTxn => {
                let end = decode_request_body::<EndTxnRequest>(version, request.body.clone());
                meaning.is_commit = exactly_once && end.as_ref().is_ok_and(|end| end.committed);
                meaning.is_abort = end.is_ok_and(|end| !end.committed);
                vec![if meaning.is_abort { "abort" } else { "commit" }]
            }
            ApiKey::OffsetCommit => {
                meaning.is_commit = !exactly_once;
                vec![""]
            }
            _ => vec![""],
        };
        abouts.sort_unstable();
        abouts.dedup();
        meaning.steps = abouts.into_iter().map(|about| Step { api, about }).collect();
        meaning
    }
}
