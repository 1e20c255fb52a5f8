//! Where PostgreSQL's programs are, and whom a server may run as.

use std::io;
use std::path::{Path, PathBuf};

/// Where Debian keeps the programs of each version.
const DEBIAN: &str = "/usr/lib/postgresql";

/// What a server needs.
const NEEDED: [&str; 4] = ["initdb", "pg_ctl", "postgres", "createdb"];

/// A user by number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct User {
    /// Its id.
    pub id: u32,
    /// Its group.
    pub group: u32,
}

/// The folder of PostgreSQL's programs: the newest of Debian's, or the one that `initdb` on the PATH stands in.
///
/// # Errors
/// When there is none; the error says what to install.
pub fn programs() -> io::Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    newest(Path::new(DEBIAN)).or_else(|| on_path(&path)).ok_or_else(|| {
        io::Error::new(
            io::ErrorKind::NotFound,
            "PostgreSQL is not installed. As root on Debian or Ubuntu: apt-get update && apt-get install postgresql",
        )
    })
}

fn complete(folder: &Path) -> bool {
    NEEDED.iter().all(|program| folder.join(program).is_file())
}

fn newest(versions: &Path) -> Option<PathBuf> {
    let entries = std::fs::read_dir(versions).ok()?.filter_map(Result::ok);
    let version = |path: &PathBuf| path.file_name()?.to_str()?.parse::<u32>().ok();
    let found = entries.map(|entry| entry.path()).filter_map(|path| Some((version(&path)?, path)));
    let found = found.map(|(version, path)| (version, path.join("bin")));
    found.filter(|(_, bin)| complete(bin)).max().map(|(_, bin)| bin)
}

fn on_path(path: &std::ffi::OsStr) -> Option<PathBuf> {
    let programs = std::env::split_paths(path).map(|folder| folder.join("initdb"));
    // A link leads to the folder that holds the others too.
    let real =
        programs.filter_map(|program| Some(program.canonicalize().ok()?.parent()?.to_owned()));
    real.into_iter().find(|folder| complete(folder))
}

/// Whom the server runs as: nobody else than us, unless we are root.
///
/// # Errors
/// When we are root and there is no other user.
pub fn user() -> io::Result<Option<User>> {
    if !rustix::process::geteuid().is_root() {
        return Ok(None);
    }
    let users = std::fs::read_to_string("/etc/passwd")?;
    let found = ["postgres", "nobody"].iter().find_map(|name| named(&users, name));
    found.map(Some).ok_or_else(|| {
        io::Error::other("root has no user 'postgres' or 'nobody' to run PostgreSQL as")
    })
}

/// A user of this name in the text of `/etc/passwd`.
fn named(users: &str, name: &str) -> Option<User> {
    users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let same = fields.next()? == name;
        let (id, group) = (fields.nth(1)?.parse().ok()?, fields.next()?.parse().ok()?);
        (same && id != 0).then_some(User { id, group })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn install(folder: &Path, programs: &[&str]) {
        std::fs::create_dir_all(folder).unwrap();
        programs.iter().for_each(|program| std::fs::write(folder.join(program), "").unwrap());
    }

    #[test]
    fn the_newest_complete_version_is_taken() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(newest(folder.path()), None);
        for version in ["9", "15", "other"] {
            install(&folder.path().join(version).join("bin"), &NEEDED);
        }
        install(&folder.path().join("17/bin"), &["initdb"]);
        assert_eq!(newest(folder.path()), Some(folder.path().join("15/bin")));
    }

    #[test]
    fn a_link_on_the_path_leads_to_the_others() {
        let folder = tempfile::tempdir().unwrap();
        let (real, path) = (folder.path().join("real"), folder.path().join("path"));
        install(&real, &NEEDED);
        install(&path, &[]);
        assert_eq!(on_path(path.as_os_str()), None);
        std::os::unix::fs::symlink(real.join("initdb"), path.join("initdb")).unwrap();
        assert_eq!(on_path(path.as_os_str()), Some(real.canonicalize().unwrap()));
    }

    #[test]
    fn users_are_read_and_root_is_none() {
        let users = "root:x:0:0:root:/root:/bin/sh\npostgres:x:101:104::/var:/bin/sh\nodd";
        assert_eq!(named(users, "postgres"), Some(User { id: 101, group: 104 }));
        assert_eq!((named(users, "root"), named(users, "nobody")), (None, None));
    }
}
