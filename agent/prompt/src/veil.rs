//! The veil: how a character shows that it came from the caller.
//!
//! Characters of planes 0 and 1 move to planes 11 and 12, where Unicode assigns nothing. White
//! space stays, so that templates can trim and split; so does what lies beyond plane 1, of which
//! no literal is made ([`crate::TemplateError::Literal`]).

use minijinja::value::{Value, ValueKind};

const OFFSET: u32 = 0xB_0000;
const VEILABLE_END: u32 = 0x2_0000;

/// Whether a character looks veiled.
pub(crate) fn is_veiled(c: char) -> bool {
    (OFFSET..OFFSET + VEILABLE_END).contains(&u32::from(c))
}

/// Whether a literal may have this character: once veiled, it differs from it.
pub(crate) fn is_veilable(c: char) -> bool {
    u32::from(c) < VEILABLE_END
}

pub(crate) fn veil_char(c: char) -> char {
    if c.is_whitespace() || !is_veilable(c) {
        return c;
    }
    char::from_u32(u32::from(c) + OFFSET).unwrap_or(c)
}

fn unveil_char(c: char) -> char {
    if is_veiled(c) { char::from_u32(u32::from(c) - OFFSET).unwrap_or(c) } else { c }
}

pub(crate) fn veil(text: &str) -> String {
    text.chars().map(veil_char).collect()
}

pub(crate) fn unveil(text: &str) -> String {
    text.chars().map(unveil_char).collect()
}

/// The value with all its strings and keys unveiled; `None` if it is nested deeper than `depth_max`.
pub(crate) fn unveil_value(value: &Value, depth_max: usize) -> Option<Value> {
    let inner = |value: &Value| unveil_value(value, depth_max.checked_sub(1)?);
    match value.kind() {
        ValueKind::String => value.as_str().map(unveil).map(Value::from),
        ValueKind::Seq | ValueKind::Iterable => {
            let items = value.try_iter().ok()?.map(|item| inner(&item));
            items.collect::<Option<Vec<_>>>().map(Value::from)
        }
        ValueKind::Map => {
            let keys = value.try_iter().ok()?;
            let fields = keys.map(|key| Some((inner(&key)?, inner(&value.get_item(&key).ok()?)?)));
            fields.collect::<Option<Vec<_>>>().map(Value::from_pairs)
        }
        _ => Some(value.clone()),
    }
}

/// Applies `f` to the text without the veil. Where `f` keeps the number of characters, each keeps
/// its origin; otherwise the whole result counts as the caller's.
pub(crate) fn through<E>(text: &str, f: impl FnOnce(String) -> Result<String, E>) -> Result<String, E> {
    if !text.contains(is_veiled) {
        return f(text.to_owned());
    }
    let result = f(unveil(text))?;
    if result.chars().count() != text.chars().count() {
        return Ok(veil(&result));
    }
    let keep_origin = |(c, origin)| if is_veiled(origin) { veil_char(c) } else { c };
    Ok(result.chars().zip(text.chars()).map(keep_origin).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_characters_but_white_space_and_high_planes_are_veiled_and_come_back() {
        for c in (0..VEILABLE_END).filter_map(char::from_u32) {
            let veiled = veil_char(c);
            assert_eq!(is_veiled(veiled), !c.is_whitespace(), "{c:?}");
            assert_eq!(unveil_char(veiled), c);
        }
        assert_eq!(veil_char('\u{20000}'), '\u{20000}');
    }

    #[test]
    fn a_change_of_case_keeps_each_origin_and_a_change_of_length_veils_all() {
        let mixed = format!("a{}c", veil("b"));
        let upper = |text: String| Ok::<_, ()>(text.to_uppercase());
        assert_eq!(through(&mixed, upper), Ok(format!("A{}C", veil("B"))));
        assert_eq!(through(&veil("ß"), upper), Ok(veil("SS")));
    }
}
