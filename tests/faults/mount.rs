//! File systems of a campaign's own, for those that may mount one.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A file system that goes with this value.
pub struct Mounted {
    place: PathBuf,
}

impl Mounted {
    /// A small one in memory.
    pub fn memory(place: &Path, size: &str) -> Result<Self, String> {
        std::fs::create_dir_all(place).map_err(|error| error.to_string())?;
        run("mount", &["-t", "tmpfs", "-o", &format!("size={size},mode=700"), "tmpfs", text(place)])?;
        Ok(Self { place: place.to_owned() })
    }

    /// An ext4 in an image, which is made here.
    pub fn image(place: &Path, image: &Path, octets: u64) -> Result<Self, String> {
        std::fs::create_dir_all(place).map_err(|error| error.to_string())?;
        let file = std::fs::File::create(image).map_err(|error| error.to_string())?;
        file.set_len(octets).map_err(|error| error.to_string())?;
        run("mkfs.ext4", &["-q", "-F", text(image)])?;
        mount_image(place, image)?;
        Ok(Self { place: place.to_owned() })
    }

    /// Pulls the plug: from here on nothing is written any more, the journal included.
    pub fn pull(&self) {
        run("xfs_io", &["-x", "-c", "shutdown", text(&self.place)]).expect("the file system is shut down");
    }

    /// The same file system after the power is back.
    pub fn again(&self, image: &Path) {
        run("umount", &[text(&self.place)]).expect("nobody uses it");
        mount_image(&self.place, image).expect("it is mounted again");
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // Lazily: after a failure somebody may still use it.
        let _ = Command::new("umount").args(["-l", text(&self.place)]).output();
    }
}

fn mount_image(place: &Path, image: &Path) -> Result<(), String> {
    run("mount", &["-o", "loop", text(image), text(place)])
}

fn run(program: &str, arguments: &[&str]) -> Result<(), String> {
    match Command::new(program).args(arguments).output() {
        Ok(Output { status, .. }) if status.success() => Ok(()),
        Ok(Output { stderr, .. }) => {
            Err(format!("{program}: {}", String::from_utf8_lossy(&stderr).trim().replace('\n', "; ")))
        }
        Err(error) => Err(format!("{program}: {error}")),
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}
