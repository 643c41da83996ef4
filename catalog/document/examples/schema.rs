//! Prints the JSON Schema of an entry.
//!
//! `cargo run -p inferbus-catalog-document --example schema > catalog/entry.schema.json`

fn main() {
    println!("{:#}", inferbus_catalog_document::entry_schema());
}
