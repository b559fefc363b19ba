//! The image as its operator meets it: flashed to a disk, put into a computer, used, and broken.
//!
//! `make test-image` runs the story, `make test-image-full` all. `NABI_IMAGE` names the image
//! (`nabi_VERSION.raw.zst`). The files of each story, with all that its screen showed, stay in
//! `tmp/image/` of the target folder. One computer runs at a time: `--test-threads=1`.

mod disks;
mod faults;
mod gone;
mod guide;
mod lab;
mod launcher;
mod network;
mod power;
mod quiet;
mod settings;
mod slots;
mod sticks;
mod story;
