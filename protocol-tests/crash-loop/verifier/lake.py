"""Reads the lake's table with pyarrow, as any reader of a folder of Parquet files would."""

import json
import os
from datetime import datetime, timezone

import pyarrow
import pyarrow.parquet


def visible_files(folder):
    """Every file that a reader sees: none whose name, or whose folder's name, begins with `_` or `.`."""
    found = []
    for parent, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if name[0] not in "_.")
        found += [os.path.join(parent, name) for name in sorted(files) if name[0] not in "_."]
    return found


def milliseconds(column):
    return column.cast(pyarrow.timestamp("ms")).cast(pyarrow.int64()).to_pylist()


def rows(path):
    """(window start in ms, campaign) and (events, latest produce time in ms) of every row; ValueError says what is wrong."""
    table = pyarrow.parquet.ParquetFile(path).read()
    columns = {name: table.column(name) for name in table.column_names}
    starts, ends = milliseconds(columns["window_start"]), milliseconds(columns["window_end"])
    produced = milliseconds(columns["max_produce_time"])
    date = os.path.basename(os.path.dirname(path))
    found = []
    for start, end, campaign, events, latest in zip(
        starts, ends, columns["campaign_id"].to_pylist(), columns["events"].to_pylist(), produced
    ):
        day = datetime.fromtimestamp(start / 1000, timezone.utc).strftime("dt=%Y-%m-%d")
        if date != day:
            raise ValueError(f"{path}: a window of {day} is in {date}")
        found.append(((start, campaign), (events, latest), end))
    return found


def manifest(folder):
    """What the table's own account says: the rows of each file, by its path below the folder; None if there is no account."""
    documents = os.path.join(folder, "_manifest")
    if not os.path.isdir(documents):
        return None
    names = sorted(os.listdir(documents))
    whole = [name for name in names if name.endswith(".all.json")]
    changes = [name for name in names if name.endswith(".json") and name not in whole]
    files, version = {}, 0
    if whole:
        newest = load(documents, whole[-1])
        files, version = {file["path"]: file["rows"] for file in newest["files"]}, newest["version"]
    for change in (load(documents, name) for name in changes):
        if change["version"] <= version:
            continue
        if change["version"] != version + 1:
            raise ValueError(f"the manifest has no change {version + 1}")
        version += 1
        for path in change["removed"]:
            del files[path]
        files.update({file["path"]: file["rows"] for file in change["added"]})
    return files


def load(folder, name):
    with open(os.path.join(folder, name), encoding="utf-8") as file:
        return json.load(file)
