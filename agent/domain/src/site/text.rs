//! From a file's bytes to text, and from a place in the text to a line.

use std::ops::Range;

use super::SITE_FILE_BYTES_MAX;
use super::error::{Fault, SiteErrors, SiteProblem};

const UTF8_MARK: &[u8] = b"\xef\xbb\xbf";
const UTF16_MARKS: [&[u8]; 2] = [b"\xff\xfe", b"\xfe\xff"];

/// The text of a file, whatever system wrote it: a byte order mark is left out.
///
/// # Errors
/// When it is too large, or not UTF-8.
pub fn decode(bytes: &[u8]) -> Result<&str, SiteErrors> {
    let at_start = |fault| SiteErrors::from(SiteProblem { line: 1, column: 1, fault });
    if u64::try_from(bytes.len()).is_ok_and(|bytes| bytes > SITE_FILE_BYTES_MAX) {
        return Err(at_start(Fault::TooLarge));
    }
    if UTF16_MARKS.iter().any(|mark| bytes.starts_with(mark)) {
        return Err(at_start(Fault::Utf16));
    }
    let bytes = bytes.strip_prefix(UTF8_MARK).unwrap_or(bytes);
    std::str::from_utf8(bytes).map_err(|error| {
        let (valid, _) = bytes.split_at(error.valid_up_to());
        let valid = String::from_utf8_lossy(valid);
        problem_at(&valid, valid.len()..valid.len(), Fault::NotUtf8).into()
    })
}

/// A fault at a place of the text.
pub(super) fn problem_at(text: &str, place: Range<usize>, fault: Fault) -> SiteProblem {
    let before = text.get(..place.start).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |line_feed| line_feed + 1);
    SiteProblem {
        line: before.matches('\n').count() + 1,
        column: before[line_start..].chars().count() + 1,
        fault,
    }
}

#[cfg(test)]
mod tests {
    use super::decode;

    #[test]
    fn what_windows_writes_is_read() {
        assert_eq!(decode(b"\xef\xbb\xbfhostname = 'a'\r\n"), Ok("hostname = 'a'\r\n"));
        let said = |bytes: &[u8]| decode(bytes).expect_err("not a text").to_string();
        assert_eq!(said(b"\xff\xfeh\0"), "line 1, column 1: the text is UTF-16: save the file as UTF-8");
        let latin1 = b"a = 1\nb = '\xe9'";
        assert_eq!(said(latin1), "line 2, column 6: this byte is not UTF-8: save the file as UTF-8");
        assert!(said(&vec![b' '; (64 << 10) + 1]).contains("more than 65536 bytes"));
        assert!(decode(&vec![b' '; 64 << 10]).is_ok());
    }
}
