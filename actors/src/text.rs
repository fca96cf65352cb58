//! What no text may have in it. Pure.

/// Whether `c` commands a screen and is not seen on it. Also those that turn the direction of what
/// follows, which makes it seem to be something else:
/// <https://www.unicode.org/reports/tr9/#Explicit_Directional_Embeddings>.
pub fn is_control(c: char) -> bool {
    c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}
