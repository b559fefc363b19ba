//! The kernel's arguments within a unified kernel image, which is a PE program.
//! <https://uapi-group.org/specifications/specs/unified_kernel_image/>

use anyhow::{Context as _, Result, ensure};

/// Offsets of <https://learn.microsoft.com/en-us/windows/win32/debug/pe-format>.
const PE_OFFSET_AT: usize = 0x3c;
const SECTIONS_COUNT_AT: usize = 6;
const OPTIONAL_HEADER_BYTES_AT: usize = 20;
const HEADER_BYTES: usize = 24;
const SECTION_BYTES: usize = 40;
const NAME_BYTES: usize = 8;
const USED_BYTES_AT: usize = 8;
const ROOM_BYTES_AT: usize = 16;
const CONTENT_AT: usize = 20;

/// Adds arguments to a kernel image's own. A signature does not survive that.
///
/// # Errors
/// When it is no such image, or they do not fit: sections have room up to the next sector only.
pub fn with_more_arguments(mut image: Vec<u8>, more: &str) -> Result<Vec<u8>> {
    let section = find_section(&image, b".cmdline")?;
    let used = number(&image, section + USED_BYTES_AT)? as usize;
    let room = number(&image, section + ROOM_BYTES_AT)? as usize;
    let content = number(&image, section + CONTENT_AT)? as usize;
    let bytes = image.get(content..content.saturating_add(used.min(room)));
    let arguments = bytes.context("the arguments lie behind the image's end")?.to_vec();
    let arguments = String::from_utf8(arguments).context("the arguments are not text")?;
    let arguments = format!("{} {more}", arguments.trim_end_matches(['\0', '\n', ' ']));
    ensure!(arguments.len() <= room, "{more:?} does not fit: there is room for {room} bytes in all");
    let target = image.get_mut(content..content + room).context("the arguments' room is cut off")?;
    target.fill(0);
    target[..arguments.len()].copy_from_slice(arguments.as_bytes());
    let length = u32::try_from(arguments.len()).context("too many arguments")?;
    image[section + USED_BYTES_AT..section + USED_BYTES_AT + 4].copy_from_slice(&length.to_le_bytes());
    Ok(image)
}

/// Where a section's header is.
fn find_section(image: &[u8], name: &[u8; NAME_BYTES]) -> Result<usize> {
    let pe = number(image, PE_OFFSET_AT)? as usize;
    ensure!(image.get(pe..pe.saturating_add(4)) == Some(b"PE\0\0"), "this is no PE program");
    let half = |at: usize| number(image, at).map(|number| (number & 0xffff) as usize);
    let count = half(pe + SECTIONS_COUNT_AT)?;
    let first = pe + HEADER_BYTES + half(pe + OPTIONAL_HEADER_BYTES_AT)?;
    let mut sections = (0..count).map(|index| first + index * SECTION_BYTES);
    let found = sections.find(|&at| image.get(at..at + NAME_BYTES) == Some(name));
    found.with_context(|| format!("no section {}", String::from_utf8_lossy(name)))
}

fn number(image: &[u8], at: usize) -> Result<u32> {
    let bytes = image.get(at..at.saturating_add(4)).context("the image ends within its headers")?;
    Ok(u32::from_le_bytes(bytes.try_into().context("four bytes")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOM: usize = 64;

    /// An image with these arguments and a section before and behind them.
    fn image(arguments: &str) -> Vec<u8> {
        let mut image = vec![0; PE_OFFSET_AT];
        image.extend(64_u32.to_le_bytes());
        image.extend(b"PE\0\0\x64\x86\x03\x00");
        image.extend([0; 12]);
        image.extend(8_u16.to_le_bytes());
        image.extend([0; 2 + 8]);
        let content = image.len() + 3 * SECTION_BYTES;
        for (name, used, at) in [
            (b".osrel\0\0", 4, content),
            (b".cmdline", arguments.len(), content + 4),
            (b".linux\0\0", 5, content + 4 + ROOM),
        ] {
            image.extend(name);
            let room = if name == b".cmdline" { ROOM } else { used };
            image.extend([used, 0, room, at].iter().flat_map(|&number| (number as u32).to_le_bytes()));
            image.extend([0; 16]);
        }
        image.extend(b"NABI");
        image.extend(arguments.as_bytes());
        image.resize(content + 4 + ROOM, 0);
        image.extend(b"LINUX");
        image
    }

    #[test]
    fn arguments_are_added_and_nothing_else_changes() {
        let changed = with_more_arguments(image("ro quiet\n"), "panic=10").expect("it fits");
        assert_eq!(changed, image("ro quiet panic=10"));
    }

    #[test]
    fn what_does_not_fit_or_is_no_image_is_refused() {
        assert!(with_more_arguments(image("ro"), &"x".repeat(ROOM - 3)).is_ok());
        let error = with_more_arguments(image("ro"), &"x".repeat(ROOM - 2)).expect_err("one too many");
        assert!(error.to_string().contains("does not fit"), "{error}");
        let whole = image("ro");
        for length in 0..whole.len() - ROOM - 5 {
            assert!(with_more_arguments(whole[..length].to_vec(), "x").is_err(), "{length} bytes");
        }
    }
}
