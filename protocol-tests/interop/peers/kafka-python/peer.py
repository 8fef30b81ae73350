"""kafka-python as a peer of the interoperability matrix: one request a line on standard input, one
answer a line on standard output (../../README.md)."""

import json
import select
import sys
import time

import kafka
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.consumer.subscription_state import ConsumerRebalanceListener
from kafka.coordinator.assignors.range import RangePartitionAssignor
from kafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from kafka.structs import OffsetAndMetadata

TIMEOUT_SECONDS = 30
SETTLE_SECONDS = 0.4
STUCK_SECONDS = 8
ASSIGNORS = {"range": RangePartitionAssignor, "roundrobin": RoundRobinPartitionAssignor}


def unhex(text):
    return None if text is None else bytes.fromhex(text)


def hexed(value):
    return None if value is None else bytes(value).hex()


def version(request):
    return {
        "client": f"kafka-python {kafka.__version__}",
        "cannot": {
            "header_key_bytes": "header keys are str",
            "null_key_and_value": "it refuses to write a record with neither a key nor a value",
            "null_header_value": "it refuses to write a header whose value is null",
        },
    }


def producer(request):
    config = {
        "bootstrap_servers": request["bootstrap"],
        "compression_type": None if request["codec"] == "none" else request["codec"],
        "linger_ms": 5000,  # Batches are cut by flush, not by time.
        "batch_size": request["batch_bytes"],
        "max_request_size": 16777216,
    }
    if request.get("transactional_id"):
        config["transactional_id"] = request["transactional_id"]
    return KafkaProducer(**config)


def send(sender, topic, record):
    return sender.send(
        topic,
        key=unhex(record["key"]),
        value=unhex(record["value"]),
        partition=record.get("partition"),
        timestamp_ms=record["timestamp"],
        headers=[(unhex(key).decode(), unhex(value)) for key, value in record["headers"]],
    )


def produce(request):
    sender = producer(request)
    try:
        sent = [send(sender, request["topic"], record) for record in request["records"]]
        sender.flush(TIMEOUT_SECONDS)
        placed = [future.get(TIMEOUT_SECONDS) for future in sent]
    finally:
        sender.close()
    return {"placed": [[metadata.partition, metadata.offset] for metadata in placed]}


def transact(request):
    sender = producer(request)
    try:
        sender.init_transactions()
        for transaction in request["transactions"]:
            sender.begin_transaction()
            sent = [send(sender, request["topic"], record) for record in transaction["records"]]
            sender.flush(TIMEOUT_SECONDS)
            for future in sent:
                future.get(TIMEOUT_SECONDS)
            if transaction["offset"] is not None:
                offsets = {TopicPartition(request["topic"], 0): OffsetAndMetadata(transaction["offset"], "", -1)}
                sender.send_offsets_to_transaction(offsets, request["group"])
            if transaction["commit"]:
                sender.commit_transaction()
            else:
                sender.abort_transaction()
    finally:
        sender.close()
    return {"ended": len(request["transactions"])}


def consumer(request, **more):
    return KafkaConsumer(
        bootstrap_servers=request["bootstrap"],
        group_id=request.get("group"),
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        isolation_level=request.get("isolation", "read_committed"),
        max_partition_fetch_bytes=16777216,
        fetch_max_wait_ms=100,
        **more,
    )


def partitions(request):
    return [TopicPartition(request["topic"], partition) for partition in range(request["partitions"])]


def described(record):
    return {
        "partition": record.partition,
        "offset": record.offset,
        "timestamp": record.timestamp,
        "key": hexed(record.key),
        "value": hexed(record.value),
        "headers": [[key.encode().hex(), hexed(value)] for key, value in record.headers],
    }


def polled(reader, **limits):
    for records in reader.poll(timeout_ms=100, **limits).values():
        yield from records


def consume(request):
    reader, records = consumer(request), []
    try:
        reader.assign(partitions(request))
        reader.seek_to_beginning()
        deadline = time.monotonic() + TIMEOUT_SECONDS
        # A moment longer than needed: what should not be there must have its chance to appear.
        settling = False
        while time.monotonic() < deadline:
            records.extend(described(record) for record in polled(reader))
            if not settling and len(records) >= request["count"]:
                settling = True
                deadline = time.monotonic() + SETTLE_SECONDS
    finally:
        reader.close()
    return {"records": records}


def resume(request):
    reader, records, positions = consumer(request), [], {}
    try:
        reader.subscribe([request["topic"]])
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while len(records) < request["count"] and time.monotonic() < deadline:
            for record in polled(reader, max_records=1):
                records.append(described(record))
                positions[TopicPartition(record.topic, record.partition)] = OffsetAndMetadata(
                    record.offset + 1, request["metadata"], -1
                )
        reader.commit(positions)
    finally:
        reader.close()
    return {"records": records}


def committed(request):
    reader = consumer(request)
    try:
        found = [(at, reader.committed(at, metadata=True)) for at in partitions(request)]
    finally:
        reader.close()
    return {
        "offsets": [
            {"partition": at.partition, "offset": offset.offset, "metadata": offset.metadata}
            for at, offset in found
            if offset is not None
        ]
    }


def tell(**event):
    print(json.dumps(event), flush=True)


class Teller(ConsumerRebalanceListener):
    owns_something = False

    def on_partitions_assigned(self, assigned):
        self.owns_something = self.owns_something or bool(assigned)
        tell(assigned=sorted(at.partition for at in assigned))

    def on_partitions_revoked(self, revoked):
        tell(assigned=[])


def member(request):
    while not is_member(request):
        pass
    tell(left=True)


def is_member(request):
    """False if it has to begin anew: kafka-python 3.0.12 may join before it knows the topic's partitions, assign
    none and join again; now and then it then waits for ever for a SyncGroup answer that its log says it received."""
    reader = consumer(
        request,
        partition_assignment_strategy=[ASSIGNORS[request["assignor"]]],
        session_timeout_ms=request["session_timeout_ms"],
        heartbeat_interval_ms=300,
    )
    teller = Teller()
    reader.subscribe([request["topic"]], listener=teller)
    stuck_at = time.monotonic() + STUCK_SECONDS
    while not select.select([sys.stdin], [], [], 0)[0]:
        for record in polled(reader):
            tell(record={"partition": record.partition, "offset": record.offset})
        if not teller.owns_something and time.monotonic() > stuck_at:
            reader.close(timeout_ms=1000)
            return False
    reader.close()
    return True


VERBS = {verb.__name__: verb for verb in (version, produce, transact, consume, resume, committed)}


def main():
    for line in iter(sys.stdin.readline, ""):
        try:
            request = json.loads(line)
            if request["verb"] == "member":
                return member(request)
            answer = VERBS[request["verb"]](request)
        except Exception as error:  # Whatever it is, the one who asked is told.
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)


main()
