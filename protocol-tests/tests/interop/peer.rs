//! Another client: a program that answers requests, one line each.

use std::{
    io::{BufRead, BufReader, Write},
    process::{Child, ChildStdin, Command, Stdio},
    time::Duration,
};

use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::client::{Committed, GroupRequest, ProduceRequest, Reading, TransactRequest};
use crate::member::{Member, Shared};
use crate::records::{self, Placed};

/// No request takes longer, or the peer is taken for stuck.
const PATIENCE: Duration = Duration::from_secs(90);

/// A running peer; killed when it is dropped.
pub(crate) struct Peer {
    command: Vec<String>,
    process: Process,
    answers: mpsc::UnboundedReceiver<String>,
    /// Its name and version.
    pub(crate) client: String,
    /// What it says that it lacks.
    cannot: Value,
}

struct Process {
    child: Child,
    input: ChildStdin,
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Process {
    /// Its lines go to `tell`, on a thread that ends with the process's output.
    fn start(command: &[String], tell: impl FnMut(String) + Send + 'static) -> Result<Self, String> {
        let (program, arguments) = command.split_first().ok_or("the peer has no command")?;
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("{program} does not start: {error}"))?;
        let input = child.stdin.take().ok_or("no standard input")?;
        let output = child.stdout.take().ok_or("no standard output")?;
        std::thread::spawn(move || BufReader::new(output).lines().map_while(Result::ok).for_each(tell));
        Ok(Self { child, input })
    }

    fn ask(&mut self, request: &Value) -> Result<(), String> {
        writeln!(self.input, "{request}").map_err(|error| format!("the peer is gone: {error}"))
    }
}

impl Peer {
    pub(crate) async fn start(command: &[String]) -> Result<Self, String> {
        let (sender, answers) = mpsc::unbounded_channel();
        let process = Process::start(command, move |line| {
            let _ = sender.send(line);
        })?;
        let mut peer = Self {
            command: command.to_vec(),
            process,
            answers,
            client: String::new(),
            cannot: Value::Null,
        };
        let version = peer.ask(json!({"verb": "version"})).await?;
        peer.client = version["client"].as_str().ok_or("the peer has no version")?.to_owned();
        peer.cannot = version["cannot"].clone();
        Ok(peer)
    }

    /// Why the peer lacks something; `None` if it does not.
    pub(crate) fn lacks(&self, what: &str) -> Option<&str> {
        self.cannot[what].as_str()
    }

    async fn ask(&mut self, request: Value) -> Result<Value, String> {
        self.process.ask(&request)?;
        let line = tokio::time::timeout(PATIENCE, self.answers.recv())
            .await
            .map_err(|_| format!("the peer did not answer {} within {PATIENCE:?}", request["verb"]))?
            .ok_or("the peer ended")?;
        let answer: Value =
            serde_json::from_str(&line).map_err(|error| format!("the peer answered {line:?}: {error}"))?;
        match answer["error"].as_str() {
            Some(error) => Err(error.to_owned()),
            None => Ok(answer),
        }
    }

    pub(crate) async fn produce(&mut self, request: &ProduceRequest<'_>) -> Result<Vec<(i32, i64)>, String> {
        let records = request.records.iter();
        let answer = self
            .ask(json!({
                "verb": "produce",
                "bootstrap": request.bootstrap,
                "topic": request.topic,
                "codec": request.codec.name(),
                "batch_bytes": request.batch_bytes,
                "records": records.map(|record| records::to_json(record, request.partition)).collect::<Vec<_>>(),
            }))
            .await?;
        let placed = answer["placed"].as_array().ok_or("no places in the answer")?;
        placed
            .iter()
            .map(|place| Some((place[0].as_i64()?.try_into().ok()?, place[1].as_i64()?)))
            .collect::<Option<_>>()
            .ok_or_else(|| "a place without partition and offset".to_owned())
    }

    pub(crate) async fn transact(&mut self, request: &TransactRequest<'_>) -> Result<(), String> {
        let transactions = request.transactions.iter().map(|transaction| {
            let records = transaction.records.iter();
            let records = records.map(|record| records::to_json(record, Some(0)));
            json!({
                "records": records.collect::<Vec<_>>(),
                "commit": transaction.commit,
                "offset": transaction.offset,
            })
        });
        let asked = json!({
            "verb": "transact",
            "bootstrap": request.bootstrap,
            "topic": request.topic,
            "codec": request.codec.name(),
            "batch_bytes": 16_384,
            "transactional_id": request.transactional_id,
            "group": request.group,
            "transactions": transactions.collect::<Vec<_>>(),
        });
        self.ask(asked).await.map(drop)
    }

    pub(crate) async fn consume(&mut self, reading: &Reading<'_>) -> Result<Vec<Placed>, String> {
        let asked = json!({
            "verb": "consume",
            "bootstrap": reading.bootstrap,
            "topic": reading.topic,
            "partitions": reading.partitions,
            "count": reading.count,
            "isolation": if reading.read_committed { "read_committed" } else { "read_uncommitted" },
        });
        read_records(&self.ask(asked).await?)
    }

    pub(crate) async fn resume(
        &mut self,
        request: &GroupRequest<'_>,
        count: usize,
        metadata: &str,
    ) -> Result<Vec<Placed>, String> {
        let asked = json!({
            "verb": "resume",
            "bootstrap": request.bootstrap,
            "topic": request.topic,
            "group": request.group,
            "count": count,
            "metadata": metadata,
        });
        read_records(&self.ask(asked).await?)
    }

    pub(crate) async fn committed(&mut self, request: &GroupRequest<'_>) -> Result<Vec<Committed>, String> {
        let asked = json!({
            "verb": "committed",
            "bootstrap": request.bootstrap,
            "topic": request.topic,
            "group": request.group,
            "partitions": request.partitions,
        });
        let answer = self.ask(asked).await?;
        let offsets = answer["offsets"].as_array().ok_or("no offsets in the answer")?;
        offsets
            .iter()
            .map(|at| {
                Some(Committed {
                    partition: at["partition"].as_i64()?.try_into().ok()?,
                    offset: at["offset"].as_i64()?,
                    metadata: at["metadata"].as_str()?.to_owned(),
                })
            })
            .collect::<Option<_>>()
            .ok_or_else(|| "an offset without partition, offset or metadata".to_owned())
    }

    /// In a process of its own, so that it can be killed.
    pub(crate) fn member(&self, request: &GroupRequest<'_>, assignor: &str) -> Result<PeerMember, String> {
        let told = Shared::default();
        let teller = told.clone();
        let mut process = Process::start(&self.command, move |line| hear(&teller, &line))?;
        process.ask(&json!({
            "verb": "member",
            "bootstrap": request.bootstrap,
            "topic": request.topic,
            "group": request.group,
            "assignor": assignor,
            "session_timeout_ms": crate::group::SESSION_TIMEOUT.as_millis(),
        }))?;
        Ok(PeerMember { process, told })
    }
}

fn read_records(answer: &Value) -> Result<Vec<Placed>, String> {
    let records = answer["records"].as_array().ok_or("no records in the answer")?;
    records
        .iter()
        .map(records::from_json)
        .collect::<Option<_>>()
        .ok_or_else(|| "a record that is not of the form agreed on".to_owned())
}

fn hear(told: &Shared, line: &str) {
    let event: Value = serde_json::from_str(line).unwrap_or_default();
    let mut told = told.lock();
    if let Some(assigned) = event["assigned"].as_array() {
        told.assigned = assigned.iter().filter_map(|at| at.as_i64()?.try_into().ok()).collect();
    } else if let (Some(partition), Some(offset)) = (
        event["record"]["partition"].as_i64(),
        event["record"]["offset"].as_i64(),
    ) {
        *told.read.entry((partition as i32, offset)).or_default() += 1;
    } else if event["left"] == true {
        told.assigned.clear();
        told.has_left = true;
    } else {
        told.error.get_or_insert_with(|| line.to_owned());
    }
}

pub(crate) struct PeerMember {
    process: Process,
    told: Shared,
}

impl Member for PeerMember {
    fn told(&self) -> &Shared {
        &self.told
    }

    fn leave(&mut self) {
        // A peer that is gone already is noticed by whoever waits for it to have left.
        let _ = self.process.ask(&json!({"verb": "leave"}));
    }

    fn die(&mut self) {
        let _ = self.process.child.kill();
        let mut told = self.told.lock();
        told.assigned.clear();
        told.has_left = true;
    }
}
