//! When events arrive: evenly, as a Poisson process, or in bursts.
//!
//! The bursts are a Markov-modulated Poisson process (Fischer and Meier-Hellstern, "The Markov-modulated Poisson
//! process (MMPP) cookbook", 1993) with two states:
//!
//! ```text
//!            q12 per second
//!   calm ───────────────────▶ busy       busy rate = rate_ratio × calm rate
//!   λ1   ◀───────────────────  λ2        π1·λ1 + π2·λ2 = the average rate
//!            q21 per second
//! ```

use std::str::FromStr;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use rand_distr::Exp1;

const NS_PER_SECOND: f64 = 1e9;

/// An arrival process, without its rate.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum Arrivals {
    /// One event every 1/rate seconds.
    #[default]
    Uniform,
    /// Independent, exponentially distributed gaps.
    Poisson,
    /// Poisson arrivals whose rate switches between two values.
    Mmpp(Mmpp),
}

/// The parameters of a two-state MMPP.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Mmpp {
    /// The busy rate divided by the calm rate.
    pub rate_ratio: f64,
    /// How often per second the calm state ends.
    pub q12: f64,
    /// How often per second the busy state ends.
    pub q21: f64,
}

impl Default for Mmpp {
    fn default() -> Mmpp {
        Mmpp {
            rate_ratio: 5.0,
            q12: 0.5,
            q21: 0.5,
        }
    }
}

impl Mmpp {
    /// The calm and the busy rate that average to `rate`.
    pub fn rates(&self, rate: f64) -> [f64; 2] {
        let busy_share = self.q12 / (self.q12 + self.q21);
        let calm = rate / (1.0 - busy_share + busy_share * self.rate_ratio);
        [calm, calm * self.rate_ratio]
    }

    pub(crate) fn is_valid(&self) -> bool {
        [self.rate_ratio, self.q12, self.q21]
            .iter()
            .all(|value| value.is_finite() && *value > 0.0)
    }
}

/// A name that is no arrival process.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown arrivals {0:?}: use uniform, poisson or mmpp")]
pub struct ArrivalsError(String);

impl FromStr for Arrivals {
    type Err = ArrivalsError;

    fn from_str(name: &str) -> Result<Arrivals, ArrivalsError> {
        match name {
            "uniform" => Ok(Arrivals::Uniform),
            "poisson" => Ok(Arrivals::Poisson),
            "mmpp" => Ok(Arrivals::Mmpp(Mmpp::default())),
            other => Err(ArrivalsError(other.to_owned())),
        }
    }
}

/// The times of one producer's events, in order.
#[derive(Debug, Clone)]
pub struct ArrivalProcess {
    kind: Kind,
    rng: ChaCha8Rng,
    /// Nanoseconds from the start to the event given last.
    now_ns: f64,
}

#[derive(Debug, Clone)]
enum Kind {
    Uniform {
        events: u64,
        period_ns: f64,
        phase_ns: f64,
    },
    Poisson {
        mean_gap_ns: f64,
    },
    Mmpp {
        mean_gap_ns: [f64; 2],
        mean_stay_ns: [f64; 2],
        busy: bool,
        stays_until_ns: f64,
    },
}

impl ArrivalProcess {
    /// `rate` events per second, greater than zero. `phase`, from 0 to 1, shifts evenly spaced events by a part of their
    /// gap, so that several producers interleave.
    pub fn new(arrivals: Arrivals, rate: f64, phase: f64, mut rng: ChaCha8Rng) -> ArrivalProcess {
        assert!(
            rate > 0.0 && rate.is_finite(),
            "an arrival process needs a rate greater than zero"
        );
        let gap_ns = NS_PER_SECOND / rate;
        let kind = match arrivals {
            Arrivals::Uniform => Kind::Uniform {
                events: 0,
                period_ns: gap_ns,
                phase_ns: gap_ns * phase,
            },
            Arrivals::Poisson => Kind::Poisson { mean_gap_ns: gap_ns },
            Arrivals::Mmpp(mmpp) => {
                // Begins in the long-run distribution of the states, so that the average holds from the first second.
                let busy = rng.random_bool(mmpp.q12 / (mmpp.q12 + mmpp.q21));
                let mean_stay_ns = [NS_PER_SECOND / mmpp.q12, NS_PER_SECOND / mmpp.q21];
                let stays_until_ns = exponential(&mut rng) * mean_stay_ns[usize::from(busy)];
                let mean_gap_ns = mmpp.rates(rate).map(|rate| NS_PER_SECOND / rate);
                Kind::Mmpp {
                    mean_gap_ns,
                    mean_stay_ns,
                    busy,
                    stays_until_ns,
                }
            }
        };
        ArrivalProcess { kind, rng, now_ns: 0.0 }
    }

    /// The time of the next event in nanoseconds from the start; never less than the one before.
    pub fn next_ns(&mut self) -> u64 {
        match &mut self.kind {
            Kind::Uniform {
                events,
                period_ns,
                phase_ns,
            } => {
                // Multiplied and not summed: rounding must not drift over a billion events.
                self.now_ns = *events as f64 * *period_ns + *phase_ns;
                *events += 1;
            }
            Kind::Poisson { mean_gap_ns } => self.now_ns += exponential(&mut self.rng) * *mean_gap_ns,
            Kind::Mmpp {
                mean_gap_ns,
                mean_stay_ns,
                busy,
                stays_until_ns,
            } => {
                // One unit of "work" is spread over the states it crosses: exact, because gaps have no memory.
                let mut work = exponential(&mut self.rng);
                loop {
                    let gap_ns = mean_gap_ns[usize::from(*busy)];
                    let arrival_ns = self.now_ns + work * gap_ns;
                    if arrival_ns <= *stays_until_ns {
                        self.now_ns = arrival_ns;
                        break;
                    }
                    work -= (*stays_until_ns - self.now_ns) / gap_ns;
                    self.now_ns = *stays_until_ns;
                    *busy = !*busy;
                    *stays_until_ns += exponential(&mut self.rng) * mean_stay_ns[usize::from(*busy)];
                }
            }
        }
        self.now_ns as u64
    }

    /// Whether an MMPP was busy at its last event.
    #[cfg(test)]
    fn is_busy(&self) -> bool {
        matches!(self.kind, Kind::Mmpp { busy: true, .. })
    }
}

fn exponential(rng: &mut ChaCha8Rng) -> f64 {
    rng.sample(Exp1)
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    fn process(arrivals: Arrivals, rate: f64, seed: u64) -> ArrivalProcess {
        ArrivalProcess::new(arrivals, rate, 0.0, ChaCha8Rng::seed_from_u64(seed))
    }

    fn times(arrivals: Arrivals, rate: f64, seed: u64, events: usize) -> Vec<f64> {
        let mut process = process(arrivals, rate, seed);
        (0..events).map(|_| process.next_ns() as f64 / NS_PER_SECOND).collect()
    }

    fn mean(values: &[f64]) -> f64 {
        values.iter().sum::<f64>() / values.len() as f64
    }

    fn variance(values: &[f64]) -> f64 {
        let mean = mean(values);
        values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (values.len() - 1) as f64
    }

    fn gaps(times: &[f64]) -> Vec<f64> {
        times.windows(2).map(|pair| pair[1] - pair[0]).collect()
    }

    /// Events in each full interval.
    fn counts(times: &[f64], interval: f64) -> Vec<f64> {
        let intervals = (times.last().unwrap() / interval) as usize;
        let mut counts = vec![0.0; intervals];
        for time in times {
            if let Some(count) = counts.get_mut((time / interval) as usize) {
                *count += 1.0;
            }
        }
        counts
    }

    #[test]
    fn uniform_events_are_evenly_spaced_and_do_not_drift() {
        let times = times(Arrivals::Uniform, 3.0, 1, 300_001);
        assert!((times[300_000] - 100_000.0).abs() < 1e-6);
        assert!(gaps(&times).iter().all(|gap| (gap - 1.0 / 3.0).abs() < 1e-8));
    }

    #[test]
    fn poisson_gaps_are_exponential() {
        let rate = 1_000.0;
        let events = 200_000;
        let mut gaps = gaps(&times(Arrivals::Poisson, rate, 2, events + 1));
        // Mean and standard deviation are both 1/rate; five standard errors of each.
        let bound = 5.0 / (events as f64).sqrt();
        assert!((mean(&gaps) * rate - 1.0).abs() < bound, "{}", mean(&gaps));
        assert!(
            (variance(&gaps).sqrt() * rate - 1.0).abs() < 2.0 * bound,
            "{}",
            variance(&gaps)
        );
        // Kolmogorov-Smirnov: sup |F_n - F| * sqrt(n) stays below 1.95 with probability 0.999.
        gaps.sort_by(f64::total_cmp);
        let distance = gaps
            .iter()
            .enumerate()
            .map(|(index, gap)| {
                let theory = 1.0 - (-gap * rate).exp();
                let (below, above) = (index as f64 / events as f64, (index + 1) as f64 / events as f64);
                (theory - below).abs().max((above - theory).abs())
            })
            .fold(0.0, f64::max);
        assert!(distance * (events as f64).sqrt() < 1.95, "{distance}");
    }

    #[test]
    fn poisson_gaps_are_independent_and_counts_are_as_dispersed_as_their_mean() {
        let times = times(Arrivals::Poisson, 500.0, 3, 500_000);
        let gaps = gaps(&times);
        let mean_gap = mean(&gaps);
        let covariance = mean(
            &gaps
                .windows(2)
                .map(|pair| (pair[0] - mean_gap) * (pair[1] - mean_gap))
                .collect::<Vec<_>>(),
        );
        assert!((covariance / variance(&gaps)).abs() < 5.0 / (gaps.len() as f64).sqrt());
        let counts = counts(&times, 0.1);
        let dispersion = variance(&counts) / mean(&counts);
        // The index of dispersion has a standard error of sqrt(2/n).
        assert!(
            (dispersion - 1.0).abs() < 5.0 * (2.0 / counts.len() as f64).sqrt(),
            "{dispersion}"
        );
    }

    #[test]
    fn mmpp_keeps_its_average_rate() {
        let mmpp = Mmpp::default();
        let [calm, busy] = mmpp.rates(300.0);
        assert!((calm - 100.0).abs() < 1e-9 && (busy - 500.0).abs() < 1e-9);
        let seconds = 4_000.0;
        let times = times(Arrivals::Mmpp(mmpp), 300.0, 4, 1_300_000);
        let events = times.iter().filter(|time| **time < seconds).count() as f64;
        assert!(*times.last().unwrap() >= seconds);
        // Var N(t) ≈ (rate + 2·π1·π2·(λ2-λ1)²/(q12+q21))·t
        let standard_error = ((300.0 + 2.0 * 0.25 * 400.0 * 400.0) * seconds).sqrt();
        assert!((events - 300.0 * seconds).abs() < 4.0 * standard_error, "{events}");
    }

    #[test]
    fn mmpp_counts_are_as_dispersed_as_theory_says() {
        let mmpp = Mmpp {
            rate_ratio: 5.0,
            q12: 0.5,
            q21: 0.5,
        };
        let times = times(Arrivals::Mmpp(mmpp), 300.0, 5, 6_000_000);
        for interval in [0.1, 1.0, 5.0] {
            let counts = counts(&times, interval);
            // IDC(t) = 1 + 2·π1·π2·(λ2-λ1)²/(q·λ) · (1 - (1 - e^(-q·t))/(q·t)), q = q12 + q21.
            let (q, share) = (1.0, 0.25);
            let limit = 2.0 * share * 400.0 * 400.0 / (q * 300.0);
            let theory = 1.0 + limit * (1.0 - (1.0 - (-q * interval).exp()) / (q * interval));
            let measured = variance(&counts) / mean(&counts);
            assert!(
                (measured / theory - 1.0).abs() < 0.08,
                "{interval} s: {measured}, theory {theory}"
            );
        }
    }

    #[test]
    fn mmpp_states_last_and_alternate_as_their_rates_say() {
        let mmpp = Mmpp {
            rate_ratio: 5.0,
            q12: 0.25,
            q21: 1.0,
        };
        let rate = 2_000.0;
        let mut process = process(Arrivals::Mmpp(mmpp), rate, 6);
        let (mut busy_before, mut busy_time, mut now) = (process.is_busy(), 0.0, 0.0);
        let (mut to_busy, mut to_calm) = (0.0f64, 0.0f64);
        for _ in 0..8_000_000 {
            let next = process.next_ns() as f64 / NS_PER_SECOND;
            if busy_before {
                busy_time += next - now;
            }
            match (busy_before, process.is_busy()) {
                (false, true) => to_busy += 1.0,
                (true, false) => to_calm += 1.0,
                _ => {}
            }
            (now, busy_before) = (next, process.is_busy());
        }
        let share = busy_time / now;
        assert!((share - 0.2).abs() < 0.02, "{share}: q12/(q12+q21) = 0.2");
        let (q12, q21) = (to_busy / (now - busy_time), to_calm / busy_time);
        assert!((q12 / 0.25 - 1.0).abs() < 0.12, "{q12}");
        assert!((q21 / 1.0 - 1.0).abs() < 0.12, "{q21}");
    }

    #[test]
    fn mmpp_keeps_its_state_across_seconds() {
        // Neighbouring seconds are correlated: e^(-q) of the modulation is left after a second.
        let counts = counts(&times(Arrivals::Mmpp(Mmpp::default()), 300.0, 7, 3_000_000), 1.0);
        let mean = mean(&counts);
        let covariance = counts
            .windows(2)
            .map(|pair| (pair[0] - mean) * (pair[1] - mean))
            .sum::<f64>()
            / (counts.len() - 1) as f64;
        // Cov = π1·π2·(λ2-λ1)²·((1-e^-q)/q)² for neighbouring intervals of one second, q = 1.
        let theory = 0.25 * 400.0 * 400.0 * (1.0 - (-1.0f64).exp()).powi(2);
        assert!(
            (covariance / theory - 1.0).abs() < 0.12,
            "{covariance}, theory {theory}"
        );
    }

    #[test]
    fn one_seed_gives_one_sequence_and_another_seed_another() {
        for arrivals in [Arrivals::Poisson, Arrivals::Mmpp(Mmpp::default())] {
            assert_eq!(times(arrivals, 100.0, 8, 1_000), times(arrivals, 100.0, 8, 1_000));
            assert_ne!(times(arrivals, 100.0, 8, 1_000), times(arrivals, 100.0, 9, 1_000));
        }
    }

    #[test]
    fn times_never_go_back() {
        for arrivals in [Arrivals::Uniform, Arrivals::Poisson, Arrivals::Mmpp(Mmpp::default())] {
            let times = times(arrivals, 3e8, 10, 100_000);
            assert!(times.windows(2).all(|pair| pair[0] <= pair[1]));
        }
    }
}
