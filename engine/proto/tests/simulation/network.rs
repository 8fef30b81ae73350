//! The virtual clock, and connections that delay, reorder, break and swallow.
//!
//! A request travels to a node and is delivered there, or is not; its answer travels back, or does not. The client is told of
//! a broken connection while its request is on the way there, at the node, or on the way back, and what it was told of as
//! lost may still arrive. Never here: what is said.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use fastrand::Rng;

pub(crate) const MS: Duration = Duration::from_millis(1);

/// One connection: whose, and to which node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Line {
    pub(crate) client: usize,
    pub(crate) node_id: i32,
}

/// How bad the network is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Weather {
    /// How likely the connection breaks during a request.
    pub(crate) cut: f64,
    /// How likely an answer never comes: the client gives up after its timeout and closes the connection.
    pub(crate) silent: f64,
    /// Requests and answers overtake one another, which one connection of TCP never does.
    pub(crate) reorders: bool,
    /// What the client was told of as lost may still arrive.
    pub(crate) is_late: bool,
}

impl Weather {
    /// One of several kinds of bad.
    pub(crate) fn of(rng: &mut Rng) -> Self {
        Self {
            cut: [0.0, 0.02, 0.05, 0.2][rng.usize(0..4)],
            silent: [0.0, 0.02, 0.1][rng.usize(0..3)],
            reorders: rng.u32(0..3) == 0,
            is_late: rng.u32(0..4) > 0,
        }
    }
}

/// What the network brings.
#[derive(Debug)]
pub(crate) enum Delivery<Q, A, T> {
    /// To a node.
    Request { id: u64, line: Line, request: Q },
    /// To a client.
    Answer { id: u64, line: Line, answer: A },
    /// To a client: the connection broke, or the answer did not come in time.
    Lost { id: u64, line: Line },
    /// What was scheduled.
    Timer(T),
}

/// All connections and the time.
#[derive(Debug)]
pub(crate) struct Network<Q, A, T> {
    pub(crate) now: Instant,
    pub(crate) rng: Rng,
    pub(crate) weather: Weather,
    events: BTreeMap<(Instant, u64), Event<Q, A, T>>,
    event_count: u64,
    /// Requests whose end the client does not know yet.
    trips: BTreeMap<u64, Trip<A>>,
    lines: BTreeMap<Line, Pipe>,
    next_id: u64,
}

#[derive(Debug)]
enum Event<Q, A, T> {
    Arrive { id: u64, line: Line, request: Q },
    Return { id: u64, answer: A },
    Cut { id: u64 },
    Lost { id: u64, line: Line },
    Timer(T),
}

#[derive(Debug)]
struct Trip<A> {
    line: Line,
    /// Given, but an older request of the connection has no answer yet.
    answer: Option<A>,
}

#[derive(Debug)]
struct Pipe {
    last_arrival: Instant,
    last_return: Instant,
    /// Without an answer on its way, the oldest first.
    waiting: VecDeque<u64>,
}

impl<Q, A, T> Network<Q, A, T> {
    pub(crate) fn new(seed: u64, weather: Weather) -> Self {
        Self {
            now: start_of_time(),
            rng: Rng::with_seed(seed ^ 0x5eed),
            weather,
            events: BTreeMap::new(),
            event_count: 0,
            trips: BTreeMap::new(),
            lines: BTreeMap::new(),
            next_id: 0,
        }
    }

    /// A client sends; the number names the request in what comes back.
    pub(crate) fn send(&mut self, line: Line, request: Q) -> u64 {
        self.next_id += 1;
        let id = self.next_id;
        let pipe = self.lines.entry(line).or_insert(Pipe {
            last_arrival: self.now,
            last_return: self.now,
            waiting: VecDeque::new(),
        });
        let mut arrival = self.now + delay(&mut self.rng);
        if !self.weather.reorders {
            arrival = arrival.max(pipe.last_arrival);
            pipe.last_arrival = arrival;
        }
        pipe.waiting.push_back(id);
        self.trips.insert(id, Trip { line, answer: None });
        self.push(arrival, Event::Arrive { id, line, request });
        if self.rng.f64() < self.weather.cut {
            let at = self.now + delay(&mut self.rng) * 2;
            self.push(at, Event::Cut { id });
        }
        id
    }

    /// A node answers.
    pub(crate) fn answer(&mut self, id: u64, answer: A) {
        let Some(trip) = self.trips.get_mut(&id) else {
            return; // The connection is gone.
        };
        let line = trip.line;
        if self.rng.f64() < self.weather.silent {
            let at = self.now + REQUEST_TIMEOUT;
            return self.push(at, Event::Cut { id });
        }
        if self.weather.reorders {
            let at = self.now + delay(&mut self.rng);
            return self.push(at, Event::Return { id, answer });
        }
        trip.answer = Some(answer);
        // Answers go in the order of the requests.
        while let Some(&first) = self.lines.get(&line).and_then(|pipe| pipe.waiting.front()) {
            let Some(answer) = self.trips.get_mut(&first).and_then(|trip| trip.answer.take()) else {
                return;
            };
            let at = self.now + delay(&mut self.rng);
            let pipe = self.lines.get_mut(&line).expect("looked up above");
            pipe.waiting.pop_front();
            pipe.last_return = pipe.last_return.max(at);
            let at = pipe.last_return;
            self.push(at, Event::Return { id: first, answer });
        }
    }

    pub(crate) fn schedule(&mut self, after: Duration, timer: T) {
        self.push(self.now + after, Event::Timer(timer));
    }

    /// Breaks one connection: all its requests are lost to the client, and a part of those on their way never arrives.
    pub(crate) fn cut(&mut self, line: Line) {
        self.lines.remove(&line);
        let lost: Vec<u64> = self
            .trips
            .iter()
            .filter(|(_, trip)| trip.line == line)
            .map(|(id, _)| *id)
            .collect();
        // What overtakes may arrive alone; else only a beginning of what was written arrives.
        let mut arrives = self.rng.bool();
        for id in lost {
            self.trips.remove(&id);
            self.push(self.now, Event::Lost { id, line });
            arrives = match self.weather.reorders {
                true => self.rng.bool(),
                false => arrives && self.rng.u32(0..4) > 0,
            };
            if !arrives || !self.weather.is_late {
                self.events
                    .retain(|_, event| !matches!(event, Event::Arrive { id: other, .. } if *other == id));
            }
        }
    }

    /// Breaks every connection to a node, and loses what did not reach it.
    pub(crate) fn cut_all(&mut self, node_id: i32) {
        self.events
            .retain(|_, event| !matches!(event, Event::Arrive { line, .. } if line.node_id == node_id));
        let lines: Vec<Line> = self
            .lines
            .keys()
            .copied()
            .filter(|line| line.node_id == node_id)
            .collect();
        for line in lines {
            self.cut(line);
        }
        // The lines of answers that overtook all others are known by their requests only.
        let lost = self.trips.values().map(|trip| trip.line);
        let lost: Vec<Line> = lost.filter(|line| line.node_id == node_id).collect();
        for line in lost {
            self.cut(line);
        }
    }

    /// A client goes away: nobody waits for its answers, but what it sent may arrive.
    pub(crate) fn forget_client(&mut self, client: usize) {
        self.trips.retain(|_, trip| trip.line.client != client);
        self.lines.retain(|line, _| line.client != client);
        self.events
            .retain(|_, event| !matches!(event, Event::Lost { line, .. } if line.client == client));
    }

    /// Whether the client still waits for the answer.
    pub(crate) fn is_awaited(&self, id: u64) -> bool {
        self.trips.contains_key(&id)
    }

    /// Whether nothing is on its way to a node.
    pub(crate) fn is_quiet(&self) -> bool {
        !self.events.values().any(|event| matches!(event, Event::Arrive { .. }))
    }

    /// Lets time pass until something happens, at most until `deadline`. `None` at the deadline.
    pub(crate) fn next(&mut self, deadline: Option<Instant>) -> Option<Delivery<Q, A, T>> {
        loop {
            let at = self.events.first_key_value().map(|((at, _), _)| *at);
            let Some(at) = at.filter(|at| deadline.is_none_or(|deadline| *at <= deadline)) else {
                self.now = self.now.max(deadline.unwrap_or(self.now + MS));
                return None;
            };
            self.now = self.now.max(at);
            let (_, event) = self.events.pop_first().expect("seen above");
            match event {
                Event::Arrive { id, line, request } => return Some(Delivery::Request { id, line, request }),
                Event::Return { id, answer } => {
                    if let Some(trip) = self.trips.remove(&id) {
                        let line = trip.line;
                        if let Some(pipe) = self.lines.get_mut(&line) {
                            pipe.waiting.retain(|waiting| *waiting != id);
                        }
                        return Some(Delivery::Answer { id, line, answer });
                    }
                }
                Event::Cut { id } => {
                    if let Some(trip) = self.trips.get(&id) {
                        self.cut(trip.line);
                    }
                }
                Event::Lost { id, line } => return Some(Delivery::Lost { id, line }),
                Event::Timer(timer) => return Some(Delivery::Timer(timer)),
            }
        }
    }

    fn push(&mut self, at: Instant, event: Event<Q, A, T>) {
        self.event_count += 1;
        self.events.insert((at, self.event_count), event);
    }
}

/// Mostly short, sometimes long enough to be overtaken by a leader's move.
fn delay(rng: &mut Rng) -> Duration {
    let micros = match rng.u32(0..20) {
        0 => rng.u64(30_000..300_000),
        _ => rng.u64(100..30_000),
    };
    Duration::from_micros(micros)
}

/// How long a client waits for an answer.
const REQUEST_TIMEOUT: Duration = Duration::from_millis(200);

#[expect(
    clippy::disallowed_methods,
    reason = "an origin for the virtual clock; only differences matter"
)]
fn start_of_time() -> Instant {
    Instant::now()
}
