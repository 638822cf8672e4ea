//! Characters that no text of a report needs.

/// Whether a character shows nothing, or moves what stands beside it: control characters, and those that change the direction
/// of writing.
pub(crate) fn is_hidden(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{2028}' | '\u{2029}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}
