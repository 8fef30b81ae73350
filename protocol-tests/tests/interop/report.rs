//! What came out, as JSON between the runs and the table.

use std::{fs, io, path::Path};

use serde_json::{Value, json};

use crate::behaviour::Outcome;

/// One broker's columns.
pub(crate) struct Report {
    pub(crate) broker: String,
    pub(crate) columns: Vec<Column>,
}

/// One peer.
pub(crate) struct Column {
    pub(crate) peer: String,
    /// Its name and version, or why it is missing.
    pub(crate) client: Result<String, String>,
    pub(crate) cells: Vec<Cell>,
}

pub(crate) struct Cell {
    pub(crate) area: String,
    pub(crate) behaviour: String,
    pub(crate) outcome: Outcome,
}

impl Column {
    pub(crate) fn missing((peer, reason): (String, String)) -> Self {
        Self {
            peer,
            client: Err(reason),
            cells: Vec::new(),
        }
    }

    fn to_json(&self) -> Value {
        let cells = self.cells.iter().map(|cell| {
            let mut json = json!({"area": cell.area, "behaviour": cell.behaviour, "outcome": cell.outcome.name()});
            if let Outcome::PassedExcept(reason) | Outcome::Failed(reason) | Outcome::Cannot(reason) = &cell.outcome {
                json["reason"] = reason.as_str().into();
            }
            json
        });
        let mut json = json!({"peer": self.peer, "behaviours": cells.collect::<Vec<_>>()});
        match &self.client {
            Ok(client) => json["client"] = client.as_str().into(),
            Err(reason) => json["missing"] = reason.as_str().into(),
        }
        json
    }

    fn from_json(json: &Value) -> Option<Self> {
        let cells = json["behaviours"].as_array()?.iter().map(|cell| {
            Some(Cell {
                area: cell["area"].as_str()?.to_owned(),
                behaviour: cell["behaviour"].as_str()?.to_owned(),
                outcome: Outcome::from_name(cell["outcome"].as_str()?, cell["reason"].as_str().unwrap_or_default())?,
            })
        });
        Some(Self {
            peer: json["peer"].as_str()?.to_owned(),
            client: match json["client"].as_str() {
                Some(client) => Ok(client.to_owned()),
                None => Err(json["missing"].as_str()?.to_owned()),
            },
            cells: cells.collect::<Option<_>>()?,
        })
    }
}

impl Report {
    pub(crate) fn new(broker: &str) -> Self {
        Self {
            broker: broker.to_owned(),
            columns: Vec::new(),
        }
    }

    pub(crate) fn outcomes(&self) -> impl Iterator<Item = &Outcome> {
        self.columns
            .iter()
            .flat_map(|column| &column.cells)
            .map(|cell| &cell.outcome)
    }

    pub(crate) fn to_json(&self) -> Value {
        let columns: Vec<Value> = self.columns.iter().map(Column::to_json).collect();
        json!({"broker": self.broker, "peers": columns})
    }

    pub(crate) fn write(&self, file: &Path) -> io::Result<()> {
        fs::write(file, format!("{:#}\n", self.to_json()))
    }

    pub(crate) fn read(file: &Path) -> io::Result<Self> {
        let json: Value = serde_json::from_slice(&fs::read(file)?)?;
        let columns = json["peers"]
            .as_array()
            .and_then(|columns| columns.iter().map(Column::from_json).collect());
        match (json["broker"].as_str(), columns) {
            (Some(broker), Some(columns)) => Ok(Self {
                broker: broker.to_owned(),
                columns,
            }),
            _ => Err(io::Error::new(io::ErrorKind::InvalidData, "is no report")),
        }
    }
}
