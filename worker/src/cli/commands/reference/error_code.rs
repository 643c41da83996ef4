//! The page of error codes.

use inferbus_pipeline::outcome::VERDICTS;

use super::markdown::{code, sentence, table};

const INTRODUCTION: &str = "\
An error reply contains the code in the header `Nats-Service-Error-Code`, and a sentence in `Nats-Service-Error`.
HTTP answers use the same codes. Metrics use the label. [React to errors](../howto/errors.md) lists the remedies.
";

pub fn page() -> String {
    let rows =
        VERDICTS.iter().map(|(verdict, meaning)| [verdict.code.to_string(), code(verdict.label), sentence(meaning)]);
    let table = table(["code", "label", "meaning"], rows);
    format!("# Errors\n\n{INTRODUCTION}\n{}\n", table.trim_end())
}
