"""The headers of a topic's record batches, by a Fetch request written by hand: no client shows who wrote a record, in which
epoch, and whether its transaction was committed."""

import struct
from dataclasses import dataclass

from confluent_kafka.admin import AdminClient

import wire

FETCH, FETCH_VERSION = 1, 4
FETCH_BYTES = 8 << 20
TIMEOUT_SECONDS = 30
HEADER = struct.Struct(">qiibIhiqqqhii")


@dataclass
class Batch:
    """One batch; a control batch ends the transaction of its producer."""

    partition: int
    base_offset: int
    last_offset: int
    producer_id: int
    producer_epoch: int
    is_transactional: bool
    records: int
    # "commit" or "abort" of a control batch.
    control: str | None
    # Of a data batch, once its control batch was seen: "committed" or "aborted".
    fate: str | None = None

    def describe(self):
        kind = "transactional" if self.is_transactional else "plain"
        return f"{self.fate or kind} by producer {self.producer_id} epoch {self.producer_epoch}"


def read(bootstrap, topic):
    """All batches of a topic, by partition."""
    metadata = AdminClient({"bootstrap.servers": bootstrap}).list_topics(topic, timeout=TIMEOUT_SECONDS)
    found = {}
    for partition, description in metadata.topics[topic].partitions.items():
        leader = metadata.brokers[description.leader]
        found[partition] = settle(list(read_partition(leader.host, leader.port, topic, partition)))
    return found


def settle(batches):
    """Gives each transactional data batch the fate that the next control batch of its producer decides."""
    open_batches = {}
    for batch in batches:
        if batch.control:
            for data in open_batches.pop(batch.producer_id, []):
                data.fate = "committed" if batch.control == "commit" else "aborted"
        elif batch.is_transactional:
            open_batches.setdefault(batch.producer_id, []).append(batch)
    return batches


def read_partition(host, port, topic, partition):
    with wire.Connection(host, port) as connection:
        offset = 0
        while True:
            high_watermark, records = fetch(connection, topic, partition, offset)
            before = offset
            for batch in parse(partition, records):
                if batch.last_offset >= offset:
                    yield batch
                    offset = batch.last_offset + 1
            if offset >= high_watermark:
                return
            if offset == before:
                raise ValueError(f"{topic}-{partition}: no batch at {offset}, below the high watermark {high_watermark}")


def fetch(connection, topic, partition, offset):
    # Replica, wait, minimum, maximum, read_uncommitted; one topic with one partition.
    body = struct.pack(">iiiib", -1, 100, 1, FETCH_BYTES, 0)
    body += struct.pack(">i", 1) + wire.text(topic) + struct.pack(">iiqi", 1, partition, offset, FETCH_BYTES)
    answer = connection.ask(FETCH, FETCH_VERSION, body)
    answer.take(">ii")  # Throttle time, one topic.
    answer.text()
    _, _, error, high_watermark, _, aborted = answer.take(">iihqqi")
    if error:
        raise ValueError(f"{topic}-{partition}: fetch at {offset} failed with error code {error}")
    answer.bytes(16 * aborted)
    return high_watermark, answer.bytes(answer.take(">i"))


def parse(partition, records):
    """The whole batches in the bytes of a Fetch response; its last one may be cut."""
    at = 0
    while at + HEADER.size <= len(records):
        (base, length, _, magic, _, attributes, last_delta, _, _, producer_id, epoch, _, count) = HEADER.unpack_from(records, at)
        if at + 12 + length > len(records):
            return
        if magic != 2:
            raise ValueError(f"partition {partition}, offset {base}: batch of version {magic}")
        control = control_of(records[at + HEADER.size : at + 12 + length]) if attributes & 0x20 else None
        yield Batch(partition, base, base + last_delta, producer_id, epoch, bool(attributes & 0x10), count, control)
        at += 12 + length


def control_of(record):
    """The type of a control record: its length, attributes, time, offset and the key's length are varints of one byte or more."""
    _, at = varint(record, 0)
    at += 1
    for _ in range(3):
        _, at = varint(record, at)
    _, kind = struct.unpack_from(">hh", record, at)
    return "commit" if kind == 1 else "abort"


def varint(data, at):
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return (value >> 1) ^ -(value & 1), at
