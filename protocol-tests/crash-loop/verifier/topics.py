"""Reads whole topics with librdkafka, which shares no code with the engine."""

import time

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec
from confluent_kafka import IsolationLevel

TIMEOUT_SECONDS = 60


def partitions_of(bootstrap, topic):
    """The numbers of a topic's partitions; none if it does not exist."""
    metadata = AdminClient({"bootstrap.servers": bootstrap}).list_topics(topic, timeout=TIMEOUT_SECONDS)
    found = metadata.topics[topic]
    if found.error is not None:
        if found.error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
            return []
        raise KafkaException(found.error)
    return sorted(found.partitions)


def wait_for_ended_transactions(bootstrap, topic, seconds):
    """Waits until readers of committed records can read to the end of every partition; the partitions where they cannot."""
    admin = AdminClient({"bootstrap.servers": bootstrap})
    wanted = {TopicPartition(topic, partition): OffsetSpec.latest() for partition in partitions_of(bootstrap, topic)}
    deadline = time.monotonic() + seconds
    while wanted:
        stable, high = (
            {at.partition: answer.result().offset for at, answer in admin.list_offsets(wanted, isolation_level=level).items()}
            for level in (IsolationLevel.READ_COMMITTED, IsolationLevel.READ_UNCOMMITTED)
        )
        blocked = {partition: (stable[partition], high[partition]) for partition in high if stable[partition] < high[partition]}
        if not blocked or time.monotonic() > deadline:
            return blocked
        time.sleep(0.2)
    return {}


def read(bootstrap, topic, isolation="read_committed"):
    """Every record of a topic, each partition in order."""
    partitions = partitions_of(bootstrap, topic)
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "crash-loop-verifier",
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "isolation.level": isolation,
            "enable.partition.eof": True,
            "check.crcs": True,
        }
    )
    unread = set(partitions)
    deadline = time.monotonic() + TIMEOUT_SECONDS
    try:
        consumer.assign([TopicPartition(topic, partition, 0) for partition in partitions])
        while unread:
            for message in consumer.consume(10_000, timeout=0.2):
                deadline = time.monotonic() + TIMEOUT_SECONDS
                error = message.error()
                if error is None:
                    yield message
                elif error.code() == KafkaError._PARTITION_EOF:
                    unread.discard(message.partition())
                elif not error.retriable():
                    raise KafkaException(error)
            if time.monotonic() > deadline:
                raise TimeoutError(f"{topic}: nothing was read for {TIMEOUT_SECONDS} s, partitions {sorted(unread)} have no end")
    finally:
        consumer.close()
