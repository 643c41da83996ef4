//! Prints the JSON Schema of an entry: `cargo run -p inferbus-catalog --example schema > catalog/entry.schema.json`.

fn main() {
    println!("{:#}", inferbus_catalog::entry_schema());
}
