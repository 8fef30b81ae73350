//! Decoding allocates the columns of a micro-batch and nothing per record.
//!
//! The allocator of this binary counts; one test, because the counters are the process's.

use std::alloc::System;

use cap::Cap;
use engine_stream::graph::Projection;
use engine_stream::micro_batch::{MicroBatchBuilder, SourceRecord};
use engine_stream::schema::{Field, FieldType};

#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, usize::MAX);

const ROWS: usize = 10_000;
const BATCHES: usize = 10;
/// Three columns of 8 bytes, and 4 + 4 of text, with its offsets.
const COLUMN_BYTES_PER_ROW: usize = 3 * 8 + 4 + 4;
/// The arrays' own headers, their schema, and whatever the test harness does meanwhile.
const BATCH_BYTES_MAX: usize = 16 * 1024;

#[test]
fn a_hundred_thousand_records_cost_their_columns_and_no_allocation_each() {
    let mut builder = MicroBatchBuilder::new(&projection(), "events", 0);
    let payloads: Vec<String> = (0..ROWS).map(payload).collect();
    // The first batch grows its columns; the ones after know how long they will be.
    fill(&mut builder, &payloads);
    let before = ALLOCATOR.total_allocated();
    for _ in 0..BATCHES {
        fill(&mut builder, &payloads);
    }
    let allocated = ALLOCATOR.total_allocated() - before;
    let paid = BATCHES * (ROWS * COLUMN_BYTES_PER_ROW + BATCH_BYTES_MAX);
    // One byte more per record would not pass.
    assert!(
        allocated < paid,
        "{allocated} bytes for {BATCHES} batches of {ROWS} rows, at most {paid}"
    );
}

fn fill(builder: &mut MicroBatchBuilder, payloads: &[String]) {
    for (offset, payload) in (0i64..).zip(payloads) {
        let record = SourceRecord {
            offset,
            timestamp: offset,
            key: Some(b"key"),
            value: Some(payload.as_bytes()),
            headers: std::iter::empty(),
        };
        builder.push(record).expect("a JSON object of the schema");
    }
    assert_eq!(builder.finish().num_rows(), ROWS);
}

fn payload(number: usize) -> String {
    format!(
        "{{\"user_id\":\"{number:036}\",\"event_type\":\"view\",\"event_time\":{number},\"nested\":{{\"a\":[1,\"b\"]}},\
         \"campaign_id\":{},\"produce_time\":{number}}}",
        number % 10
    )
}

fn projection() -> Projection {
    let field = |name: &str, field_type: FieldType| Field::new(name, field_type);
    Projection {
        fields: vec![
            field("event_type", FieldType::String),
            field("campaign_id", FieldType::Int64),
            field("event_time", FieldType::Int64),
            field("produce_time", FieldType::Int64),
        ],
        meta: vec![],
    }
}
