//! Sticks and disks as text.

use std::fmt::Write as _;

use nabi_domain::media::{Found, Medium, MediumContent, MediumModel};

use super::{bytes, count};

/// A line for each medium, then one for each model on it.
pub(super) fn media(media: &[Medium]) -> String {
    if media.is_empty() {
        return "no stick or disk with models: plug one in with an ext4, exFAT or FAT file system\n".into();
    }
    media.iter().map(medium).collect()
}

fn medium(medium: &Medium) -> String {
    let known = [&medium.device, &medium.file_system].into_iter().flatten();
    let about: Vec<_> = medium.label.iter().map(|label| format!("{label:?}")).chain(known.cloned()).collect();
    let mut text = match about.as_slice() {
        [] => medium.name.clone(),
        about => format!("{} ({})", medium.name, about.join(", ")),
    };
    match &medium.content {
        MediumContent::Unreadable { reason } => {
            let _ = writeln!(text, ": cannot be read: {reason}");
        }
        MediumContent::Readable { bytes: size, models, complete } => {
            let none = if models.is_empty() { ", no models" } else { "" };
            let _ = writeln!(text, ": {}{none}", bytes(*size));
            models.iter().for_each(|found| text += &model(found));
            if !complete {
                text +=
                    "  there is more than was looked at: what is not listed can be imported by its path\n";
            }
        }
    }
    text
}

fn model(MediumModel { path, found }: &MediumModel) -> String {
    match found {
        Found::Model { architecture, parameters, quantization, bytes } => format!(
            "  {path}: {architecture}, {} parameters, {quantization}, {}\n",
            count(*parameters),
            super::bytes(*bytes)
        ),
        Found::Problem { reason } => format!("  {path}: cannot be imported: {reason}\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn media_are_listed_with_their_models_and_problems() {
        let bare = Medium {
            name: "4A21-0B3C".into(),
            label: None,
            device: None,
            file_system: None,
            content: MediumContent::Readable { bytes: 64_000_000_000, models: vec![], complete: true },
        };
        assert_eq!(media(std::slice::from_ref(&bare)), "4A21-0B3C: 64.0 GB, no models\n");
        let known = Medium {
            label: Some("MODELS".into()),
            device: Some("sdb1".into()),
            file_system: Some("exfat".into()),
            ..bare
        };
        let broken = MediumContent::Unreadable { reason: "bad superblock".into() };
        assert_eq!(
            media(&[Medium { content: broken, ..known.clone() }]),
            "4A21-0B3C (\"MODELS\", sdb1, exfat): cannot be read: bad superblock\n"
        );
        let found = |path: &str, found| MediumModel { path: path.into(), found };
        let models = vec![
            found(
                "4A21-0B3C/v3.gguf",
                Found::Model {
                    architecture: "deepseek2".into(),
                    parameters: 671_000_000_000,
                    quantization: "Q4_K".into(),
                    bytes: 404_000_000_000,
                },
            ),
            found("4A21-0B3C/x.gguf", Found::Problem { reason: "not a GGUF file".into() }),
        ];
        let content = MediumContent::Readable { bytes: 7, models, complete: false };
        let text = media(&[Medium { content, ..known }]);
        for words in [
            "4A21-0B3C (\"MODELS\", sdb1, exfat): 7 B\n",
            "  4A21-0B3C/v3.gguf: deepseek2, 671.0 B parameters, Q4_K, 404.0 GB\n",
            "  4A21-0B3C/x.gguf: cannot be imported: not a GGUF file\n",
            "more than was looked at",
        ] {
            assert!(text.contains(words), "{words:?}: {text}");
        }
        assert!(media(&[]).contains("plug one in"));
    }
}
