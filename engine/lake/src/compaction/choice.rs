//! Which files of a folder are merged: a pure choice over names and sizes.
//!
//! Merging everything small again and again would write a file of the target size hundreds of times over while it
//! grows. A file is therefore merged only with others that together are at least as large: each merge at least doubles
//! the file that a row is in, so a row is written about log2(target / first size) times, and a folder keeps that many
//! small files at most, beside the new ones.

/// A file that may be merged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Candidate {
    pub(crate) name: String,
    pub(crate) bytes: u64,
}

/// The files to merge into one, by name; none if it is not worth it yet: fewer than `files_min` small ones, or none that
/// belong together. A small file is one of less than half of `target_bytes`; together they have at most `target_bytes`.
pub(crate) fn choose(mut candidates: Vec<Candidate>, target_bytes: u64, files_min: usize) -> Vec<Candidate> {
    candidates.retain(|file| file.bytes < target_bytes / 2);
    if candidates.len() < files_min {
        return Vec::new();
    }
    candidates.sort_unstable_by(|left, right| left.bytes.cmp(&right.bytes).then_with(|| left.name.cmp(&right.name)));
    let (mut sum, mut chosen) = (0_u64, 0);
    for (index, file) in candidates.iter().enumerate() {
        if sum + file.bytes > target_bytes {
            break;
        }
        if index > 0 && file.bytes <= sum {
            chosen = index + 1;
        }
        sum += file.bytes;
    }
    candidates.truncate(chosen);
    candidates.sort_unstable_by(|left, right| left.name.cmp(&right.name));
    candidates
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(sizes: &[u64]) -> Vec<Candidate> {
        let numbered = sizes.iter().enumerate();
        numbered
            .map(|(index, &bytes)| Candidate {
                name: format!("{index:05}"),
                bytes,
            })
            .collect()
    }

    fn chosen(sizes: &[u64], target_bytes: u64, files_min: usize) -> Vec<u64> {
        let chosen = choose(files(sizes), target_bytes, files_min);
        assert!(chosen.is_sorted_by(|left, right| left.name < right.name));
        chosen.iter().map(|file| file.bytes).collect()
    }

    #[test]
    fn files_are_merged_when_there_are_enough_that_belong_together() {
        for (sizes, expected) in [
            (&[][..], &[][..]),
            (&[1, 1], &[]),
            (&[1, 1, 1], &[1, 1, 1]),
            // The large one has to wait until what is small has grown to its size.
            (&[1, 1, 1, 40], &[1, 1, 1]),
            (&[40, 20, 20], &[40, 20, 20]),
            // The one smallest file does not keep others from being merged.
            (&[1, 20, 20, 20], &[1, 20, 20, 20]),
            (&[1, 2, 4, 8, 16, 32], &[]),
            // Half of the target is large enough to stay.
            (&[50, 50, 99, 100, 1, 1], &[]),
            (&[49, 49, 49], &[49, 49]),
            (&[0, 0, 0], &[0, 0, 0]),
        ] {
            assert_eq!(chosen(sizes, 100, 3), expected, "{sizes:?}");
        }
        assert_eq!(chosen(&[1, 1], 100, 2), [1, 1]);
    }

    #[test]
    fn a_live_table_is_rewritten_few_times_and_keeps_few_files() {
        let (target, files_min) = (128_000_000, 16);
        let (mut sizes, mut written, mut total) = (Vec::new(), 0_u64, 0_u64);
        for _ in 0..86_400 / 300 {
            // Five minutes of one file a second.
            sizes.extend([4_000; 300]);
            total += 300 * 4_000;
            loop {
                let merged = choose(files(&sizes), target, files_min);
                if merged.is_empty() {
                    break;
                }
                for file in &merged {
                    let index = sizes.iter().position(|size| *size == file.bytes).unwrap();
                    sizes.swap_remove(index);
                }
                let sum = merged.iter().map(|file| file.bytes).sum();
                written += sum;
                sizes.push(sum);
            }
            assert!(sizes.len() < 32, "{sizes:?}");
        }
        assert!(written < 9 * total, "{} times", written / total);
        assert!(
            sizes.iter().filter(|size| **size >= target / 2).count() >= 2,
            "{sizes:?}"
        );
    }
}
