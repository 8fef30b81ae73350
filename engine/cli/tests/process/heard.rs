//! What a process says on standard error, read as it comes: one that nobody listened to would stand still as soon as it had
//! said the 64 KiB that a pipe holds.

use std::{
    io::Read,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::JoinHandle,
    time::{Duration, Instant},
};

/// All that one process has said. Bounded by the length of a test, which is why nothing of it is dropped.
pub(crate) struct Heard {
    said: Arc<Said>,
    reading: JoinHandle<()>,
    /// So many bytes were given to the test.
    told: usize,
}

#[derive(Default)]
struct Said {
    text: Mutex<Text>,
    more: Condvar,
}

#[derive(Default)]
struct Text {
    bytes: Vec<u8>,
    is_over: bool,
}

impl Heard {
    pub(crate) fn listen(mut from: impl Read + Send + 'static) -> Heard {
        let said = Arc::new(Said::default());
        let hears = Arc::clone(&said);
        let reading = std::thread::spawn(move || {
            let mut buffer = [0; 8 << 10];
            loop {
                let count = from.read(&mut buffer).unwrap_or(0);
                let mut text = hears.lock();
                text.bytes.extend_from_slice(&buffer[..count]);
                text.is_over = count == 0;
                hears.more.notify_all();
                if text.is_over {
                    return;
                }
            }
        });
        Heard { said, reading, told: 0 }
    }

    /// All that was not told yet, up to the end of the first line that contains `part`.
    #[track_caller]
    pub(crate) fn until(&mut self, part: &str, patience: Duration) -> String {
        let deadline = Instant::now() + patience;
        let mut text = self.said.lock();
        let mut line_start = self.told;
        loop {
            while let Some(line) = text.next_line(line_start) {
                line_start += line.len() + 1;
                if String::from_utf8_lossy(line).contains(part) {
                    let before = text.from(self.told, line_start - 1);
                    self.told = line_start.min(text.bytes.len());
                    return before;
                }
            }
            assert!(!text.is_over, "no `{part}` in: {}", text.from(self.told, usize::MAX));
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(
                !left.is_zero(),
                "no `{part}` within {patience:?} in: {}",
                text.from(self.told, usize::MAX)
            );
            let woken = self.said.more.wait_timeout(text, left);
            text = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// All that was not told yet and was said until now.
    pub(crate) fn so_far(&self) -> String {
        self.said.lock().from(self.told, usize::MAX)
    }

    /// All that was not told yet, once the process has closed its standard error.
    pub(crate) fn rest(self) -> String {
        let _ = self.reading.join();
        self.said.lock().from(self.told, usize::MAX)
    }
}

impl Said {
    fn lock(&self) -> MutexGuard<'_, Text> {
        self.text.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Text {
    /// The whole line that starts here; at the end, what is left is one too.
    fn next_line(&self, start: usize) -> Option<&[u8]> {
        let rest = self.bytes.get(start..)?;
        match rest.iter().position(|byte| *byte == b'\n') {
            Some(length) => Some(&rest[..length]),
            None => (self.is_over && !rest.is_empty()).then_some(rest),
        }
    }

    fn from(&self, start: usize, end: usize) -> String {
        let end = end.min(self.bytes.len());
        String::from_utf8_lossy(&self.bytes[start.min(end)..end]).into_owned()
    }
}
