//! Limits of our control group, version 2; limits of the first version are not read.
//! <https://docs.kernel.org/admin-guide/cgroup-v2.html>

use crate::tree::Tree;

const OURS: &str = "proc/self/cgroup";
const MOUNTED: &str = "sys/fs/cgroup";
/// Groups in each other.
const DEPTH_MAX: usize = 32;

/// A file of our group and of all above it, as far as they have it.
pub(crate) fn texts(tree: &Tree, file: &str) -> Vec<String> {
    let text = tree.text_if_allowed(OURS).unwrap_or_default();
    let path = text.lines().find_map(|line| line.strip_prefix("0::")).unwrap_or("/");
    let mut folder = path.trim_end_matches('/').to_owned();
    let mut texts = Vec::new();
    for _ in 0..DEPTH_MAX {
        texts.extend(tree.text_if_allowed(&format!("{MOUNTED}{folder}/{file}")));
        match folder.rfind('/') {
            Some(end) => folder.truncate(end),
            None => break,
        }
    }
    texts
}
