//! Looking at a cluster and changing it: topics, groups, offsets, records.
//!
//! Straight-line requests. Where a request names several things, each has a result of its own:
//! one topic that exists already does not hide that the other was created.
//! Never here: reading or writing records.

mod cluster;
mod error;
mod features;
mod groups;
mod records;
mod topics;

pub use cluster::{BrokerDescription, ClusterDescription};
pub use error::{AdminError, Refusal};
pub use groups::{GroupDescription, GroupListing, MemberDescription};
pub use topics::{ConfigEntry, NewTopic, PartitionDescription, TopicDescription};

use std::time::Instant;

use engine_wire::error_code::{ErrorClass, ErrorCode};

use crate::{
    cluster::Cluster,
    config::ClientConfig,
    connection::{RequestError, now},
};

/// What happened to each named thing.
pub type PerItem<K, V> = Vec<(K, Result<V, Refusal>)>;

/// An administrator's connection. Dropping it closes its connections.
#[derive(Debug)]
pub struct Admin {
    cluster: Cluster,
}

impl Admin {
    /// Connects to the cluster.
    ///
    /// # Errors
    /// If the settings contradict each other, or no bootstrap server answers within
    /// `socket.connection.setup.timeout.ms`.
    pub async fn connect(config: ClientConfig) -> Result<Admin, RequestError> {
        let mistakes = config.validate();
        if !mistakes.is_empty() {
            return Err(RequestError::Config(mistakes.into()));
        }
        Ok(Admin {
            cluster: Cluster::connect(&config).await?,
        })
    }

    /// Asks, and asks again, what changes nothing: until there is an answer, until what stands in its way cannot
    /// go away, or until `deadline`.
    async fn read<T, F>(&self, deadline: Instant, attempt: impl FnMut() -> F) -> Result<T, RequestError>
    where
        F: Future<Output = Result<T, RequestError>>,
    {
        self.repeat(deadline, attempt, RequestError::is_retriable).await
    }

    /// As [`Admin::read`] for what changes something: repeated only while it reached no broker. The coordinator
    /// of a first group, for one, is missing until the brokers have made its topic.
    async fn write<T, F>(&self, deadline: Instant, attempt: impl FnMut() -> F) -> Result<T, RequestError>
    where
        F: Future<Output = Result<T, RequestError>>,
    {
        self.repeat(deadline, attempt, RequestError::is_unsent).await
    }

    async fn repeat<T, F>(
        &self,
        deadline: Instant,
        mut attempt: impl FnMut() -> F,
        may_repeat: fn(&RequestError) -> bool,
    ) -> Result<T, RequestError>
    where
        F: Future<Output = Result<T, RequestError>>,
    {
        loop {
            match attempt().await {
                Err(error) if may_repeat(&error) && now() < deadline => {
                    tokio::time::sleep(self.cluster.config().retry_backoff).await;
                }
                outcome => return outcome,
            }
        }
    }

    /// Whether an operation that failed with `code` is worth another attempt before `deadline`;
    /// waits for the backoff if so.
    async fn pause_before_retry(&self, code: ErrorCode, deadline: Instant) -> bool {
        let may_heal = matches!(code.class(), ErrorClass::Retriable | ErrorClass::RefreshMetadata);
        if !may_heal || now() >= deadline {
            return false;
        }
        tokio::time::sleep(self.cluster.config().retry_backoff).await;
        true
    }

    fn deadline(&self) -> Instant {
        now() + self.cluster.config().default_api_timeout
    }
}

impl Drop for Admin {
    fn drop(&mut self) {
        self.cluster.close();
    }
}
