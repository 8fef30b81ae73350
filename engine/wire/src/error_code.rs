//! Kafka's error codes: number, name, class and message, as one table.
//!
//! The names and messages are those of Apache Kafka 4.1. The class says what a client does next
//! and follows the exception hierarchy of the Java client, with these differences, each because
//! our machines act on it: fencing is a class of its own, errors that end a transaction but not
//! the producer are Abortable, and NOT_CONTROLLER, BROKER_NOT_AVAILABLE and REBOOTSTRAP_REQUIRED
//! ask for new metadata.
//! Never here: what a particular request makes of a code; DUPLICATE_SEQUENCE_NUMBER, for
//! instance, is Fatal in the table and success to a producer.

use std::fmt;

/// An error code from the wire. Codes newer than the table are kept as they are.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ErrorCode(i16);

/// What a client does about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorClass {
    /// No error.
    Success,
    /// The same request to the same broker may succeed after a backoff.
    Retriable,
    /// As Retriable, but the broker is probably not the right one any more: refresh metadata first.
    RefreshMetadata,
    /// A newer producer, member or epoch has taken our place: stop acting under this identity.
    Fenced,
    /// The transaction is lost, the producer is not: abort and begin anew.
    Abortable,
    /// Repeating this request cannot help.
    Fatal,
}

impl ErrorClass {
    /// Its name in metrics: `retriable`, `refresh_metadata`, `fenced`, `abortable`, `fatal`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Retriable => "retriable",
            Self::RefreshMetadata => "refresh_metadata",
            Self::Fenced => "fenced",
            Self::Abortable => "abortable",
            Self::Fatal => "fatal",
        }
    }
}

impl From<i16> for ErrorCode {
    fn from(code: i16) -> Self {
        Self(code)
    }
}

impl From<ErrorCode> for i16 {
    fn from(code: ErrorCode) -> Self {
        code.0
    }
}

impl ErrorCode {
    /// The number on the wire.
    #[must_use]
    pub const fn code(self) -> i16 {
        self.0
    }

    /// Whether it is [`NONE`](Self::NONE).
    #[must_use]
    pub const fn is_ok(self) -> bool {
        self.0 == 0
    }

    /// `Ok` for [`NONE`](Self::NONE), else the code as an error.
    ///
    /// # Errors
    /// `self`, unless it is [`NONE`](Self::NONE).
    pub const fn ok(self) -> Result<(), Self> {
        if self.is_ok() { Ok(()) } else { Err(self) }
    }

    /// Kafka's name; `UNKNOWN` for a code that is not in the table.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.entry().map_or("UNKNOWN", |entry| entry.name)
    }

    /// What to do; Fatal for a code that is not in the table.
    #[must_use]
    pub fn class(self) -> ErrorClass {
        self.entry().map_or(ErrorClass::Fatal, |entry| entry.class)
    }

    /// Kafka's explanation, lower case and without a full stop.
    #[must_use]
    pub fn message(self) -> &'static str {
        self.entry()
            .map_or("an error code this client does not know", |entry| entry.message)
    }

    /// Whether it is in the table.
    #[must_use]
    pub fn is_known(self) -> bool {
        self.entry().is_some()
    }

    /// Whether the request may be repeated, after new metadata or not.
    #[must_use]
    pub fn is_retriable(self) -> bool {
        matches!(self.class(), ErrorClass::Retriable | ErrorClass::RefreshMetadata)
    }

    /// Every code in the table, from -1 up.
    pub fn all() -> impl Iterator<Item = Self> {
        TABLE.iter().map(|entry| Self(entry.code))
    }

    fn entry(self) -> Option<&'static Entry> {
        // The table has no gaps: its first code is -1.
        let entry = TABLE.get(usize::try_from(i32::from(self.0) + 1).ok()?)?;
        assert_eq!(entry.code, self.0, "the table of error codes has a gap");
        Some(entry)
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}): {}", self.name(), self.0, self.message())
    }
}

impl fmt::Debug for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}({})", self.name(), self.0)
    }
}

impl std::error::Error for ErrorCode {}

struct Entry {
    code: i16,
    name: &'static str,
    class: ErrorClass,
    message: &'static str,
}

macro_rules! error_codes {
    ($($code:literal, $name:ident, $class:ident, $message:literal;)*) => {
        impl ErrorCode {
            $(
                #[doc = $message]
                pub const $name: Self = Self($code);
            )*
        }

        const TABLE: &[Entry] = &[
            $(Entry {
                code: $code,
                name: stringify!($name),
                class: ErrorClass::$class,
                message: $message,
            },)*
        ];
    };
}

error_codes! {
    -1, UNKNOWN_SERVER_ERROR, Fatal, "the server experienced an unexpected error when processing the request";
    0, NONE, Success, "no error";
    1, OFFSET_OUT_OF_RANGE, Fatal, "the requested offset is not within the range of offsets maintained by the server";
    2, CORRUPT_MESSAGE, Retriable, "this message has failed its CRC checksum, exceeds the valid size, has a null key for a compacted topic, or is otherwise corrupt";
    3, UNKNOWN_TOPIC_OR_PARTITION, RefreshMetadata, "this server does not host this topic-partition";
    4, INVALID_FETCH_SIZE, Fatal, "the requested fetch size is invalid";
    5, LEADER_NOT_AVAILABLE, RefreshMetadata, "there is no leader for this topic-partition as we are in the middle of a leadership election";
    6, NOT_LEADER_OR_FOLLOWER, RefreshMetadata, "for requests intended only for the leader, this error indicates that the broker is not the current leader. For requests intended for any replica, this error indicates that the broker is not a replica of the topic partition";
    7, REQUEST_TIMED_OUT, Retriable, "the request timed out";
    8, BROKER_NOT_AVAILABLE, RefreshMetadata, "the broker is not available";
    9, REPLICA_NOT_AVAILABLE, RefreshMetadata, "the replica is not available for the requested topic-partition. Produce/Fetch requests and other requests intended only for the leader or follower return NOT_LEADER_OR_FOLLOWER if the broker is not a replica of the topic-partition";
    10, MESSAGE_TOO_LARGE, Fatal, "the request included a message larger than the max message size the server will accept";
    11, STALE_CONTROLLER_EPOCH, Fenced, "the controller moved to another broker";
    12, OFFSET_METADATA_TOO_LARGE, Fatal, "the metadata field of the offset request was too large";
    13, NETWORK_EXCEPTION, RefreshMetadata, "the server disconnected before a response was received";
    14, COORDINATOR_LOAD_IN_PROGRESS, Retriable, "the coordinator is loading and hence can't process requests";
    15, COORDINATOR_NOT_AVAILABLE, Retriable, "the coordinator is not available";
    16, NOT_COORDINATOR, Retriable, "this is not the correct coordinator";
    17, INVALID_TOPIC_EXCEPTION, Fatal, "the request attempted to perform an operation on an invalid topic";
    18, RECORD_LIST_TOO_LARGE, Fatal, "the request included message batch larger than the configured segment size on the server";
    19, NOT_ENOUGH_REPLICAS, Retriable, "messages are rejected since there are fewer in-sync replicas than required";
    20, NOT_ENOUGH_REPLICAS_AFTER_APPEND, Retriable, "messages are written to the log, but to fewer in-sync replicas than required";
    21, INVALID_REQUIRED_ACKS, Fatal, "produce request specified an invalid value for required acks";
    22, ILLEGAL_GENERATION, Fenced, "specified group generation id is not valid";
    23, INCONSISTENT_GROUP_PROTOCOL, Fatal, "the group member's supported protocols are incompatible with those of existing members or first group member tried to join with empty protocol type or empty protocol list";
    24, INVALID_GROUP_ID, Fatal, "the group id is invalid";
    25, UNKNOWN_MEMBER_ID, Fenced, "the coordinator is not aware of this member";
    26, INVALID_SESSION_TIMEOUT, Fatal, "the session timeout is not within the range allowed by the broker (as configured by group.min.session.timeout.ms and group.max.session.timeout.ms)";
    27, REBALANCE_IN_PROGRESS, Fatal, "the group is rebalancing, so a rejoin is needed";
    28, INVALID_COMMIT_OFFSET_SIZE, Fatal, "the committing offset data size is not valid";
    29, TOPIC_AUTHORIZATION_FAILED, Fatal, "topic authorization failed";
    30, GROUP_AUTHORIZATION_FAILED, Fatal, "group authorization failed";
    31, CLUSTER_AUTHORIZATION_FAILED, Fatal, "cluster authorization failed";
    32, INVALID_TIMESTAMP, Fatal, "the timestamp of the message is out of acceptable range";
    33, UNSUPPORTED_SASL_MECHANISM, Fatal, "the broker does not support the requested SASL mechanism";
    34, ILLEGAL_SASL_STATE, Fatal, "request is not valid given the current SASL state";
    35, UNSUPPORTED_VERSION, Fatal, "the version of API is not supported";
    36, TOPIC_ALREADY_EXISTS, Fatal, "topic with this name already exists";
    37, INVALID_PARTITIONS, Fatal, "number of partitions is below 1";
    38, INVALID_REPLICATION_FACTOR, Fatal, "replication factor is below 1 or larger than the number of available brokers";
    39, INVALID_REPLICA_ASSIGNMENT, Fatal, "replica assignment is invalid";
    40, INVALID_CONFIG, Fatal, "configuration is invalid";
    41, NOT_CONTROLLER, RefreshMetadata, "this is not the correct controller for this cluster";
    42, INVALID_REQUEST, Fatal, "this most likely occurs because of a request being malformed by the client library or the message was sent to an incompatible broker. See the broker logs for more details";
    43, UNSUPPORTED_FOR_MESSAGE_FORMAT, Fatal, "the message format version on the broker does not support the request";
    44, POLICY_VIOLATION, Fatal, "request parameters do not satisfy the configured policy";
    45, OUT_OF_ORDER_SEQUENCE_NUMBER, Abortable, "the broker received an out of order sequence number";
    46, DUPLICATE_SEQUENCE_NUMBER, Fatal, "the broker received a duplicate sequence number";
    47, INVALID_PRODUCER_EPOCH, Fenced, "producer attempted to produce with an old epoch";
    48, INVALID_TXN_STATE, Fatal, "the producer attempted a transactional operation in an invalid state";
    49, INVALID_PRODUCER_ID_MAPPING, Fatal, "the producer attempted to use a producer id which is not currently assigned to its transactional id";
    50, INVALID_TRANSACTION_TIMEOUT, Fatal, "the transaction timeout is larger than the maximum value allowed by the broker (as configured by transaction.max.timeout.ms)";
    51, CONCURRENT_TRANSACTIONS, Retriable, "the producer attempted to update a transaction while another concurrent operation on the same transaction was ongoing";
    52, TRANSACTION_COORDINATOR_FENCED, Fenced, "indicates that the transaction coordinator sending a WriteTxnMarker is no longer the current coordinator for a given producer";
    53, TRANSACTIONAL_ID_AUTHORIZATION_FAILED, Fatal, "transactional Id authorization failed";
    54, SECURITY_DISABLED, Fatal, "security features are disabled";
    55, OPERATION_NOT_ATTEMPTED, Fatal, "the broker did not attempt to execute this operation. This may happen for batched RPCs where some operations in the batch failed, causing the broker to respond without trying the rest";
    56, KAFKA_STORAGE_ERROR, RefreshMetadata, "disk error when trying to access log file on the disk";
    57, LOG_DIR_NOT_FOUND, Fatal, "the user-specified log directory is not found in the broker config";
    58, SASL_AUTHENTICATION_FAILED, Fatal, "SASL Authentication failed";
    59, UNKNOWN_PRODUCER_ID, Abortable, "this exception is raised by the broker if it could not locate the producer metadata associated with the producerId in question. This could happen if, for instance, the producer's records were deleted because their retention time had elapsed. Once the last records of the producerId are removed, the producer's metadata is removed from the broker, and future appends by the producer will return this exception";
    60, REASSIGNMENT_IN_PROGRESS, Fatal, "A partition reassignment is in progress";
    61, DELEGATION_TOKEN_AUTH_DISABLED, Fatal, "delegation Token feature is not enabled";
    62, DELEGATION_TOKEN_NOT_FOUND, Fatal, "delegation Token is not found on server";
    63, DELEGATION_TOKEN_OWNER_MISMATCH, Fatal, "specified Principal is not valid Owner/Renewer";
    64, DELEGATION_TOKEN_REQUEST_NOT_ALLOWED, Fatal, "delegation Token requests are not allowed on PLAINTEXT/1-way SSL channels and on delegation token authenticated channels";
    65, DELEGATION_TOKEN_AUTHORIZATION_FAILED, Fatal, "delegation Token authorization failed";
    66, DELEGATION_TOKEN_EXPIRED, Fatal, "delegation Token is expired";
    67, INVALID_PRINCIPAL_TYPE, Fatal, "supplied principalType is not supported";
    68, NON_EMPTY_GROUP, Fatal, "the group is not empty";
    69, GROUP_ID_NOT_FOUND, Fatal, "the group id does not exist";
    70, FETCH_SESSION_ID_NOT_FOUND, Retriable, "the fetch session ID was not found";
    71, INVALID_FETCH_SESSION_EPOCH, Retriable, "the fetch session epoch is invalid";
    72, LISTENER_NOT_FOUND, RefreshMetadata, "there is no listener on the leader broker that matches the listener on which metadata request was processed";
    73, TOPIC_DELETION_DISABLED, Fatal, "topic deletion is disabled";
    74, FENCED_LEADER_EPOCH, RefreshMetadata, "the leader epoch in the request is older than the epoch on the broker";
    75, UNKNOWN_LEADER_EPOCH, Retriable, "the leader epoch in the request is newer than the epoch on the broker";
    76, UNSUPPORTED_COMPRESSION_TYPE, Fatal, "the requesting client does not support the compression type of given partition";
    77, STALE_BROKER_EPOCH, Fenced, "broker epoch has changed";
    78, OFFSET_NOT_AVAILABLE, Retriable, "the leader high watermark has not caught up from a recent leader election so the offsets cannot be guaranteed to be monotonically increasing";
    79, MEMBER_ID_REQUIRED, Fatal, "the group member needs to have a valid member id before actually entering a consumer group";
    80, PREFERRED_LEADER_NOT_AVAILABLE, RefreshMetadata, "the preferred leader was not available";
    81, GROUP_MAX_SIZE_REACHED, Fatal, "the group has reached its maximum size";
    82, FENCED_INSTANCE_ID, Fenced, "the broker rejected this static consumer since another consumer with the same group.instance.id has registered with a different member.id";
    83, ELIGIBLE_LEADERS_NOT_AVAILABLE, RefreshMetadata, "eligible topic partition leaders are not available";
    84, ELECTION_NOT_NEEDED, RefreshMetadata, "leader election not needed for topic partition";
    85, NO_REASSIGNMENT_IN_PROGRESS, Fatal, "no partition reassignment is in progress";
    86, GROUP_SUBSCRIBED_TO_TOPIC, Fatal, "deleting offsets of a topic is forbidden while the consumer group is actively subscribed to it";
    87, INVALID_RECORD, Fatal, "this record has failed the validation on broker and hence will be rejected";
    88, UNSTABLE_OFFSET_COMMIT, Retriable, "there are unstable offsets that need to be cleared";
    89, THROTTLING_QUOTA_EXCEEDED, Retriable, "the throttling quota has been exceeded";
    90, PRODUCER_FENCED, Fenced, "there is a newer producer with the same transactionalId which fences the current one";
    91, RESOURCE_NOT_FOUND, Fatal, "A request illegally referred to a resource that does not exist";
    92, DUPLICATE_RESOURCE, Fatal, "A request illegally referred to the same resource twice";
    93, UNACCEPTABLE_CREDENTIAL, Fatal, "requested credential would not meet criteria for acceptability";
    94, INCONSISTENT_VOTER_SET, Fatal, "indicates that the either the sender or recipient of a voter-only request is not one of the expected voters";
    95, INVALID_UPDATE_VERSION, Fatal, "the given update version was invalid";
    96, FEATURE_UPDATE_FAILED, Fatal, "unable to update finalized features due to an unexpected server error";
    97, PRINCIPAL_DESERIALIZATION_FAILURE, Fatal, "request principal deserialization failed during forwarding. This indicates an internal error on the broker cluster security setup";
    98, SNAPSHOT_NOT_FOUND, Fatal, "requested snapshot was not found";
    99, POSITION_OUT_OF_RANGE, Fatal, "requested position is not greater than or equal to zero, and less than the size of the snapshot";
    100, UNKNOWN_TOPIC_ID, RefreshMetadata, "this server does not host this topic ID";
    101, DUPLICATE_BROKER_REGISTRATION, Fatal, "this broker ID is already in use";
    102, BROKER_ID_NOT_REGISTERED, Fatal, "the given broker ID was not registered";
    103, INCONSISTENT_TOPIC_ID, RefreshMetadata, "the log's topic ID did not match the topic ID in the request";
    104, INCONSISTENT_CLUSTER_ID, Fatal, "the clusterId in the request does not match that found on the server";
    105, TRANSACTIONAL_ID_NOT_FOUND, Fatal, "the transactionalId could not be found";
    106, FETCH_SESSION_TOPIC_ID_ERROR, Retriable, "the fetch session encountered inconsistent topic ID usage";
    107, INELIGIBLE_REPLICA, Fatal, "the new ISR contains at least one ineligible replica";
    108, NEW_LEADER_ELECTED, Fatal, "the AlterPartition request successfully updated the partition state but the leader has changed";
    109, OFFSET_MOVED_TO_TIERED_STORAGE, Fatal, "the requested offset is moved to tiered storage";
    110, FENCED_MEMBER_EPOCH, Fenced, "the member epoch is fenced by the group coordinator. The member must abandon all its partitions and rejoin";
    111, UNRELEASED_INSTANCE_ID, Fatal, "the instance ID is still used by another member in the consumer group. That member must leave first";
    112, UNSUPPORTED_ASSIGNOR, Fatal, "the assignor or its version range is not supported by the consumer group";
    113, STALE_MEMBER_EPOCH, Fatal, "the member epoch is stale. The member must retry after receiving its updated member epoch via the ConsumerGroupHeartbeat API";
    114, MISMATCHED_ENDPOINT_TYPE, Fatal, "the request was sent to an endpoint of the wrong type";
    115, UNSUPPORTED_ENDPOINT_TYPE, Fatal, "this endpoint type is not supported yet";
    116, UNKNOWN_CONTROLLER_ID, Fatal, "this controller ID is not known";
    117, UNKNOWN_SUBSCRIPTION_ID, Fatal, "client sent a push telemetry request with an invalid or outdated subscription ID";
    118, TELEMETRY_TOO_LARGE, Fatal, "client sent a push telemetry request larger than the maximum size the broker will accept";
    119, INVALID_REGISTRATION, Fatal, "the controller has considered the broker registration to be invalid";
    120, TRANSACTION_ABORTABLE, Abortable, "the server encountered an error with the transaction. The client can abort the transaction to continue using this transactional ID";
    121, INVALID_RECORD_STATE, Fatal, "the record state is invalid. The acknowledgement of delivery could not be completed";
    122, SHARE_SESSION_NOT_FOUND, Retriable, "the share session was not found";
    123, INVALID_SHARE_SESSION_EPOCH, Retriable, "the share session epoch is invalid";
    124, FENCED_STATE_EPOCH, Fenced, "the share coordinator rejected the request because the share-group state epoch did not match";
    125, INVALID_VOTER_KEY, Fatal, "the voter key doesn't match the receiving replica's key";
    126, DUPLICATE_VOTER, Fatal, "the voter is already part of the set of voters";
    127, VOTER_NOT_FOUND, Fatal, "the voter is not part of the set of voters";
    128, INVALID_REGULAR_EXPRESSION, Fatal, "the regular expression is not valid";
    129, REBOOTSTRAP_REQUIRED, RefreshMetadata, "client metadata is stale. The client should rebootstrap to obtain new metadata";
    130, STREAMS_INVALID_TOPOLOGY, Fatal, "the supplied topology is invalid";
    131, STREAMS_INVALID_TOPOLOGY_EPOCH, Fatal, "the supplied topology epoch is invalid";
    132, STREAMS_TOPOLOGY_FENCED, Fenced, "the supplied topology epoch is outdated";
    133, SHARE_SESSION_LIMIT_REACHED, Retriable, "the limit of share sessions has been reached";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_every_code_of_kafka_4_1_without_a_gap() {
        let codes: Vec<i16> = ErrorCode::all().map(ErrorCode::code).collect();
        assert_eq!(codes, (-1..=133).collect::<Vec<_>>());
        for code in ErrorCode::all() {
            assert!(code.is_known() && !code.name().is_empty() && !code.message().is_empty());
            assert!(!code.message().ends_with('.'), "{code}");
        }
    }

    #[test]
    fn a_code_newer_than_the_table_is_kept_and_fatal() {
        for raw in [134, i16::MAX, -2, i16::MIN] {
            let code = ErrorCode::from(raw);
            assert_eq!(
                (code.code(), code.name(), code.class()),
                (raw, "UNKNOWN", ErrorClass::Fatal)
            );
        }
    }

    #[test]
    fn classes_say_what_a_client_does_next() {
        for (code, class) in [
            (ErrorCode::NONE, ErrorClass::Success),
            (ErrorCode::REQUEST_TIMED_OUT, ErrorClass::Retriable),
            (ErrorCode::NOT_LEADER_OR_FOLLOWER, ErrorClass::RefreshMetadata),
            (ErrorCode::UNKNOWN_TOPIC_ID, ErrorClass::RefreshMetadata),
            (ErrorCode::PRODUCER_FENCED, ErrorClass::Fenced),
            (ErrorCode::TRANSACTION_ABORTABLE, ErrorClass::Abortable),
            (ErrorCode::TOPIC_AUTHORIZATION_FAILED, ErrorClass::Fatal),
        ] {
            assert_eq!(code.class(), class, "{code}");
        }
        assert!(ErrorCode::NONE.ok().is_ok());
        assert_eq!(
            ErrorCode::OFFSET_OUT_OF_RANGE.to_string(),
            "OFFSET_OUT_OF_RANGE (1): the requested offset is not within the range of offsets \
             maintained by the server"
        );
    }
}
