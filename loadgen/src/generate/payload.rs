//! Payloads and expected answers, from files or random bytes.

use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use crate::fault::BenchFault;
use crate::limits;
use crate::random::Random;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payload {
    pub name: String,
    pub bytes: Bytes,
}

/// The payloads of one target: a file, or all files of a folder sorted by name. A subfolder named after the target
/// takes precedence.
pub fn read(path: &Path, target: &str) -> Result<Vec<Payload>, BenchFault> {
    let folder = path.join(target);
    let path = if folder.is_dir() { &folder } else { path };
    let files = if path.is_dir() { files(path)? } else { vec![path.to_owned()] };
    if files.is_empty() {
        return Err(BenchFault::NoPayloads(path.to_owned()));
    }
    let mut left = limits::PAYLOAD_BYTES;
    files
        .into_iter()
        .map(|file| {
            let unreadable = |reason| BenchFault::Unreadable { file: file.clone(), reason };
            let size = fs::metadata(&file).map_err(unreadable)?.len();
            let size = usize::try_from(size).unwrap_or(usize::MAX);
            left = left.checked_sub(size).ok_or(BenchFault::TooManyPayloads)?;
            let bytes = fs::read(&file).map_err(unreadable)?.into();
            Ok(Payload { name: name(&file), bytes })
        })
        .collect()
}

fn files(folder: &Path) -> Result<Vec<PathBuf>, BenchFault> {
    let unreadable = |reason| BenchFault::Unreadable { file: folder.to_owned(), reason };
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if path.is_file() {
            files.push(path);
        }
        if files.len() > limits::PAYLOADS {
            return Err(BenchFault::TooManyPayloads);
        }
    }
    files.sort();
    Ok(files)
}

fn name(file: &Path) -> String {
    file.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Random bytes by seed.
pub fn random(len: usize, seed: u64) -> Vec<Payload> {
    let mut random = Random::new(seed);
    let count = (limits::PAYLOAD_BYTES / len.max(1)).clamp(1, limits::RANDOM);
    let payload = |number| {
        let numbers = std::iter::repeat_with(|| random.next_u64().to_le_bytes()).take(len.div_ceil(8));
        let mut bytes: Vec<u8> = numbers.flatten().collect();
        bytes.truncate(len);
        Payload { name: format!("random-{number}"), bytes: bytes.into() }
    };
    (1..=count).map(payload).collect()
}

/// The expected answer to each payload of a target. A file applies to all payloads; a folder holds one file per payload
/// name.
pub fn expected(path: &Path, target: &str, payloads: &[Payload]) -> Result<Vec<Bytes>, BenchFault> {
    let answers = read(path, target)?;
    if !path.is_dir() {
        let answer = answers.into_iter().next().map(|answer| answer.bytes).unwrap_or_default();
        return Ok(vec![answer; payloads.len()]);
    }
    let find = |payload: &Payload| {
        let found = answers.binary_search_by(|answer| answer.name.cmp(&payload.name)).ok();
        found
            .and_then(|at| answers.get(at))
            .map(|answer| answer.bytes.clone())
            .ok_or_else(|| BenchFault::NothingExpected { folder: path.to_owned(), payload: payload.name.clone() })
    };
    payloads.iter().map(find).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a folder");
        for (name, text) in files {
            let file = folder.path().join(name);
            fs::create_dir_all(file.parent().expect("a folder")).expect("made");
            fs::write(file, text).expect("written");
        }
        folder
    }

    #[test]
    fn files_are_sorted_by_name_and_a_models_folder_takes_precedence() {
        let payloads = folder(&[("e", "5"), ("b", "2"), ("d", "4"), ("a", "1"), ("other/f", "6"), ("c", "3")]);
        let names = |target| {
            let read = read(payloads.path(), target).expect("payloads");
            read.into_iter().map(|payload| payload.name).collect::<Vec<_>>()
        };
        assert_eq!(names("digits"), ["a", "b", "c", "d", "e"]);
        assert_eq!(names("other"), ["f"]);
        let empty = folder(&[]);
        assert!(matches!(read(empty.path(), "digits"), Err(BenchFault::NoPayloads(_))));
        assert!(matches!(read(&empty.path().join("x"), "digits"), Err(BenchFault::Unreadable { .. })));
    }

    #[test]
    fn expected_answers_are_found_by_name_or_apply_to_all() {
        let payloads = read(folder(&[("a", "1"), ("b", "2")]).path(), "digits").expect("payloads");
        let answers = folder(&[("b", "two"), ("a", "one"), ("aa", "of another payload"), ("c", "more")]);
        assert_eq!(expected(answers.path(), "digits", &payloads).expect("answers"), ["one", "two"]);
        assert_eq!(expected(&answers.path().join("c"), "digits", &payloads).expect("an answer"), ["more", "more"]);
        let missing = folder(&[("a", "one")]);
        let fault = expected(missing.path(), "digits", &payloads).expect_err("b is missing");
        assert!(fault.to_string().contains("payload b"), "{fault}");
    }

    #[test]
    fn files_above_the_total_size_are_rejected() {
        let large = folder(&[("a", "1"), ("b", "")]);
        let file = fs::File::options().write(true).open(large.path().join("b")).expect("a file");
        // A sparse file.
        file.set_len(limits::PAYLOAD_BYTES as u64).expect("a size");
        assert!(matches!(read(large.path(), "digits"), Err(BenchFault::TooManyPayloads)));
    }

    #[test]
    fn random_payloads_repeat_and_have_the_requested_length() {
        let payloads = random(13, 5);
        assert_eq!(payloads, random(13, 5));
        assert_ne!(payloads, random(13, 6));
        assert!(payloads.len() == limits::RANDOM && payloads.iter().all(|payload| payload.bytes.len() == 13));
        assert_ne!(payloads[0].bytes, payloads[1].bytes);
    }
}
