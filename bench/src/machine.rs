//! Where a figure was measured: without it the figure means nothing.

use std::fmt;

use anyhow::Result;
use serde::Serialize;

/// The machine, and how busy it was before the first run.
#[derive(Debug, Serialize)]
pub struct Fingerprint {
    cores: usize,
    model: String,
    kernel: String,
    load_average: String,
    memory: String,
}

impl Fingerprint {
    /// Reads it from `/proc` (Linux).
    pub fn read() -> Result<Fingerprint> {
        let read = |path: &str| std::fs::read_to_string(path);
        let value = |text: &str, name: &str| {
            let line = text.lines().find(|line| line.starts_with(name));
            line.and_then(|line| line.split_once(':'))
                .map_or_else(|| "unknown".to_owned(), |(_, value)| value.trim().to_owned())
        };
        let load = read("/proc/loadavg")?;
        Ok(Fingerprint {
            cores: std::thread::available_parallelism()?.get(),
            model: value(&read("/proc/cpuinfo")?, "model name"),
            kernel: read("/proc/sys/kernel/osrelease")?.trim().to_owned(),
            load_average: load.split_whitespace().take(3).collect::<Vec<_>>().join(" "),
            memory: value(&read("/proc/meminfo")?, "MemTotal"),
        })
    }

    /// Of the last minute, five and fifteen.
    #[must_use]
    pub fn load_average(&self) -> &str {
        &self.load_average
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "machine: {} x {}, {}, Linux {}, load average before the first run {}",
            self.cores, self.model, self.memory, self.kernel, self.load_average
        )
    }
}

/// The share of the cores' time, from 0 to 1, that was used or stolen during `pause`: how busy others are while the
/// caller does nothing. The load average would still remember what was compiled a minute ago.
pub fn busy_share(pause: std::time::Duration) -> Result<f64> {
    // The first line: ticks as user, nice, system, idle, waiting for disks, interrupts, soft interrupts, stolen.
    let ticks = || -> Result<(f64, f64)> {
        let stat = std::fs::read_to_string("/proc/stat")?;
        let first = stat.lines().next().unwrap_or_default().split_whitespace().skip(1);
        let ticks: Vec<f64> = first.take(8).filter_map(|ticks| ticks.parse().ok()).collect();
        Ok((ticks.iter().sum(), ticks.iter().skip(3).take(2).sum()))
    };
    let (all_before, idle_before) = ticks()?;
    std::thread::sleep(pause);
    let (all, idle) = ticks()?;
    Ok(1.0 - (idle - idle_before) / (all - all_before).max(1.0))
}

/// User and system time of this process so far, ended threads included, in seconds.
pub fn cpu_seconds() -> Result<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    // The name in parentheses may hold spaces; user and system ticks are the 12th and 13th after it.
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    let ticks: u64 = fields
        .skip(11)
        .take(2)
        .filter_map(|ticks| ticks.parse::<u64>().ok())
        .sum();
    Ok(ticks as f64 / 100.0)
}

/// The most memory that this process has had resident, in bytes.
pub fn peak_resident_bytes() -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kilobytes = peak.and_then(|peak| peak.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
    Ok(kilobytes.unwrap_or(0) * 1024)
}
