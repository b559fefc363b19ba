//! docs/site.md, the example and the code say the same.

use std::collections::BTreeSet;

use super::Site;

const DOCS: &str = include_str!("../../../../docs/site.md");
const EXAMPLE: &str = include_str!("../../../../provisioning/site.toml");

/// Each table's heading in the documentation, and a file whose one fault is the field `?` in it.
const TABLES: [(&str, &str); 7] = [
    ("## The file", "'?' = 1"),
    ("## `[time]`", "time.'?' = 1"),
    ("## `[network]`", "network.'?' = 1"),
    ("## `[[interface]]`", "[[interface]]\n'?' = 1"),
    ("### `vlan`", "[[interface]]\nvlan.'?' = 1"),
    ("### `bond`", "[[interface]]\nbond.'?' = 1"),
    ("## `[[model]]`", "[[model]]\n'?' = 1"),
];

/// What stands between backquotes, first to last.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

fn documented(heading: &str) -> BTreeSet<&'static str> {
    let (_, section) = DOCS.split_once(&format!("\n{heading}\n")).expect("the docs have this heading");
    let section = section.split("\n#").next().unwrap_or(section);
    section.lines().filter_map(|line| quoted(line.strip_prefix("| ")?.split('|').next()?).next()).collect()
}

#[test]
fn each_field_is_documented_and_no_other() {
    for (heading, file) in TABLES {
        let said = Site::parse(file).expect_err("the field is unknown").to_string();
        let (_, known) = said.split_once("expected").unwrap_or_else(|| panic!("{heading}: {said}"));
        assert_eq!(documented(heading), quoted(known).collect(), "{heading}");
    }
}

#[test]
fn the_example_is_what_a_machine_does_without_a_site_file() {
    assert_eq!(Site::parse(EXAMPLE), Ok(Site::default()));
}

/// Also what it has as comments: each field once, and valid.
#[test]
fn the_example_shows_every_field() {
    let field = |line: &&str| !line.starts_with("# ") || line.contains(" = ") || line.starts_with("# [[");
    let uncomment = |line: &'static str| line.trim_start().strip_prefix("# ").unwrap_or(line);
    let whole: Vec<&str> = EXAMPLE
        .lines()
        .filter(field)
        .filter(|line| !line.contains("AAAAC3NzaC1lZDI1NTE5AAAAI..."))
        .map(uncomment)
        .collect();
    let whole = whole.join("\n");
    let site = Site::parse(&whole).unwrap_or_else(|errors| panic!("{errors}\n{whole}"));
    assert_eq!(site.models.len(), 1);
    for (heading, _) in TABLES {
        for field in documented(heading) {
            let shown = whole
                .lines()
                .any(|line| line.contains(&format!("{field} = ")) || line.trim_matches(['[', ']']) == field);
            assert!(shown, "the example lacks {field} of {heading}");
        }
    }
}
