"""librdkafka as a peer of the interoperability matrix, through confluent-kafka: one request a line
on standard input, one answer a line on standard output (../../README.md)."""

import json
import select
import sys
import time

import confluent_kafka
from confluent_kafka import Consumer, Producer, TopicPartition

TIMEOUT_SECONDS = 30
SETTLE_SECONDS = 0.4


def unhex(text):
    return None if text is None else bytes.fromhex(text)


def hexed(value):
    return None if value is None else value.hex()


def checked(message):
    if message.error():
        raise RuntimeError(str(message.error()))
    return message


def version(request):
    return {
        "client": f"librdkafka {confluent_kafka.libversion()[0]} (confluent-kafka {confluent_kafka.version()})",
        "cannot": {
            "header_key_bytes": "header keys are str in its Python binding",
            "exact_metadata": "metadata committed through its Python binding end in a zero byte",
        },
    }


def producer(request):
    config = {
        "bootstrap.servers": request["bootstrap"],
        "compression.type": request["codec"],
        "linger.ms": 5000,  # Batches are cut by flush, not by time.
        "batch.size": request["batch_bytes"],
        "message.max.bytes": 16777216,
        "enable.idempotence": True,
        "partitioner": "murmur2_random",
    }
    if request.get("transactional_id"):
        config["transactional.id"] = request["transactional_id"]
    return Producer(config)


def send(sender, topic, record, placed):
    def delivered(error, message, at=len(placed)):
        placed[at] = RuntimeError(str(error)) if error else [message.partition(), message.offset()]

    placed.append(None)
    sender.produce(
        topic,
        key=unhex(record["key"]),
        value=unhex(record["value"]),
        partition=-1 if record.get("partition") is None else record["partition"],
        timestamp=record["timestamp"],
        headers=[(unhex(key).decode(), unhex(value)) for key, value in record["headers"]],
        on_delivery=delivered,
    )


def flush(sender, placed):
    if sender.flush(TIMEOUT_SECONDS):
        raise RuntimeError("not everything was delivered in time")
    for place in placed:
        if isinstance(place, Exception):
            raise place


def produce(request):
    sender, placed = producer(request), []
    for record in request["records"]:
        send(sender, request["topic"], record, placed)
    flush(sender, placed)
    return {"placed": placed}


def transact(request):
    sender = producer(request)
    sender.init_transactions(TIMEOUT_SECONDS)
    for transaction in request["transactions"]:
        sender.begin_transaction()
        placed = []
        for record in transaction["records"]:
            send(sender, request["topic"], record, placed)
        flush(sender, placed)
        if transaction["offset"] is not None:
            reader = consumer(request)
            offsets = [TopicPartition(request["topic"], 0, transaction["offset"])]
            sender.send_offsets_to_transaction(offsets, reader.consumer_group_metadata(), TIMEOUT_SECONDS)
            reader.close()
        if transaction["commit"]:
            sender.commit_transaction(TIMEOUT_SECONDS)
        else:
            sender.abort_transaction(TIMEOUT_SECONDS)
    return {"ended": len(request["transactions"])}


def consumer(request, **more):
    config = {
        "bootstrap.servers": request["bootstrap"],
        "group.id": request.get("group", "nobody"),
        "enable.auto.commit": False,
        "auto.offset.reset": "earliest",
        "isolation.level": request.get("isolation", "read_committed"),
        "check.crcs": True,
        "fetch.wait.max.ms": 100,
        **more,
    }
    return Consumer(config)


def partitions(request, *offset):
    return [TopicPartition(request["topic"], partition, *offset) for partition in range(request["partitions"])]


def described(message):
    kind, timestamp = message.timestamp()
    return {
        "partition": message.partition(),
        "offset": message.offset(),
        "timestamp": timestamp,
        "key": hexed(message.key()),
        "value": hexed(message.value()),
        "headers": [[key.encode().hex(), hexed(value)] for key, value in message.headers() or []],
    }


def consume(request):
    reader, records = consumer(request), []
    try:
        reader.assign(partitions(request, confluent_kafka.OFFSET_BEGINNING))
        deadline = time.monotonic() + TIMEOUT_SECONDS
        # A moment longer than needed: what should not be there must have its chance to appear.
        settling = False
        while time.monotonic() < deadline:
            message = reader.poll(0.1)
            if message is not None:
                records.append(described(checked(message)))
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
            message = reader.poll(0.1)
            if message is not None:
                records.append(described(checked(message)))
                positions[message.partition()] = message.offset() + 1
        offsets = [
            TopicPartition(request["topic"], partition, offset, request["metadata"])
            for partition, offset in positions.items()
        ]
        reader.commit(offsets=offsets, asynchronous=False)
    finally:
        reader.close()
    return {"records": records}


def committed(request):
    reader = consumer(request)
    try:
        found = reader.committed(partitions(request), timeout=TIMEOUT_SECONDS)
    finally:
        reader.close()
    return {
        "offsets": [
            {"partition": at.partition, "offset": at.offset, "metadata": at.metadata or ""}
            for at in found
            if at.offset >= 0
        ]
    }


def member(request):
    def tell(**event):
        print(json.dumps(event), flush=True)

    def assigned(_, given):
        tell(assigned=sorted(at.partition for at in given))

    def revoked(_, given):
        tell(assigned=[])

    reader = consumer(
        request,
        **{
            "partition.assignment.strategy": request["assignor"],
            "session.timeout.ms": request["session_timeout_ms"],
            "heartbeat.interval.ms": 300,
        },
    )
    reader.subscribe([request["topic"]], on_assign=assigned, on_revoke=revoked, on_lost=revoked)
    while not select.select([sys.stdin], [], [], 0)[0]:
        message = reader.poll(0.1)
        if message is not None:
            checked(message)
            tell(record={"partition": message.partition(), "offset": message.offset()})
    reader.close()
    tell(left=True)


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
