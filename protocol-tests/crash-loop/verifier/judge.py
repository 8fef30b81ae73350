"""What must hold between a source topic, a results topic and a lake: pure comparison of what was read.

A window is (start in ms, campaign), its value (events, latest produce time in ms).
"""

from collections import Counter, defaultdict
from dataclasses import dataclass, field


@dataclass
class Row:
    """A result row in the topic, with where it is."""

    partition: int
    offset: int
    value: tuple


@dataclass
class Facts:
    # What the source topic says: how many records, the windows' values, the places of records that are no events.
    events: int = 0
    counts: dict = field(default_factory=dict)
    malformed: list = field(default_factory=list)
    # Path below the lake → rows: of the files that readers see, and as the table's manifest tells; None without one.
    files: dict = field(default_factory=dict)
    manifest: dict | None = None
    # Window → rows in the order of its partition.
    results: dict = field(default_factory=lambda: defaultdict(list))
    # Window → (file, value) of each row.
    lake: dict = field(default_factory=lambda: defaultdict(list))
    # Windows with rows that came late, as often as there are such rows.
    late: Counter = field(default_factory=Counter)
    # Late rows that are not in the source, or are there more often than in the source.
    invented: list = field(default_factory=list)
    # (source partition, source offset) of each dead letter.
    dead_letters: list = field(default_factory=list)
    # Faults of single rows or files: a key that is not the row's, a window of another length, a file that is not whole.
    faults: list = field(default_factory=list)
    # Topic → partition → batches.
    batches: dict = field(default_factory=dict)


def failure(where, kind, what, **more):
    return {"where": where, "kind": kind, "what": what, **more}


def judge(facts, guarantee):
    """All that is wrong; an empty list is what everybody hopes for."""
    exactly_once = guarantee == "exactly_once"
    failures = [failure("rows", "fault", fault) for fault in facts.faults]
    # At least once, an event may be late in one life and in time in the next: such windows have no exact count.
    excused = set() if exactly_once else set(facts.late)
    failures += [failure("late", "invented", str(row)) for row in facts.invented if exactly_once]
    failures += judge_topic(facts, exactly_once, excused)
    failures += judge_lake(facts, excused)
    failures += judge_manifest(facts)
    failures += judge_dead_letters(facts, exactly_once)
    if exactly_once:
        failures += judge_transactions(facts)
    return failures


def judge_topic(facts, exactly_once, excused):
    for window in sorted(facts.counts.keys() | facts.results.keys()):
        expected, rows = facts.counts.get(window), facts.results.get(window, [])
        if window in excused:
            continue
        kind = None
        if expected is None:
            kind = "extra"
        elif not rows:
            kind = "lost"
        elif exactly_once and len(rows) > 1:
            kind = "doubled"
        elif rows[-1].value != expected:
            kind = "wrong"
        if kind:
            yield failure(
                "topic",
                kind,
                f"window {window[0]} of campaign {window[1]}: {[row.value for row in rows]} instead of {expected}",
                rows=[written(facts, row) for row in rows],
            )


def judge_lake(facts, excused):
    for window in sorted(facts.counts.keys() | facts.lake.keys()):
        expected, rows = facts.counts.get(window), facts.lake.get(window, [])
        kind = None
        if len(rows) > 1:
            kind = "doubled"
        elif window in excused:
            continue
        elif expected is None:
            kind = "extra"
        elif not rows:
            kind = "lost"
        elif rows[0][1] != expected:
            kind = "wrong"
        if kind:
            values = [value for _, value in rows]
            yield failure(
                "lake",
                kind,
                f"window {window[0]} of campaign {window[1]}: {values} instead of {expected}",
                files=[file for file, _ in rows],
            )


def judge_manifest(facts):
    if facts.manifest is None:
        return
    for path in sorted(facts.files.keys() | facts.manifest.keys()):
        there, told = facts.files.get(path), facts.manifest.get(path)
        if there != told:
            yield failure("manifest", "wrong", f"{path} has {there} rows in the folder and {told} in the manifest")


def judge_dead_letters(facts, exactly_once):
    found = Counter(facts.dead_letters)
    for place in sorted(found.keys() | set(facts.malformed)):
        if place not in found:
            yield failure("dead letters", "lost", f"record {place} of the source")
        elif place not in facts.malformed:
            yield failure("dead letters", "extra", f"record {place} of the source is an event")
        elif exactly_once and found[place] > 1:
            yield failure("dead letters", "doubled", f"record {place} of the source is there {found[place]} times")


def judge_transactions(facts):
    """Whether outputs were really written in transactions, all of which have ended."""
    for topic, partitions in facts.batches.items():
        for batches in partitions.values():
            for batch in batches:
                if batch.control:
                    continue
                place = f"{topic}-{batch.partition}, offsets {batch.base_offset} to {batch.last_offset}"
                if not batch.is_transactional:
                    yield failure("transactions", "plain", f"{place}: not written in a transaction")
                elif batch.fate is None:
                    yield failure("transactions", "open", f"{place}: its transaction has no end")


def written(facts, row):
    """Where a row is, and by whom it was written."""
    described = f"partition {row.partition}, offset {row.offset}"
    for partitions in facts.batches.values():
        for batch in partitions.get(row.partition, []):
            if batch.base_offset <= row.offset <= batch.last_offset:
                return f"{described}: {row.value}, {batch.describe()}"
    return f"{described}: {row.value}"
