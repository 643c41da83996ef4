//! Routes of mode `stream`: every stored message ends in one result, "no result", or one dead letter.

pub mod names;
