//! The kernel's lists of numbers: `0-3,8,10-11`.

/// Most numbers that are taken of one.
const NUMBERS_MAX: usize = 65_536;

/// The numbers of a list, in order and each once; none where it is no list.
pub(crate) fn numbers(text: &str) -> Option<Vec<u32>> {
    let mut numbers = Vec::new();
    for range in text.split(',').map(str::trim).filter(|range| !range.is_empty()) {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (u32, u32) = (first.parse().ok()?, last.parse().ok()?);
        let count = usize::try_from(last.checked_sub(first)?).ok()?.checked_add(1)?;
        if numbers.len().checked_add(count)? > NUMBERS_MAX {
            return None;
        }
        numbers.extend(first..=last);
    }
    numbers.sort_unstable();
    numbers.dedup();
    Some(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_ranges_and_single_numbers() {
        assert_eq!(numbers("0-3,8,10-11"), Some(vec![0, 1, 2, 3, 8, 10, 11]));
        assert_eq!(numbers(""), Some(vec![]));
        assert_eq!(numbers("5"), Some(vec![5]));
        assert_eq!(numbers("1,0-2"), Some(vec![0, 1, 2]));
        for wrong in ["3-1", "a", "1-", "-1", "0-4294967295", "0-65535,70000"] {
            assert_eq!(numbers(wrong), None, "{wrong}");
        }
    }
}
