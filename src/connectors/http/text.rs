//! Foreign text made fit for messages.

/// How much of a foreign text a message shows, in bytes.
const CLIP_BYTES: usize = 300;

/// Shortens a foreign text and escapes its control characters, so that it can forge
/// neither a log line nor a terminal sequence.
pub(super) fn clip(text: &str) -> String {
    let mut out = String::new();
    for c in text.trim().chars() {
        if out.len() >= CLIP_BYTES {
            out.push('…');
            break;
        }
        // Also the invisible marks that reverse the reading order.
        if c.is_control() || matches!(c, '\u{200e}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}') {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_text_is_short_and_harmless() {
        assert_eq!(clip(" a\n[INFO] ok\u{1b}[31m "), "a\\n[INFO] ok\\u{1b}[31m");
        assert_eq!(clip("a\u{202e}b"), "a\\u{202e}b");
        assert!(clip(&"é".repeat(10_000)).len() < 320);
    }
}
