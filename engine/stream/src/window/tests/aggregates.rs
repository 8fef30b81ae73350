//! Every aggregate, in one piece and in parts.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::util::pretty::pretty_format_batches;

use super::{Row, batch, full, options, window};
use crate::snapshot;
use crate::stateful::StatefulOperator;
use crate::window::{AlignedWindow, PartialWindows, WindowMerger};

/// Every aggregate of DataFusion whose result does not depend on the order of rows.
const AGGREGATES: [&str; 41] = [
    "count(*)",
    "count(campaign)",
    "count(distinct campaign)",
    "count(distinct ad)",
    "count(*) filter (where flag)",
    "sum(campaign) filter (where ad = 'a')",
    "sum(campaign)",
    "sum(distinct campaign)",
    "sum(price)",
    "avg(price)",
    "avg(campaign)",
    "min(time)",
    "max(time)",
    "min(ad)",
    "max(ad)",
    "max(price)",
    "max(flag)",
    "median(price)",
    "stddev(price)",
    "stddev_pop(campaign)",
    "var_samp(price)",
    "var_pop(price)",
    "covar_samp(price, campaign)",
    "covar_pop(price, campaign)",
    "corr(price, campaign)",
    "regr_slope(price, campaign)",
    "regr_count(price, campaign)",
    "regr_r2(price, campaign)",
    "regr_intercept(price, campaign)",
    "approx_distinct(ad)",
    "approx_median(price)",
    "approx_percentile_cont(0.9) within group (order by price)",
    "approx_percentile_cont_with_weight(1, 0.9) within group (order by price)",
    "percentile_cont(0.5) within group (order by price)",
    "bit_and(campaign)",
    "bit_or(campaign)",
    "bit_xor(campaign)",
    "bool_and(flag)",
    "bool_or(flag)",
    "any_value(1)",
    "first_value(7)",
];

#[test]
fn every_aggregate_gives_in_parts_what_it_gives_in_one() {
    let ads = [Some("a"), Some("b"), None, Some("c")];
    let rows: Vec<Row> = (0..400)
        .map(|row: i64| {
            let campaign = (row % 7 != 0).then_some(row % 5);
            (
                Some(row / 10),
                campaign,
                ads[(row % 4) as usize],
                (row * 37 % 64) as f64,
                row % 3 == 0,
            )
        })
        .collect();
    for sql in AGGREGATES {
        let window = window(options(&["ad"], &[sql]));
        let mut whole = PartialWindows::new(Arc::clone(&window));
        whole.update(&batch(&rows), None).unwrap();
        let whole = text(&window, &[whole.take_all().unwrap().unwrap()]);
        let mut states = Vec::new();
        for part in rows.chunks(133) {
            let mut partial = PartialWindows::new(Arc::clone(&window));
            for piece in part.chunks(17) {
                partial.update(&batch(piece), None).unwrap();
                let state = full(&mut partial);
                let bytes = snapshot::encode(&[("w".into(), state)]).unwrap();
                let state = snapshot::decode(&bytes).unwrap().remove(0).1;
                partial = PartialWindows::new(Arc::clone(&window));
                partial.restore(&state, None).unwrap();
            }
            states.push(partial.take_all().unwrap().unwrap());
        }
        let round = |text: &str| text.replace("0000000001", "").replace("9999999999", "");
        let parts = text(&window, &states);
        // Sums of floats may differ in their last bits: compare the numbers.
        if round(&parts) != round(&whole) {
            assert!(nearly_equal(&parts, &whole), "{sql}\n{whole}\n{parts}");
        }
    }
}

fn nearly_equal(a: &str, b: &str) -> bool {
    let words = |text: &str| -> Vec<String> {
        text.split_whitespace()
            .map(str::to_owned)
            .filter(|word| !word.starts_with("+-"))
            .collect()
    };
    let (a, b) = (words(a), words(b));
    a.len() == b.len()
        && a.iter()
            .zip(&b)
            .all(|(a, b)| match (a.parse::<f64>(), b.parse::<f64>()) {
                (Ok(a), Ok(b)) => (a - b).abs() <= 1e-9 * a.abs().max(1.0),
                _ => a == b,
            })
}

fn text(window: &Arc<AlignedWindow>, states: &[RecordBatch]) -> String {
    let rows = WindowMerger::new(Arc::clone(window)).merge(states).unwrap();
    pretty_format_batches(&rows.into_iter().collect::<Vec<_>>())
        .unwrap()
        .to_string()
}
