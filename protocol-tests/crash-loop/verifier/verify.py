#!/usr/bin/env python3
"""Recounts a source topic and compares the results topic and the lake with it; a report in JSON on standard output, exit code 1
if anything is wrong. It shares no code with the engine: librdkafka reads the topics, pyarrow the lake."""

import argparse
import json
import os
import sys
from collections import Counter

import batches
import lake
import topics
from judge import Facts, Row, failure, judge

SHOWN = 40


def recount(facts, arguments, late):
    """Counts the source by the book, an event at a time. Late rows are taken out: they are in their own topic."""
    unseen = Counter(late)
    windows = {(time - time % arguments.window_ms, campaign) for _, campaign, _, time in late}
    facts.late = Counter((time - time % arguments.window_ms, campaign) for _, campaign, _, time in late)
    for message in topics.read(arguments.bootstrap, arguments.events):
        facts.events += 1
        try:
            event = json.loads(message.value())
        except ValueError:
            facts.malformed.append((message.partition(), message.offset()))
            continue
        if event["event_type"] != "view":
            continue
        campaign, produced = event["campaign_id"], event["produce_time"]
        time = event["event_time_ns"] // 1_000_000
        window = (time - time % arguments.window_ms, campaign)
        if window in windows:
            identity = (event["ad_id"], campaign, produced, time)
            if unseen[identity] > 0:
                unseen[identity] -= 1
                continue
        views, latest = facts.counts.get(window, (0, produced))
        facts.counts[window] = (views + 1, max(latest, produced))
    facts.invented = sorted(unseen.elements())


def read_late(arguments):
    found = []
    for message in topics.read(arguments.bootstrap, arguments.late):
        row = json.loads(message.value())
        found.append((row["ad_id"], row["campaign_id"], row["produce_time"], row["event_time"] // 1_000_000))
    return found


def read_results(facts, arguments):
    for message in topics.read(arguments.bootstrap, arguments.results):
        row = json.loads(message.value())
        place = f"{arguments.results}-{message.partition()} at {message.offset()}"
        if row["window_end"] - row["window_start"] != arguments.window_ms:
            facts.faults.append(f"{place}: a window of another length: {row}")
        if message.key() != str(row["campaign_id"]).encode():
            facts.faults.append(f"{place}: the key {message.key()} is not the campaign of {row}")
        window = (row["window_start"], row["campaign_id"])
        value = (row["events"], row["max_produce_time"])
        facts.results[window].append(Row(message.partition(), message.offset(), value))


def read_lake(facts, arguments):
    files = lake.visible_files(arguments.lake)
    for path in files:
        if not path.endswith(".parquet"):
            facts.faults.append(f"{path} is no Parquet file, and readers see it")
            continue
        try:
            rows = lake.rows(path)
            facts.files[os.path.relpath(path, arguments.lake)] = len(rows)
            for window, value, end in rows:
                facts.lake[window].append((path, value))
                if end - window[0] != arguments.window_ms:
                    facts.faults.append(f"{path}: a window of another length: {window}")
        except (OSError, ValueError) as error:
            facts.faults.append(f"{path}: {error}")
    try:
        facts.manifest = lake.manifest(arguments.lake)
    except (KeyError, ValueError) as error:
        facts.faults.append(f"the manifest of the lake: {error!r}")
    return files


def read_dead_letters(facts, arguments):
    for message in topics.read(arguments.bootstrap, arguments.dead_letters):
        headers = dict(message.headers() or [])
        facts.dead_letters.append((int(headers["engine.partition"]), int(headers["engine.offset"])))


def transactions(facts):
    """How the outputs were written, over all of their topics."""
    every = [batch for partitions in facts.batches.values() for found in partitions.values() for batch in found]
    data = [batch for batch in every if not batch.control]
    return {
        "commits": sum(batch.control == "commit" for batch in every),
        "aborts": sum(batch.control == "abort" for batch in every),
        "plain_rows": sum(batch.records for batch in data if not batch.is_transactional),
        "committed_rows": sum(batch.records for batch in data if batch.fate == "committed"),
        "aborted_rows": sum(batch.records for batch in data if batch.fate == "aborted"),
        "producer_epochs": len({(batch.producer_id, batch.producer_epoch) for batch in data}),
    }


def verify(arguments):
    facts, failures = Facts(), []
    outputs = [topic for topic in (arguments.results, arguments.late, arguments.dead_letters) if topic]
    for topic in outputs:
        blocked = topics.wait_for_ended_transactions(arguments.bootstrap, topic, arguments.transaction_seconds)
        for partition, (stable, high) in blocked.items():
            what = f"{topic}-{partition}: readers of committed records stop at {stable} of {high}"
            failures.append(failure("transactions", "blocking", what))
    late = read_late(arguments) if arguments.late else []
    recount(facts, arguments, late)
    read_results(facts, arguments)
    if arguments.dead_letters:
        read_dead_letters(facts, arguments)
    files = read_lake(facts, arguments)
    facts.batches = {topic: batches.read(arguments.bootstrap, topic) for topic in outputs if topics.partitions_of(arguments.bootstrap, topic)}
    failures += judge(facts, arguments.guarantee)
    return {
        "ok": not failures,
        "guarantee": arguments.guarantee,
        "events": facts.events,
        "windows": len(facts.counts),
        "rows_in_topic": sum(map(len, facts.results.values())),
        "rows_in_lake": sum(map(len, facts.lake.values())),
        "lake_files": len(files),
        "files_in_manifest": len(facts.manifest or {}),
        "late_rows": sum(facts.late.values()),
        "malformed": len(facts.malformed),
        "dead_letters": len(facts.dead_letters),
        "transactions": transactions(facts),
        "failed": dict(Counter(f"{found['where']}: {found['kind']}" for found in failures)),
        "failures": failures[:SHOWN],
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bootstrap", required=True)
    parser.add_argument("--events", required=True, help="the source topic")
    parser.add_argument("--results", required=True, help="the results topic")
    parser.add_argument("--late", help="the topic of late rows")
    parser.add_argument("--dead-letters", help="the dead letter topic")
    parser.add_argument("--lake", required=True, help="the folder of the lake's table")
    parser.add_argument("--guarantee", choices=["exactly_once", "at_least_once"], required=True)
    parser.add_argument("--window-ms", type=int, required=True)
    parser.add_argument("--transaction-seconds", type=float, default=20, help="no transaction may be open longer")
    report = verify(parser.parse_args())
    json.dump(report, sys.stdout)
    print()
    return 0 if report["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())
