//! Passing over objects and lists: what is in them is checked, and nothing of it is kept.

use super::scanner::{Scan, ScanError, Scanner};

impl Scanner<'_> {
    /// An object or a list, with a stack of one bit per level instead of recursion.
    pub(super) fn nested(&mut self) -> Scan<()> {
        let mut levels = Levels::default();
        loop {
            // At the opening bracket of a container.
            let is_object = self.peek() == Some(b'{');
            if levels.depth + 1 >= self.depth_max.min(Levels::MAX) {
                return Err(ScanError::TooDeep {
                    position: self.position,
                });
            }
            self.position += 1;
            levels.push(is_object);
            self.skip_space();
            if self.peek() == Some(if is_object { b'}' } else { b']' }) {
                if !self.close(&mut levels)? {
                    return Ok(());
                }
            } else if is_object {
                self.key()?;
            }
            // At a value; scalars are passed over until the next container opens.
            loop {
                match self.peek() {
                    Some(b'{' | b'[') => break,
                    Some(b'"') => drop(self.string()?),
                    Some(b'-' | b'0'..=b'9') => drop(self.number()?),
                    _ => drop(self.literal()?),
                }
                if !self.after_value(&mut levels)? {
                    return Ok(());
                }
            }
        }
    }

    fn key(&mut self) -> Scan<()> {
        self.string()?;
        self.skip_space();
        self.expect(b':', "`:`")?;
        self.skip_space();
        Ok(())
    }

    /// Closes the innermost container and moves on to the next value; false if it was the outermost.
    fn close(&mut self, levels: &mut Levels) -> Scan<bool> {
        self.position += 1;
        levels.pop();
        if levels.depth == 0 {
            Ok(false)
        } else {
            self.after_value(levels)
        }
    }

    /// Behind a value in a container: moves to the next value; false if the outermost container closed.
    fn after_value(&mut self, levels: &mut Levels) -> Scan<bool> {
        loop {
            self.skip_space();
            let is_object = levels.is_object();
            match (self.peek(), is_object) {
                (Some(b','), true) => {
                    self.position += 1;
                    self.skip_space();
                    self.key()?;
                    return Ok(true);
                }
                (Some(b','), false) => {
                    self.position += 1;
                    self.skip_space();
                    return Ok(true);
                }
                (Some(b'}'), true) | (Some(b']'), false) => {
                    self.position += 1;
                    levels.pop();
                    if levels.depth == 0 {
                        return Ok(false);
                    }
                }
                (_, true) => return Err(self.unexpected("`,` or `}`")),
                (_, false) => return Err(self.unexpected("`,` or `]`")),
            }
        }
    }
}

/// Which of the open containers are objects: one bit each.
#[derive(Debug, Default)]
struct Levels {
    objects: u128,
    depth: usize,
}

impl Levels {
    const MAX: usize = 128;

    fn push(&mut self, is_object: bool) {
        self.objects = self.objects << 1 | u128::from(is_object);
        self.depth += 1;
    }

    fn pop(&mut self) {
        self.objects >>= 1;
        self.depth -= 1;
    }

    fn is_object(&self) -> bool {
        self.objects & 1 == 1
    }
}
