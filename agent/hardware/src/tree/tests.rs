use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};

use nix::sys::stat::Mode;
use nix::unistd::{Uid, geteuid, mkfifo, setfsuid};
use tempfile::TempDir;

use super::*;

fn tree(make: impl FnOnce(&Path)) -> (TempDir, Tree) {
    let folder = tempfile::tempdir().expect("a folder");
    make(folder.path());
    let tree = Tree::open(folder.path()).expect("it is there");
    (folder, tree)
}

#[test]
fn text_has_no_ends_of_white_space_and_absent_is_no_problem() {
    let (_folder, tree) = tree(|root| {
        fs::write(root.join("word"), " eins zwei\n\n").expect("written");
        fs::write(root.join("tree"), "board\0").expect("written");
        fs::write(root.join("empty"), "\n").expect("written");
        fs::write(root.join("hexadecimal"), "0x10de\n").expect("written");
    });
    assert_eq!(tree.text("word").as_deref(), Some("eins zwei"));
    assert_eq!(tree.text("tree").as_deref(), Some("board"));
    assert_eq!(tree.text("empty"), None);
    assert_eq!(tree.text("nowhere/else"), None);
    assert_eq!(tree.text("word/below"), None);
    assert_eq!(tree.number("hexadecimal"), Some(0x10de));
    assert_eq!(tree.close().1, []);
}

#[test]
fn what_cannot_be_read_is_a_problem_and_ends() {
    let (_folder, tree) = tree(|root| {
        fs::write(root.join("huge"), vec![b'x'; FILE_BYTES_MAX as usize + 1]).expect("written");
        mkfifo(&root.join("pipe"), Mode::S_IRWXU).expect("made");
        symlink("circle", root.join("circle")).expect("made");
        fs::create_dir(root.join("folder")).expect("made");
        fs::write(root.join("word"), "eins").expect("written");
    });
    for path in ["huge", "pipe", "circle", "folder"] {
        assert_eq!(tree.text(path), None, "{path}");
    }
    assert_eq!(tree.number("word"), None);
    assert_eq!(tree.names("circle"), [""; 0]);
    let paths: Vec<String> = tree.close().1.into_iter().map(|problem| problem.path).collect();
    assert_eq!(paths, ["circle", "folder", "huge", "pipe", "word"]);
}

#[test]
fn links_stay_inside() {
    let outside = tempfile::tempdir().expect("a folder");
    fs::write(outside.path().join("secret"), "outside").expect("written");
    let (_folder, tree) = tree(|root| {
        fs::write(root.join("file"), "inside").expect("written");
        symlink(outside.path().join("secret"), root.join("absolute")).expect("made");
        symlink("../../../../../../../../../../file", root.join("above")).expect("made");
        symlink("/file", root.join("own")).expect("made");
        symlink("../../bus/pci/drivers/nvidia", root.join("driver")).expect("made");
    });
    assert_eq!(tree.text("absolute"), None);
    assert_eq!(tree.text("above").as_deref(), Some("inside"));
    assert_eq!(tree.text("own").as_deref(), Some("inside"));
    assert_eq!(tree.link("driver").as_deref(), Some("nvidia"));
    assert_eq!(tree.link("file"), None);
}

#[test]
fn numbered_entries_are_in_the_order_of_their_numbers() {
    let (_folder, tree) = tree(|root| {
        for name in ["node10", "node2", "node", "nodes", "node-1", "node1x", "has_node1"] {
            fs::create_dir(root.join(name)).expect("made");
        }
    });
    assert_eq!(tree.numbered(".", "node"), [2, 10]);
}

#[test]
fn what_we_may_not_read_is_a_problem_unless_that_is_usual() {
    let (folder, tree) = tree(|root| {
        fs::write(root.join("secret"), "eins").expect("written");
        fs::set_permissions(root.join("secret"), fs::Permissions::from_mode(0o0)).expect("forbidden");
        fs::set_permissions(root, fs::Permissions::from_mode(0o755)).expect("open to all");
    });
    // Root may read all. This is of this thread alone, which ends with the test.
    setfsuid(Uid::from_raw(65_534));
    assert_eq!(tree.text_if_allowed("secret"), None);
    assert_eq!(tree.text("secret"), None);
    let problems = tree.close().1;
    setfsuid(Uid::from_raw(geteuid().as_raw()));
    drop(folder);
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert_eq!(problems[0].reason, "Permission denied");
}

#[test]
fn a_recording_has_no_line_that_tells_a_device_from_all_others() {
    let (_folder, tree) = tree(|root| {
        fs::write(root.join("information"), "Model: \t H100\nGPU UUID: \t GPU-1\nDevice Minor: 0\n")
            .expect("written");
    });
    assert!(tree.text("information").is_some_and(|text| text.contains("GPU-1")));
    let (entries, _) = tree.close();
    assert_eq!(entries["information"], Entry::Text("Model: \t H100\nDevice Minor: 0".into()));
}

#[test]
fn a_path_that_a_file_names_does_not_lead_up() {
    let (_folder, tree) = tree(|root| fs::write(root.join("file"), "inside").expect("written"));
    assert_eq!(tree.text("folder/../file"), None);
    assert_eq!(tree.text("../file"), None);
    assert_eq!(tree.close().1, []);
}
