//! docs/api.md and the code say the same.

use std::collections::BTreeSet;

use super::generation::GENERATION_FIELDS;
use super::{Field, Treatment};
use crate::error::Code;
use crate::{chat, completions, embeddings, tokenize};

const DOCS: &str = include_str!("../../../../docs/api.md");

/// The rows of the table under a heading, each as its cells.
fn rows(heading: &str) -> Vec<Vec<&'static str>> {
    let (_, section) =
        DOCS.split_once(&format!("\n{heading}\n")).unwrap_or_else(|| panic!("docs/api.md lacks {heading}"));
    let end = section.find("\n#").unwrap_or(section.len());
    let rows = section[..end].lines().filter_map(|line| line.strip_prefix('|')?.strip_suffix('|'));
    rows.map(|row| row.split('|').map(str::trim).collect()).collect()
}

/// What stands between backquotes.
fn quoted(cell: &'static str) -> impl Iterator<Item = &'static str> {
    cell.split('`').skip(1).step_by(2)
}

fn assert_fields<R>(heading: &str, fields: &[Field<R>]) {
    let documented: BTreeSet<_> = rows(heading)
        .iter()
        .flat_map(|row| quoted(row[0]).map(|name| (name.to_owned(), row[1].to_owned())))
        .collect();
    let treatment = |field: &Field<R>| match field.treatment {
        Treatment::Honoured(_) => "honoured",
        Treatment::Ignored => "ignored",
        Treatment::Refused(..) => "refused",
    };
    let coded: BTreeSet<_> =
        fields.iter().map(|field| (field.name.to_owned(), treatment(field).to_owned())).collect();
    assert_eq!(documented, coded, "{heading}");
    assert_eq!(coded.len(), fields.len(), "a field of {heading} stands twice");
}

#[test]
fn each_field_is_documented_under_its_treatment() {
    assert_fields("### All routes that generate", GENERATION_FIELDS);
    assert_fields("### `POST /v1/chat/completions`", chat::fields::TABLE.own);
    assert_fields("### `POST /v1/completions`", completions::fields::TABLE.own);
    assert_fields("### `POST /v1/embeddings`", embeddings::TABLE.own);
    assert_fields("### `POST /tokenize`", tokenize::TOKENIZE.own);
    assert_fields("### `POST /detokenize`", tokenize::DETOKENIZE.own);
}

#[test]
fn no_field_is_both_shared_and_a_routes_own() {
    for shared in GENERATION_FIELDS {
        assert!(chat::fields::TABLE.own.iter().all(|field| field.name != shared.name), "{}", shared.name);
        assert!(
            completions::fields::TABLE.own.iter().all(|field| field.name != shared.name),
            "{}",
            shared.name
        );
    }
}

#[test]
fn each_error_code_is_documented_under_its_status() {
    let rows = rows("## Errors");
    let documented: BTreeSet<_> = rows
        .iter()
        .filter_map(|row| Some((row[0].parse::<u16>().ok()?, row[1])))
        .flat_map(|(status, codes)| quoted(codes).map(move |code| (code.to_owned(), status)))
        .collect();
    let coded: BTreeSet<_> =
        Code::ALL.iter().map(|code| (code.text().to_owned(), code.status().as_u16())).collect();
    assert_eq!(documented, coded);
}
