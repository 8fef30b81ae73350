mod model;

use super::*;
use arrow::array::TimestampNanosecondArray;

const FAR: i64 = i64::MAX;

fn watermarks(delay: u64, skew: Option<u64>) -> PartitionWatermarks<i32> {
    PartitionWatermarks::new(&WatermarkConfig {
        delay: Duration::from_nanos(delay),
        idle_timeout: Some(Duration::from_secs(30)),
        max_future_skew: skew.map(Duration::from_nanos),
    })
}

fn rows(watermarks: &mut PartitionWatermarks<i32>, partition: i32, times: &[i64], wall_clock: i64) -> u64 {
    rows_at(watermarks, partition, times, wall_clock, Instant::now_for_tests())
}

fn rows_at(
    watermarks: &mut PartitionWatermarks<i32>,
    partition: i32,
    times: &[i64],
    wall_clock: i64,
    now: Instant,
) -> u64 {
    let column = TimestampNanosecondArray::from(times.to_vec());
    watermarks.handle_rows(&partition, EventTimes::new(&column).unwrap(), wall_clock, now)
}

#[test]
fn the_source_follows_its_slowest_active_partition() {
    let mut w = watermarks(10, None);
    w.add(0, None);
    w.add(1, None);
    rows(&mut w, 0, &[100, 90], FAR);
    assert_eq!(w.advance(), None, "partition 1 has not been heard");
    rows(&mut w, 1, &[50], FAR);
    assert_eq!(w.advance(), Some(40));
    assert_eq!(w.partition_watermark(&0), Some(90));
}

/// Pitfall 1 of the stream engine: a caught-up partition that never delivered a record pins the watermark.
#[test]
fn a_caught_up_partition_that_never_delivered_a_record_does_not_pin_the_watermark() {
    let mut w = watermarks(10, None);
    w.add(0, None);
    w.add(1, None);
    rows(&mut w, 0, &[100], FAR);
    w.handle_caught_up(&1);
    assert_eq!(w.advance(), Some(90));
}

#[test]
fn partitions_that_reach_their_end_together_do_not_pin_the_watermark() {
    let mut w = watermarks(10, None);
    for partition in 0..3 {
        w.add(partition, None);
    }
    rows(&mut w, 0, &[100], FAR);
    rows(&mut w, 1, &[200], FAR);
    assert_eq!(w.advance(), None, "partition 2 has not been heard");
    for partition in 0..3 {
        w.handle_caught_up(&partition);
    }
    assert_eq!(w.advance(), Some(190), "as if the slower one had left first");
}

/// Pitfall 2 of the stream engine: a task without partitions emits +∞.
#[test]
fn a_source_without_partitions_is_idle_and_never_at_infinity() {
    let mut w = watermarks(0, None);
    assert!(w.is_idle());
    assert_eq!(w.advance(), None);
    w.add(0, None);
    rows(&mut w, 0, &[100], FAR);
    assert_eq!(w.advance(), Some(100));
    assert_eq!(w.remove(&0), Some(100));
    assert!(w.is_idle());
    assert_eq!(w.advance(), Some(100));
}

/// Pitfall 3 of the stream engine: the idleness timer fires while the task is merely busy.
#[test]
fn a_busy_process_does_not_make_its_partitions_idle() {
    let start = Instant::now_for_tests();
    let mut w = watermarks(0, None);
    w.add(0, None);
    w.add(1, None);
    rows(&mut w, 0, &[100], FAR);
    // An hour passes in processing; the first look at partition 1 finds nothing.
    let now = start + Duration::from_secs(3600);
    w.handle_silence(&1, now);
    assert_eq!(w.advance(), None);
    w.handle_silence(&1, now + Duration::from_secs(29));
    assert_eq!(w.advance(), None);
    w.handle_silence(&1, now + Duration::from_secs(30));
    assert_eq!(w.advance(), Some(100));
}

#[test]
fn rows_interrupt_a_silence_and_wake_an_idle_partition() {
    let now = Instant::now_for_tests();
    let mut w = watermarks(0, None);
    w.add(0, None);
    w.handle_silence(&0, now);
    rows(&mut w, 0, &[5], FAR);
    w.handle_silence(&0, now + Duration::from_secs(31));
    assert!(!w.is_idle(), "the silence began again");
    w.handle_silence(&0, now + Duration::from_secs(61));
    assert!(w.is_idle());
    rows(&mut w, 0, &[6], FAR);
    assert!(!w.is_idle());
    assert_eq!(w.stats().idle_transitions, 1);
}

/// Pitfall 4 of the stream engine: the watermark regresses after a small batch and reopens a window.
#[test]
fn a_small_batch_of_old_rows_does_not_take_the_watermark_back() {
    let mut w = watermarks(10, None);
    w.add(0, None);
    rows(&mut w, 0, &[100], FAR);
    assert_eq!(w.advance(), Some(90));
    rows(&mut w, 0, &[20], FAR);
    assert_eq!(w.advance(), Some(90));
    assert_eq!(w.partition_watermark(&0), Some(90));
}

#[test]
fn a_partition_that_wakes_up_far_behind_does_not_take_the_watermark_back() {
    let mut w = watermarks(0, None);
    w.add(0, None);
    w.add(1, None);
    w.handle_caught_up(&1);
    rows(&mut w, 0, &[100], FAR);
    assert_eq!(w.advance(), Some(100));
    rows(&mut w, 1, &[5], FAR);
    assert_eq!(w.advance(), Some(100));
}

#[test]
fn a_caught_up_partition_comes_back_when_its_log_may_hold_more() {
    let now = Instant::now_for_tests();
    let mut w = watermarks(0, None);
    w.add(0, None);
    w.add(1, None);
    rows(&mut w, 0, &[100], FAR);
    rows(&mut w, 1, &[100], FAR);
    w.handle_caught_up(&1);
    rows(&mut w, 0, &[200], FAR);
    assert_eq!(w.advance(), Some(200));
    w.handle_silence(&1, now);
    rows(&mut w, 0, &[300], FAR);
    assert_eq!(w.advance(), Some(200), "rows of partition 1 may be on their way");
    w.handle_silence(&1, now + Duration::from_secs(30));
    assert_eq!(w.advance(), Some(300), "for no longer than the idle timeout");
}

/// Pitfall 5 of the stream engine: event time is lost on restart or rebalance.
#[test]
fn event_time_survives_a_restart_and_a_rebalance() {
    let mut w = watermarks(10, None);
    w.raise(95);
    w.add(0, Some(90));
    w.add(1, Some(99));
    assert_eq!(
        w.advance(),
        Some(95),
        "partition 0 is behind what was committed for the source"
    );
    rows(&mut w, 0, &[50], FAR);
    assert_eq!(w.advance(), Some(95));
    rows(&mut w, 0, &[150], FAR);
    assert_eq!(w.advance(), Some(99), "partition 1 carried its own watermark over");
}

/// Pitfall 9 of the stream engine: one future timestamp makes everything late and the drop counter stays 0.
#[test]
fn a_timestamp_in_the_far_future_is_counted_and_does_not_advance_the_watermark() {
    let mut w = watermarks(10, Some(1_000));
    w.add(0, None);
    assert_eq!(rows(&mut w, 0, &[100, 5_000_000, 200], 500), 1);
    assert_eq!(w.advance(), Some(190));
    assert_eq!(rows(&mut w, 0, &[1_501], 500), 1, "one beyond the limit");
    assert_eq!(rows(&mut w, 0, &[1_500], 500), 0, "exactly at the limit");
    assert_eq!(w.advance(), Some(1_490));
    assert_eq!(w.stats().skewed_rows, 2);
}

/// Pitfall 25 of the stream engine: clock skew between producers and the engine.
#[test]
fn a_clock_that_is_behind_the_producers_only_delays_the_watermark() {
    let mut w = watermarks(0, Some(10));
    w.add(0, None);
    rows(&mut w, 0, &[1_000], 0);
    assert_eq!(w.advance(), None, "every row is ahead of our clock");
    rows(&mut w, 0, &[1_000], 990);
    assert_eq!(w.advance(), Some(1_000));
}

/// Pitfall 9 of the stream engine: one future timestamp makes everything late and the drop counter stays 0.
#[test]
fn a_partition_with_nothing_but_future_timestamps_leaves_the_minimum_like_a_silent_one() {
    let start = Instant::now_for_tests();
    let mut w = watermarks(0, Some(1_000));
    w.add(0, None);
    w.add(1, Some(40));
    rows(&mut w, 0, &[100], 500);
    for second in 0..30 {
        let now = start + Duration::from_secs(second);
        assert_eq!(rows_at(&mut w, 1, &[5_000_000, 6_000_000], 500, now), 2);
        assert_eq!(w.advance(), Some(40), "for no longer than the idle timeout: {second} s");
    }
    rows_at(&mut w, 1, &[5_000_000], 500, start + Duration::from_secs(30));
    assert_eq!(w.advance(), Some(100));
    assert_eq!((w.stats().skewed_rows, w.stats().idle_transitions), (61, 1));
    rows_at(&mut w, 1, &[5_000_000], 500, start + Duration::from_secs(31));
    rows(&mut w, 0, &[200], 500);
    assert_eq!(w.advance(), Some(200), "more of them do not bring it back");
    rows(&mut w, 1, &[5_000_000, 150], 500);
    rows(&mut w, 0, &[300], 500);
    assert_eq!(w.advance(), Some(200), "a time that counts does");
    assert_eq!(w.partition_watermark(&1), Some(150));
}

#[test]
fn future_timestamps_do_not_bring_a_partition_back_from_the_end_of_its_log() {
    let mut w = watermarks(0, Some(1_000));
    w.add(0, None);
    w.add(1, None);
    rows(&mut w, 0, &[100], 500);
    w.handle_caught_up(&1);
    rows(&mut w, 1, &[5_000_000], 500);
    assert_eq!(w.advance(), Some(100));
}

/// Pitfall 25 of the stream engine: clock skew between producers and the engine.
#[test]
fn producers_whose_clocks_disagree_hold_the_watermark_at_the_slowest_of_them() {
    let mut w = watermarks(10, Some(1_000));
    w.add(0, None);
    w.add(1, None);
    for now in (0..10_000).step_by(100) {
        rows(&mut w, 0, &[now + 500], now);
        rows(&mut w, 1, &[now - 2_000], now);
        assert_eq!(w.advance(), Some(now - 2_010), "no row of either is ever behind it");
    }
    assert_eq!(w.stats(), WatermarkStats::default());
}

#[test]
fn times_at_the_edge_of_the_range_do_not_overflow() {
    let mut w = watermarks(u64::MAX, Some(u64::MAX));
    w.add(0, None);
    rows(&mut w, 0, &[i64::MIN, i64::MIN + 1], i64::MAX);
    assert_eq!(w.advance(), Some(i64::MIN));
}

#[test]
fn an_unknown_partition_changes_nothing() {
    let mut w = watermarks(0, None);
    assert_eq!(rows(&mut w, 7, &[100], FAR), 0);
    w.handle_caught_up(&7);
    assert_eq!((w.advance(), w.remove(&7)), (None, None));
}

trait InstantForTests {
    /// An instant to count from; what it is does not matter to any test.
    #[expect(clippy::disallowed_methods, reason = "an `Instant` has no other constructor")]
    fn now_for_tests() -> Instant {
        Instant::now()
    }
}
impl InstantForTests for Instant {}
