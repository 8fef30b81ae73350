#!/usr/bin/env python3
"""Looks at a lake and at a group's committed offsets all the time while engines are killed, until standard input ends; then a
report in JSON on standard output.

In each listing of the lake: every visible file is whole, no window is there twice, and no window that was there is gone. Of the
offsets: neither they nor the checkpoint and the watermark in their metadata ever go back."""

import argparse
import json
import struct
import sys
import threading
import time
from collections import Counter

import lake
import wire

LISTING_PAUSE_SECONDS = 0.02
OFFSETS_PAUSE_SECONDS = 0.1
FAILURES_MAX = 20


FIND_COORDINATOR, OFFSET_FETCH = 10, 9


class UnansweredError(Exception):
    """A broker that answers with an error code, which passes."""


class LakeWatch:
    """What a reader that lists the folder again and again would see."""

    def __init__(self, folder):
        self.folder, self.listings, self.files_read, self.replaced = folder, 0, 0, 0
        self.files, self.windows, self.failures = {}, Counter(), []

    def look(self):
        listed = lake.visible_files(self.folder)
        self.listings += 1
        new, gone = [], set(self.files) - set(listed)
        for path in listed:
            if path not in self.files:
                try:
                    new.append((path, self.read(path)))
                except FileNotFoundError:
                    return  # Replaced since it was listed: that is another instant.
        before = set(self.windows) if gone else set()
        for path in gone:
            self.replaced += 1
            self.windows.subtract(self.files.pop(path))
        for path, windows in new:
            self.files[path] = windows
            self.windows.update(windows)
        self.windows = +self.windows
        for path, windows in new:
            doubled = [window for window in windows if self.windows[window] > 1]
            if doubled:
                holders = [file for file, held in self.files.items() if doubled[0] in held]
                self.fail(f"window {doubled[0]} is in the lake {self.windows[doubled[0]]} times at one instant: {holders}")
        vanished = before - set(self.windows)
        if vanished:
            self.fail(f"{len(vanished)} windows were in the lake and are gone, such as {min(vanished)}; files {sorted(gone)}")

    def read(self, path):
        if not path.endswith(".parquet"):
            self.fail(f"{path} is no Parquet file, and readers see it")
            return []
        try:
            self.files_read += 1
            return [window for window, _, _ in lake.rows(path)]
        except FileNotFoundError:
            raise
        except (OSError, ValueError) as error:
            self.fail(f"{path} is not whole: {error}")
            return []

    def fail(self, what):
        if len(self.failures) < FAILURES_MAX:
            self.failures.append({"where": "lake, while it ran", "kind": "seen", "what": what})


class OffsetsWatch:
    """The group's committed offsets, asked for again and again."""

    def __init__(self, bootstrap, group, topic, partitions):
        self.bootstraps, self.group, self.topic, self.partitions = bootstrap.split(","), group, topic, partitions
        self.seen, self.commits, self.unanswered, self.failures = {}, 0, 0, []

    def look(self):
        for bootstrap in self.bootstraps:
            try:
                committed = list(self.ask(bootstrap))
            except (OSError, UnansweredError):
                continue  # Brokers are killed, and their coordinators move.
            for partition, offset, metadata in committed:
                if offset >= 0:
                    self.compare(partition, (offset, *words(metadata)))
            return
        self.unanswered += 1

    def ask(self, bootstrap):
        with wire.Connection(*wire.address(bootstrap)) as connection:
            answer = connection.ask(FIND_COORDINATOR, 0, wire.text(self.group))
            error, _ = answer.take(">hi")
            if error:
                raise UnansweredError(error)
            host, port = answer.text(), answer.take(">i")
        body = wire.text(self.group) + struct.pack(">i", 1) + wire.text(self.topic)
        body += struct.pack(f">i{self.partitions}i", self.partitions, *range(self.partitions))
        with wire.Connection(host, port) as connection:
            answer = connection.ask(OFFSET_FETCH, 1, body)
        answer.take(">i")
        answer.text()
        for _ in range(answer.take(">i")):
            partition, offset = answer.take(">iq")
            metadata, error = answer.text(), answer.take(">h")
            if error:
                raise UnansweredError(error)
            yield partition, offset, metadata

    def compare(self, partition, now):
        before = self.seen.get(partition)
        self.seen[partition] = now
        if before is None or before == now:
            return
        self.commits += 1
        for name, old, new in zip(("offset", "checkpoint", "watermark"), before, now):
            if old is not None and (new is None or new < old) and len(self.failures) < FAILURES_MAX:
                what = f"partition {partition}: the {name} went back from {old} to {new}: {before} to {now}"
                self.failures.append({"where": "committed offsets", "kind": "back", "what": what})


def words(metadata):
    """(checkpoint, watermark) of `engine/1 checkpoint=7 watermark_ns=8`."""
    found = dict(word.split("=", 1) for word in (metadata or "").split(" ") if "=" in word)
    numbers = (found.get("checkpoint"), found.get("watermark_ns"))
    return tuple(int(number) if number not in (None, "none") else None for number in numbers)


def repeat(watch, pause, over):
    while not over.is_set():
        try:
            watch.look()
        except Exception as error:  # Whatever it is, the watch must not end in silence.
            watch.failures.append({"where": "the watch itself", "kind": "failed", "what": repr(error)})
            return
        over.wait(pause)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bootstrap", required=True)
    parser.add_argument("--group", required=True)
    parser.add_argument("--topic", required=True)
    parser.add_argument("--partitions", type=int, required=True)
    parser.add_argument("--lake", required=True)
    arguments = parser.parse_args()
    seen_lake = LakeWatch(arguments.lake)
    offsets = OffsetsWatch(arguments.bootstrap, arguments.group, arguments.topic, arguments.partitions)
    over = threading.Event()
    pauses = ((seen_lake, LISTING_PAUSE_SECONDS), (offsets, OFFSETS_PAUSE_SECONDS))
    threads = [threading.Thread(target=repeat, args=(watch, pause, over)) for watch, pause in pauses]
    started = time.monotonic()
    for thread in threads:
        thread.start()
    sys.stdin.read()
    over.set()
    for thread in threads:
        thread.join()
    failures = seen_lake.failures + offsets.failures
    report = {
        "ok": not failures,
        "seconds": round(time.monotonic() - started, 1),
        "listings": seen_lake.listings,
        "files_read": seen_lake.files_read,
        "files_replaced": seen_lake.replaced,
        "commits_seen": offsets.commits,
        "offsets_unanswered": offsets.unanswered,
        "failures": failures,
    }
    json.dump(report, sys.stdout)
    print()
    return 0 if report["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())
