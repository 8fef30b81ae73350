//! What the process uses, as the operating system tells it.

/// What the process uses.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct ProcessMetrics {
    /// Resident memory, in bytes.
    pub resident_bytes: u64,
    /// Processor time used, user and system together, in seconds.
    pub cpu_seconds: f64,
}

impl ProcessMetrics {
    /// Reads them from `/proc`; zeros where there is none.
    #[must_use]
    pub fn of_this_process() -> ProcessMetrics {
        let read = |path| std::fs::read_to_string(path).unwrap_or_default();
        parse_process(&read("/proc/self/status"), &read("/proc/self/stat"))
    }
}

/// Linux reports processor time in hundredths of a second on every platform it exposes to programs (`USER_HZ`).
const TICKS_PER_SECOND: f64 = 100.0;

#[expect(clippy::cast_precision_loss, reason = "ticks of a process stay far below 2^53")]
fn parse_process(status: &str, stat: &str) -> ProcessMetrics {
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib: u64 = resident
        .and_then(|rest| rest.split_whitespace().next()?.parse().ok())
        .unwrap_or(0);
    // The program's name may hold spaces and brackets; the fields begin behind the last bracket.
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
    let ticks = fields
        .split_whitespace()
        .skip(11)
        .take(2)
        .filter_map(|field| field.parse::<u64>().ok())
        .sum::<u64>();
    ProcessMetrics {
        resident_bytes: kib.saturating_mul(1024),
        cpu_seconds: ticks as f64 / TICKS_PER_SECOND,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_process_is_read_whatever_its_name() {
        let stat = "7 (a ) b) S 1 2 3 4 5 6 7 8 9 10 150 50 0 0";
        let process = parse_process("Name:\tx\nVmRSS:\t  2048 kB\n", stat);
        assert_eq!(
            process,
            ProcessMetrics {
                resident_bytes: 2 << 20,
                cpu_seconds: 2.0
            }
        );
        assert_eq!(parse_process("", ""), ProcessMetrics::default());
    }
}
