"""Reads a table of the main job from a bucket as any user of pyarrow does, one JSON array per row.

usage: read_table.py ENDPOINT BUCKET/PREFIX, with keys in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY
"""

import json
import sys

import pyarrow.dataset
import pyarrow.fs

endpoint, table = sys.argv[1:]
store = pyarrow.fs.S3FileSystem(
    region="us-east-1", scheme="http", endpoint_override=endpoint
)
rows = pyarrow.dataset.dataset(table, filesystem=store, format="parquet", partitioning="hive").to_table()


def milliseconds(column):
    return [int(value.timestamp() * 1000) for value in rows.column(column).to_pylist()]


columns = [
    milliseconds("window_start"),
    rows.column("campaign_id").to_pylist(),
    rows.column("events").to_pylist(),
    milliseconds("max_produce_time"),
]
for row in zip(*columns):
    print(json.dumps(row))
