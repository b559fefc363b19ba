//! Writes the seeds of every target: `nabi-fuzz-seeds FOLDER` fills FOLDER/TARGET/.

use std::fs;
use std::io;
use std::path::PathBuf;

use nabi_fuzz::TARGETS;

fn main() -> io::Result<()> {
    let Some(folder) = std::env::args_os().nth(1).map(PathBuf::from) else {
        return Err(io::Error::other("name the folder to write to"));
    };
    for target in TARGETS {
        let folder = folder.join(target.name);
        fs::create_dir_all(&folder)?;
        for (number, seed) in (target.seeds)().into_iter().enumerate() {
            fs::write(folder.join(format!("seed-{number:03}")), seed)?;
        }
    }
    Ok(())
}
