//! The valid topics of emitted messages.

use crate::limits;

/// A topic becomes the end of a NATS subject: non-empty tokens between dots, without wildcards, spaces and the reserved
/// `$` prefix.
pub(crate) fn is_valid(topic: &[u8]) -> bool {
    topic.len() <= limits::TOPIC_BYTES && topic.split(|&byte| byte == b'.').all(is_token)
}

fn is_token(token: &[u8]) -> bool {
    let plain = |byte: &u8| byte.is_ascii_graphic() && !matches!(byte, b'*' | b'>');
    !token.is_empty() && !token.starts_with(b"$") && token.iter().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_between_dots_are_a_topic() {
        for good in ["alarm", "line.7.defect", "a-b_c/d:e", "x$y", &"t".repeat(limits::TOPIC_BYTES)] {
            assert!(is_valid(good.as_bytes()), "{good}");
        }
    }

    #[test]
    fn nothing_else_is() {
        let long = "t".repeat(limits::TOPIC_BYTES + 1);
        for bad in [
            "", ".", "a..b", ".a", "a.", "*", "a.*.b", "a*", ">", "a.>", "a>b", "a b", "a\tb", "a\r\nb", "a\0", "\x7f",
            "$SYS", "a.$SYS", "$JS.API", "é", &long,
        ] {
            assert!(!is_valid(bad.as_bytes()), "{bad:?}");
        }
        assert!(!is_valid(b"\xff\xfe"));
    }
}
