//! The golden bytes of this crate.

/// Every file of a folder under `golden/`, by name without its extension.
///
/// # Panics
/// If it cannot be read.
#[must_use]
pub fn files(folder: &str) -> Vec<(String, Vec<u8>)> {
    let path = format!("{}/golden/{folder}", env!("CARGO_MANIFEST_DIR"));
    let mut files: Vec<_> = std::fs::read_dir(path)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| {
            (
                path.file_stem().unwrap().to_string_lossy().into_owned(),
                std::fs::read(&path).unwrap(),
            )
        })
        .collect();
    files.sort();
    files
}
