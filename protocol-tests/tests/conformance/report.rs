//! The results on one broker, as JSON between the runs and the table.

use std::{collections::BTreeMap, fs, io, path::Path, time::Duration};

use engine_wire::messages::ApiKey;
use serde_json::{Map, Value, json};

use crate::behaviour::Behaviour;
use crate::broker_facts::BrokerFacts;

/// What came of a behaviour.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    Passed,
    /// With the message of what was not as promised.
    Failed(String),
    /// With what the broker lacks.
    Cannot(String),
}

/// A behaviour on one broker.
#[derive(Debug, Clone)]
pub(crate) struct BehaviourReport {
    pub(crate) area: String,
    pub(crate) behaviour: String,
    pub(crate) outcome: Outcome,
    pub(crate) seconds: f64,
}

/// A run on one broker, or why there was none.
#[derive(Debug, Clone)]
pub(crate) struct Report {
    pub(crate) name: String,
    pub(crate) software: String,
    /// Why the broker could not be tested at all.
    pub(crate) not_run: Option<String>,
    pub(crate) brokers: usize,
    pub(crate) features: BTreeMap<String, i64>,
    /// Oldest and newest version by Kafka's name of the API; those that no schema of ours names are left out.
    pub(crate) apis: BTreeMap<String, (i64, i64)>,
    pub(crate) behaviours: Vec<BehaviourReport>,
    pub(crate) seconds: f64,
}

impl BehaviourReport {
    pub(crate) fn new(behaviour: &Behaviour, outcome: Outcome, took: Duration) -> Self {
        Self {
            area: behaviour.area.into(),
            behaviour: behaviour.sentence(),
            outcome,
            seconds: tenths(took),
        }
    }

    pub(crate) fn to_json(&self) -> Value {
        let (result, reason) = match &self.outcome {
            Outcome::Passed => ("passed", None),
            Outcome::Failed(message) => ("failed", Some(message)),
            Outcome::Cannot(reason) => ("cannot", Some(reason)),
        };
        let mut json = json!({
            "area": self.area, "behaviour": self.behaviour, "result": result, "seconds": self.seconds,
        });
        if let Some(reason) = reason {
            json["reason"] = json!(reason);
        }
        json
    }

    fn from_json(json: &Value) -> Option<Self> {
        let reason = || json["reason"].as_str().unwrap_or_default().to_owned();
        Some(Self {
            area: json["area"].as_str()?.into(),
            behaviour: json["behaviour"].as_str()?.into(),
            outcome: match json["result"].as_str()? {
                "passed" => Outcome::Passed,
                "failed" => Outcome::Failed(reason()),
                "cannot" => Outcome::Cannot(reason()),
                _ => return None,
            },
            seconds: json["seconds"].as_f64()?,
        })
    }
}

impl Report {
    pub(crate) fn new(
        name: &str,
        software: &str,
        facts: &BrokerFacts,
        behaviours: Vec<BehaviourReport>,
        took: Duration,
    ) -> Self {
        let features = facts.features.iter();
        let apis = facts.apis.iter().filter_map(|(key, (min, max))| {
            let key = ApiKey::try_from(*key).ok()?;
            Some((format!("{key:?}"), (i64::from(*min), i64::from(*max))))
        });
        Self {
            name: name.into(),
            software: software.into(),
            not_run: None,
            brokers: facts.cluster.brokers.len(),
            features: features
                .map(|(name, level)| (name.clone(), i64::from(*level)))
                .collect(),
            apis: apis.collect(),
            behaviours,
            seconds: tenths(took),
        }
    }

    /// What came of one behaviour, if it was run.
    pub(crate) fn result(&self, area: &str, behaviour: &str) -> Option<&BehaviourReport> {
        let mut there = self.behaviours.iter();
        there.find(|it| it.area == area && it.behaviour == behaviour)
    }

    pub(crate) fn passed(&self) -> usize {
        self.count(|outcome| matches!(outcome, Outcome::Passed))
    }

    pub(crate) fn failed(&self) -> usize {
        self.count(|outcome| matches!(outcome, Outcome::Failed(_)))
    }

    pub(crate) fn cannot(&self) -> usize {
        self.count(|outcome| matches!(outcome, Outcome::Cannot(_)))
    }

    fn count(&self, is_meant: impl Fn(&Outcome) -> bool) -> usize {
        let meant = self.behaviours.iter().filter(|report| is_meant(&report.outcome));
        meant.count()
    }

    pub(crate) fn write(&self, file: &Path) -> io::Result<()> {
        fs::write(file, format!("{:#}\n", self.to_json()))
    }

    pub(crate) fn read(file: &Path) -> io::Result<Self> {
        let text = fs::read_to_string(file)?;
        let json: Value = serde_json::from_str(&text)?;
        Self::from_json(&json).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "is not a report"))
    }

    pub(crate) fn to_json(&self) -> Value {
        if let Some(reason) = &self.not_run {
            return json!({"name": self.name, "software": self.software, "not_run": reason});
        }
        let behaviours = self.behaviours.iter().map(BehaviourReport::to_json);
        json!({
            "name": self.name,
            "software": self.software,
            "brokers": self.brokers,
            "features": self.features,
            "apis": self.apis.iter().map(|(name, (min, max))| (name.clone(), json!([min, max]))).collect::<Map<_, _>>(),
            "seconds": self.seconds,
            "behaviours": behaviours.collect::<Vec<_>>(),
        })
    }

    fn from_json(json: &Value) -> Option<Self> {
        let mut report = Self {
            name: json["name"].as_str()?.into(),
            software: json["software"].as_str()?.into(),
            not_run: json["not_run"].as_str().map(Into::into),
            brokers: 0,
            features: BTreeMap::new(),
            apis: BTreeMap::new(),
            behaviours: Vec::new(),
            seconds: 0.0,
        };
        if report.not_run.is_some() {
            return Some(report);
        }
        report.brokers = usize::try_from(json["brokers"].as_u64()?).ok()?;
        report.seconds = json["seconds"].as_f64()?;
        for (name, level) in json["features"].as_object()? {
            report.features.insert(name.clone(), level.as_i64()?);
        }
        for (name, range) in json["apis"].as_object()? {
            report
                .apis
                .insert(name.clone(), (range[0].as_i64()?, range[1].as_i64()?));
        }
        for behaviour in json["behaviours"].as_array()? {
            report.behaviours.push(BehaviourReport::from_json(behaviour)?);
        }
        Some(report)
    }
}

fn tenths(took: Duration) -> f64 {
    (took.as_secs_f64() * 10.0).round() / 10.0
}
