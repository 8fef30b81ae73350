//! One refresh on a virtual clock: bursts, failures, age, and brokers that are given up.

use super::*;

const MS: Duration = Duration::from_millis(1);

#[expect(clippy::disallowed_methods)]
fn start() -> Instant {
    Instant::now()
}

fn refresh() -> MetadataRefresh {
    MetadataRefresh::new(
        RefreshPolicy {
            age_max: Duration::from_secs(300),
            backoff: BackoffPolicy {
                initial: 100 * MS,
                max: 1000 * MS,
            },
            rebootstrap_after: Some(Duration::from_secs(60)),
        },
        1,
    )
}

/// A refresh that has had its first answer at the returned instant.
fn refreshed() -> (MetadataRefresh, Instant) {
    let now = start();
    let mut refresh = refresh();
    refresh.poll_request(now).unwrap();
    refresh.handle_answer(now);
    (refresh, now)
}

#[test]
fn the_first_request_goes_out_at_once() {
    let now = start();
    let mut refresh = refresh();
    assert_eq!(refresh.poll_deadline(now), Some(now));
    let request = refresh.poll_request(now).unwrap();
    assert_eq!(request.topics, Some(vec![]));
}

/// Pitfall 10: when a broker dies, everybody wants metadata at once.
#[test]
fn a_burst_of_demands_is_one_request() {
    let (mut refresh, now) = refreshed();
    let tickets: Vec<_> = (0..1000).map(|_| refresh.demand()).collect();
    assert_eq!(refresh.poll_request(now), None, "too soon after the last one");
    let later = now + 100 * MS;
    assert!(refresh.poll_request(later).is_some());
    assert_eq!(refresh.poll_request(later), None, "one in flight");
    refresh.handle_answer(later);
    assert!(tickets.iter().all(|ticket| refresh.is_satisfied(*ticket)));
    assert_eq!(refresh.poll_request(later + 200 * MS), None);
}

#[test]
fn a_demand_during_a_request_waits_for_the_next_answer() {
    let (mut refresh, now) = refreshed();
    refresh.demand();
    refresh.poll_request(now + 100 * MS).unwrap();
    let ticket = refresh.demand();
    refresh.handle_answer(now + 101 * MS);
    assert!(!refresh.is_satisfied(ticket));
    assert_eq!(refresh.poll_deadline(now + 101 * MS), Some(now + 201 * MS));
    refresh.poll_request(now + 201 * MS).unwrap();
    refresh.handle_answer(now + 202 * MS);
    assert!(refresh.is_satisfied(ticket));
}

#[test]
fn a_topic_that_is_missing_is_asked_for_again_with_growing_pauses_until_it_is_there() {
    let (mut refresh, mut now) = refreshed();
    refresh.track("new");
    let mut pauses = Vec::new();
    for _ in 0..8 {
        refresh.poll_request(now).expect("it is time");
        refresh.handle_incomplete_answer(now);
        let again_at = refresh.poll_deadline(now).expect("nothing is in flight");
        assert_eq!(refresh.poll_request(again_at - MS), None);
        pauses.push(again_at - now);
        now = again_at;
    }
    assert!(pauses[0] <= 150 * MS && pauses[7] >= 500 * MS, "{pauses:?}");
    assert!(pauses.iter().all(|pause| *pause <= 1_500 * MS), "{pauses:?}");
    refresh.poll_request(now).expect("it is time");
    refresh.handle_answer(now);
    assert_eq!(
        refresh.poll_deadline(now),
        Some(now + Duration::from_secs(300)),
        "by age alone"
    );
}

#[test]
fn an_answer_that_is_young_enough_is_not_asked_for_again() {
    let (mut refresh, now) = refreshed();
    let ticket = refresh.demand_within(now + 50 * MS, 50 * MS);
    assert!(refresh.is_satisfied(ticket));
    let ticket = refresh.demand_within(now + 51 * MS, 50 * MS);
    assert!(!refresh.is_satisfied(ticket), "too old");
    refresh.poll_request(now + 100 * MS).unwrap();
    let under_way = refresh.demand_within(now + 101 * MS, 50 * MS);
    assert!(!refresh.is_satisfied(under_way));
    refresh.handle_answer(now + 102 * MS);
    assert!(refresh.is_satisfied(under_way), "the one on its way was enough");
    assert_eq!(refresh.poll_request(now + 300 * MS), None);
    refresh.demand();
    let behind_another = refresh.demand_within(now + 103 * MS, 50 * MS);
    assert!(!refresh.is_satisfied(behind_another), "somebody knows better");
}

#[test]
fn a_new_topic_is_asked_for_at_once_and_a_known_one_is_not() {
    let (mut refresh, now) = refreshed();
    let ticket = refresh.track("orders");
    let request = refresh.poll_request(now).unwrap();
    assert_eq!(request.topics, Some(vec![Arc::from("orders")]));
    refresh.handle_answer(now);
    assert!(refresh.is_satisfied(ticket));
    let again = refresh.track("orders");
    assert!(refresh.is_satisfied(again));
    assert_eq!(refresh.poll_request(now), None);
}

#[test]
fn failures_back_off_and_an_answer_resets() {
    let (mut refresh, mut now) = refreshed();
    refresh.demand();
    let mut delays = Vec::new();
    for _ in 0..5 {
        now = refresh.poll_deadline(now).unwrap().max(now);
        refresh.poll_request(now).unwrap();
        refresh.handle_failure(now);
        delays.push(refresh.poll_deadline(now).unwrap() - now);
    }
    assert!(delays[0] <= 120 * MS);
    assert!(delays[4] >= 800 * MS);
}

/// Lets requests fail for `seconds`, and says whom the last one went to.
fn fail_for(refresh: &mut MetadataRefresh, now: &mut Instant, seconds: u64) -> RefreshSource {
    let end = *now + Duration::from_secs(seconds);
    refresh.demand();
    let mut source = RefreshSource::AnyBroker;
    while *now < end {
        *now = refresh.poll_deadline(*now).unwrap().max(*now);
        source = refresh.poll_request(*now).unwrap().source;
        refresh.handle_failure(*now);
    }
    source
}

#[test]
fn brokers_that_do_not_answer_for_long_are_given_up_for_the_bootstrap_servers() {
    let (mut refresh, mut now) = refreshed();
    assert_eq!(fail_for(&mut refresh, &mut now, 59), RefreshSource::AnyBroker);
    assert_eq!(fail_for(&mut refresh, &mut now, 5), RefreshSource::Bootstrap);
    assert_eq!(
        fail_for(&mut refresh, &mut now, 100),
        RefreshSource::Bootstrap,
        "until one answers"
    );
    now = refresh.poll_deadline(now).unwrap();
    refresh.poll_request(now).unwrap();
    refresh.handle_answer(now);
    assert_eq!(fail_for(&mut refresh, &mut now, 59), RefreshSource::AnyBroker);
}

#[test]
fn a_failure_after_a_long_quiet_time_does_not_give_the_brokers_up_at_once() {
    let (mut refresh, mut now) = refreshed();
    now += Duration::from_secs(299);
    assert_eq!(fail_for(&mut refresh, &mut now, 10), RefreshSource::AnyBroker);
}

#[test]
fn a_broker_that_says_so_sends_us_to_the_bootstrap_servers_at_the_usual_pace() {
    let (mut refresh, mut now) = refreshed();
    refresh.demand();
    for _ in 0..10 {
        now = refresh.poll_deadline(now).unwrap().max(now);
        refresh.poll_request(now).unwrap();
        refresh.handle_rebootstrap_required(now);
        assert_eq!(refresh.poll_request(now), None, "also they may be wrong");
    }
    now = refresh.poll_deadline(now).unwrap();
    let request = refresh.poll_request(now).unwrap();
    assert_eq!(request.source, RefreshSource::Bootstrap);
}

#[test]
fn without_recovery_the_brokers_are_never_given_up() {
    let (mut refresh, mut now) = refreshed();
    refresh.policy.rebootstrap_after = None;
    assert_eq!(fail_for(&mut refresh, &mut now, 1_000), RefreshSource::AnyBroker);
    refresh.demand();
    now = refresh.poll_deadline(now).unwrap();
    refresh.poll_request(now).unwrap();
    refresh.handle_rebootstrap_required(now);
    assert_eq!(fail_for(&mut refresh, &mut now, 1), RefreshSource::AnyBroker);
}

#[test]
fn metadata_is_refreshed_by_age() {
    let (mut refresh, now) = refreshed();
    assert_eq!(refresh.poll_deadline(now), Some(now + Duration::from_secs(300)));
    assert!(refresh.poll_request(now + Duration::from_secs(299)).is_none());
    assert!(refresh.poll_request(now + Duration::from_secs(300)).is_some());
}

#[test]
fn an_answer_after_a_reported_failure_changes_nothing() {
    let (mut refresh, now) = refreshed();
    let ticket = refresh.demand();
    refresh.poll_request(now + 100 * MS).unwrap();
    refresh.handle_failure(now + 100 * MS);
    refresh.handle_answer(now + 100 * MS);
    assert!(!refresh.is_satisfied(ticket));
}
