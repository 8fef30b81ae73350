#!/usr/bin/env python3
"""Shows that the verifier and the watch find what they are there for: a correct job passes, and every sabotage of it is named.

Needs a broker (`--bootstrap`), into whose topics a job's source, results, late rows and dead letters are written by librdkafka, in
transactions of which some are aborted, and a folder for a lake that pyarrow writes."""

import argparse
import copy
import json
import os
import sys
import tempfile
import time
from collections import Counter
from types import SimpleNamespace

import pyarrow
import pyarrow.parquet
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

import batches
import lake
import topics
import verify
import watch
from judge import Facts, Row, judge

BASE_MS = 1_700_000_000_000
WINDOW_MS = 1000
CAMPAIGNS = 3
WINDOWS = 4
PASSED = []


def event(campaign, time_ms, kind="view", ad="ad"):
    return {"ad_id": ad, "event_type": kind, "campaign_id": campaign, "produce_time": time_ms, "event_time_ns": time_ms * 1_000_000 + 7}


def good_events():
    """Per window and campaign: campaign + 1 views, and a click that does not count."""
    for window in range(WINDOWS):
        for campaign in range(CAMPAIGNS):
            for number in range(campaign + 1):
                yield event(campaign, BASE_MS + window * WINDOW_MS + 100 * number, ad=f"ad-{number}")
            yield event(campaign, BASE_MS + window * WINDOW_MS, "click")


def expected():
    return {
        (BASE_MS + window * WINDOW_MS, campaign): (campaign + 1, BASE_MS + window * WINDOW_MS + 100 * campaign)
        for window in range(WINDOWS)
        for campaign in range(CAMPAIGNS)
    }


def result(window, value):
    row = {"window_start": window[0], "window_end": window[0] + WINDOW_MS, "campaign_id": window[1]}
    return {**row, "events": value[0], "max_produce_time": value[1]}


def lake_file(folder, name, windows):
    os.makedirs(os.path.join(folder, "dt=2023-11-14"), exist_ok=True)
    path = os.path.join(folder, "dt=2023-11-14", name)
    rows = [result(window, value) for window, value in windows.items()]
    time_type = pyarrow.timestamp("ms", "UTC")
    types = {"window_start": time_type, "window_end": time_type, "max_produce_time": time_type}
    columns = {
        column: pyarrow.array([row[column] for row in rows], types.get(column, pyarrow.int64()))
        for column in ("window_start", "window_end", "campaign_id", "events", "max_produce_time")
    }
    pyarrow.parquet.write_table(pyarrow.table(columns), path + ".staged")
    os.rename(path + ".staged", path)
    return path


class Job:
    """A job's topics and lake, written as an engine without faults would."""

    def __init__(self, bootstrap, name):
        self.bootstrap, self.name = bootstrap, f"{name}-{os.getpid()}-{time.time_ns()}"
        self.folder = tempfile.TemporaryDirectory()
        self.lake = self.folder.name
        admin = AdminClient({"bootstrap.servers": bootstrap})
        new = [NewTopic(self.topic(what), 2, 1) for what in ("events", "results", "late", "dead")]
        for future in admin.create_topics(new).values():
            future.result(30)
        lines = [json.dumps(line).encode() for line in good_events()]
        self.plain("events", [(None, line, None) for line in lines + [b'{"ad_id": "cut in ha']])
        malformed = [message for message in topics.read(bootstrap, self.topic("events")) if message.value().endswith(b"ha")][0]
        headers = [("engine.partition", str(malformed.partition()).encode()), ("engine.offset", str(malformed.offset()).encode())]
        rows = [self.row(window, value) for window, value in expected().items()]
        half = len(rows) // 2
        self.transaction({"results": rows[:half]}, commit=True)
        # What a crash leaves behind: an attempt that was aborted, written again in the next transaction.
        self.transaction({"results": rows[half:]}, commit=False)
        self.transaction({"results": rows[half:], "dead": [(None, malformed.value(), headers)]}, commit=True)
        windows = list(expected().items())
        self.files = [lake_file(self.lake, "1.parquet", dict(windows[:5])), lake_file(self.lake, "2.parquet", dict(windows[5:]))]

    def topic(self, what):
        return f"{self.name}-{what}"

    @staticmethod
    def row(window, value):
        return (str(window[1]).encode(), json.dumps(result(window, value)).encode(), None)

    def plain(self, what, records):
        producer = Producer({"bootstrap.servers": self.bootstrap, "log_level": 2})
        self.send(producer, {what: records})

    def transaction(self, topics_and_records, commit):
        producer = Producer({"bootstrap.servers": self.bootstrap, "transactional.id": self.name, "log_level": 2})
        producer.init_transactions(30)
        producer.begin_transaction()
        self.send(producer, topics_and_records)
        producer.commit_transaction(30) if commit else producer.abort_transaction(30)

    def send(self, producer, topics_and_records):
        for what, records in topics_and_records.items():
            for key, value, headers in records:
                producer.produce(self.topic(what), value, key, headers=headers)
        assert producer.flush(30) == 0

    def verify(self, guarantee="exactly_once"):
        topic = self.topic
        arguments = SimpleNamespace(
            bootstrap=self.bootstrap,
            events=topic("events"),
            results=topic("results"),
            late=topic("late"),
            dead_letters=topic("dead"),
            lake=self.lake,
            guarantee=guarantee,
            window_ms=WINDOW_MS,
            transaction_seconds=1,
        )
        return verify.verify(arguments)


def check(name, report, wanted):
    """The findings must be these, and no others."""
    found = report if isinstance(report, dict) and "failures" not in report else report["failed"]
    assert found == wanted, f"{name}: found {found}, wanted {wanted}: {json.dumps(report, indent=1, default=str)}"
    PASSED.append(name)


def sabotage(bootstrap, name, wanted, change, guarantee="exactly_once"):
    job = Job(bootstrap, "sabotaged")
    change(job)
    check(name, job.verify(guarantee), wanted)


WINDOW, VALUE = next(iter(expected().items()))


def with_a_broker(bootstrap):
    report = Job(bootstrap, "good").verify()
    check("a correct job passes", report, {})
    half = len(expected()) // 2
    transactions = report["transactions"]
    assert (report["windows"], report["rows_in_topic"], report["malformed"], report["dead_letters"]) == (12, 12, 1, 1), report
    assert (transactions["aborted_rows"], transactions["committed_rows"], transactions["plain_rows"]) == (half, 13, 0), report
    assert transactions["commits"] >= 2 and transactions["aborts"] >= 1, report

    again = {"results": [Job.row(WINDOW, VALUE)]}
    wrong = {"results": [Job.row(WINDOW, (VALUE[0] + 1, VALUE[1]))]}
    extra = {"results": [Job.row((WINDOW[0] + 60_000, 1), (1, WINDOW[0] + 60_000))]}
    more = [(None, json.dumps(event(1, BASE_MS + 77_000)).encode(), None)]
    cases = [
        ("a doubled result row", {"topic: doubled": 1}, lambda job: job.transaction(again, True)),
        ("a doubled row of an aborted transaction is not there", {}, lambda job: job.transaction(again, False)),
        ("a row for a window without events", {"topic: extra": 1}, lambda job: job.transaction(extra, True)),
        ("a row outside of any transaction", {"topic: doubled": 1, "transactions: plain": 1}, lambda job: job.plain("results", again["results"])),
        ("an event that nobody counted", {"topic: lost": 1, "lake: lost": 1}, lambda job: job.plain("events", more)),
        ("a deleted lake file", {"lake: lost": 5}, lambda job: os.remove(job.files[0])),
        ("a window twice in the lake", {"lake: doubled": 1}, lambda job: lake_file(job.lake, "3.parquet", {WINDOW: VALUE})),
        ("a partial lake file", {"rows: fault": 1, "lake: lost": 5}, lambda job: os.truncate(job.files[0], 300)),
        ("a file that is no table's", {"rows: fault": 1}, lambda job: open(os.path.join(job.lake, "left.over"), "w").close()),
    ]
    for name, wanted, change in cases:
        sabotage(bootstrap, name, wanted, change)
    sabotage(bootstrap, "at least once, a row may come again", {}, lambda job: job.plain("results", again["results"]), "at_least_once")
    wanted = {"topic: wrong": 1}
    sabotage(bootstrap, "at least once, the last row counts", wanted, lambda job: job.plain("results", wrong["results"]), "at_least_once")

    def hang(job):
        job.hanging = Producer({"bootstrap.servers": job.bootstrap, "transactional.id": "hanging", "log_level": 2})
        job.hanging.init_transactions(30)
        job.hanging.begin_transaction()
        job.send(job.hanging, {"results": again["results"]})

    sabotage(bootstrap, "a transaction without an end", {"transactions: blocking": 1, "transactions: open": 1}, hang)

    def late(job, times):
        """A late row is in its own topic instead of in its window."""
        job.plain("events", [(None, json.dumps(event(WINDOW[1], WINDOW[0] + 5, ad="late")).encode(), None)])
        row = {"ad_id": "late", "campaign_id": WINDOW[1], "produce_time": WINDOW[0] + 5, "event_time": (WINDOW[0] + 5) * 1_000_000 + 7}
        job.transaction({"late": [(None, json.dumps(row).encode(), None)] * times}, True)

    sabotage(bootstrap, "a late row is not in its window", {}, lambda job: late(job, 1))
    sabotage(bootstrap, "a late row that came twice", {"late: invented": 1}, lambda job: late(job, 2))


def pure():
    """The comparison itself."""

    def facts():
        good = Facts(counts=expected(), malformed=[(0, 3)], dead_letters=[(0, 3)])
        for offset, (window, value) in enumerate(expected().items()):
            good.results[window].append(Row(0, offset, value))
            good.lake[window].append(("file", value))
        return good

    def kinds(change, guarantee="exactly_once"):
        changed = copy.deepcopy(facts())
        change(changed)
        return dict(Counter(f"{found['where']}: {found['kind']}" for found in judge(changed, guarantee)))

    other = (VALUE[0] - 1, VALUE[1])
    check("nothing is wrong", kinds(lambda it: None), {})
    check("a missing row", kinds(lambda it: it.results.pop(WINDOW)), {"topic: lost": 1})
    check("a wrong row", kinds(lambda it: it.results.update({WINDOW: [Row(0, 0, other)]})), {"topic: wrong": 1})
    check("a wrong lake row", kinds(lambda it: it.lake.update({WINDOW: [("file", other)]})), {"lake: wrong": 1})
    check("a lost dead letter", kinds(lambda it: it.dead_letters.clear()), {"dead letters: lost": 1})
    check("a doubled dead letter", kinds(lambda it: it.dead_letters.append((0, 3))), {"dead letters: doubled": 1})
    check("a dead letter may come again", kinds(lambda it: it.dead_letters.append((0, 3)), "at_least_once"), {})
    check("an event as a dead letter", kinds(lambda it: it.dead_letters.append((1, 9))), {"dead letters: extra": 1})
    files = {"a.parquet": 3, "b.parquet": 4}
    check("a manifest that is right", kinds(lambda it: (it.files.update(files), setattr(it, "manifest", files))), {})
    short = {"a.parquet": 3}
    check("a file that the manifest lacks", kinds(lambda it: (it.files.update(files), setattr(it, "manifest", short))), {"manifest: wrong": 1})
    check("a file that only the manifest has", kinds(lambda it: (it.files.update(short), setattr(it, "manifest", files))), {"manifest: wrong": 1})
    late_once = lambda it: (it.late.update([WINDOW]), it.results.pop(WINDOW), it.lake.pop(WINDOW))
    check("at least once, a window with late rows is excused", kinds(late_once, "at_least_once"), {})
    check("exactly once, it is not", kinds(late_once), {"topic: lost": 1, "lake: lost": 1})


def watching():
    """The watch: listings one after the other, and committed offsets."""
    with tempfile.TemporaryDirectory() as folder:
        seen = watch.LakeWatch(folder)
        windows = list(expected().items())
        seen.look()
        first = lake_file(folder, "1.parquet", dict(windows[:4]))
        seen.look()
        lake_file(folder, "2.parquet", dict(windows[4:]))
        seen.look()
        assert (seen.failures, seen.listings, len(lake.visible_files(folder))) == ([], 3, 2)
        PASSED.append("a growing lake is well")
        double = lake_file(folder, "3.parquet", dict(windows[3:5]))
        seen.look()
        assert "2 times at one instant" in seen.failures.pop()["what"] and not seen.failures
        PASSED.append("a window that was there twice for an instant")
        os.remove(double)
        seen.look()
        assert not seen.failures
        os.remove(first)
        seen.look()
        assert "4 windows were in the lake and are gone" in seen.failures.pop()["what"]
        PASSED.append("windows that vanish")
        with open(os.path.join(folder, "dt=2023-11-14", "4.parquet"), "wb") as file:
            file.write(b"PAR1 and no more")
        seen.look()
        assert "is not whole" in seen.failures.pop()["what"]
        PASSED.append("a partial file")
    with tempfile.TemporaryDirectory() as folder:
        assert lake.manifest(folder) is None
        os.mkdir(os.path.join(folder, "_manifest"))

        def write(name, **document):
            with open(os.path.join(folder, "_manifest", name), "w", encoding="utf-8") as file:
                json.dump(document, file)

        added = lambda *names: [{"path": name, "rows": 1} for name in names]
        write("1.json", version=1, added=added("gone"), removed=[])
        write("2.all.json", version=2, files=added("a", "b"))
        write("2.json", version=2, added=added("b"), removed=["gone"])
        write("3.json", version=3, added=added("c"), removed=["a"])
        assert lake.manifest(folder) == {"b": 1, "c": 1}
        write("5.json", version=5, added=[], removed=[])
        try:
            lake.manifest(folder)
            raise AssertionError("a missing change was not seen")
        except ValueError:
            PASSED.append("a manifest is a list of all files and the changes after it")
    offsets = watch.OffsetsWatch("127.0.0.1:1", "group", "topic", 1)
    for now in ((5, 1, None), (9, 2, 70), (9, 2, 70), (9, 3, 80)):
        offsets.compare(0, now)
    assert not offsets.failures and offsets.commits == 2
    for name, now in (("offset", (8, 3, 80)), ("checkpoint", (9, 2, 80)), ("watermark", (9, 3, 79)), ("watermark", (9, 3, None))):
        offsets.seen[0] = (9, 3, 80)
        offsets.compare(0, now)
        assert f"the {name} went back" in offsets.failures.pop()["what"] and not offsets.failures
        PASSED.append(f"a committed {name} that goes back to {now}")
    assert watch.words("engine/1 checkpoint=7 watermark_ns=none") == (7, None)
    assert watch.words("") == (None, None)
    batch = lambda producer, control=None: batches.Batch(0, 0, 0, producer, 0, True, 1, control)
    fates = [found.fate for found in batches.settle([batch(1), batch(2), batch(1, "abort"), batch(1), batch(2, "commit")])]
    assert fates == ["aborted", "committed", None, None, None], fates
    PASSED.append("the fate of a batch is its own producer's")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bootstrap", required=True)
    arguments = parser.parse_args()
    pure()
    watching()
    with_a_broker(arguments.bootstrap)
    print(f"the verifier's own {len(PASSED)} tests passed: {'; '.join(PASSED)}", flush=True)
    # librdkafka's own threads may wait for a broker that never was.
    os._exit(0)


if __name__ == "__main__":
    main()
