use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::symlink;
use std::process::Command;

use super::*;

fn packed(folder: &Path) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    let read = Archive::of(folder.to_owned(), "top").read_to_end(&mut bytes);
    read.map(|_| bytes).map_err(|error| error.downcast::<Error>().expect("one of ours"))
}

fn tar(arguments: &[&str], archive: &[u8]) -> String {
    let file = tempfile::NamedTempFile::new().expect("a file");
    fs::write(file.path(), archive).expect("written");
    let mut command = Command::new("tar");
    let output = command.args(arguments).arg("-f").arg(file.path()).output().expect("tar runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn a_folder_comes_out_of_tar_as_it_went_in() {
    let dir = tempfile::tempdir().expect("a folder");
    let deep = dir.path().join("a".repeat(200)).join("b".repeat(200));
    fs::create_dir_all(&deep).expect("made");
    let large: Vec<u8> = (0..3 * CHUNK + 7).map(|i| (i * i % 251) as u8).collect();
    fs::write(deep.join("large"), &large).expect("written");
    let odd = Path::new(std::ffi::OsStr::from_bytes(b"-line\nbreak \xff"));
    fs::write(dir.path().join(odd), "odd").expect("written");
    fs::write(dir.path().join("run"), "#!/bin/sh\n").expect("written");
    fs::set_permissions(dir.path().join("run"), fs::Permissions::from_mode(0o4751)).expect("set");
    fs::write(dir.path().join("empty"), "").expect("written");
    fs::create_dir(dir.path().join("hollow")).expect("made");
    let out = tempfile::tempdir().expect("a folder");
    tar(&["-xpz", "-C", &out.path().display().to_string()], &packed(dir.path()).expect("packed"));
    let top = out.path().join("top");
    let there = top.join("a".repeat(200)).join("b".repeat(200)).join("large");
    assert!(fs::read(there).expect("there") == large);
    assert_eq!(fs::read(top.join(odd)).expect("there"), b"odd");
    assert_eq!(fs::read(top.join("empty")).expect("there"), b"");
    assert!(top.join("hollow").is_dir());
    let (before, after) = (dir.path().join("run").metadata(), top.join("run").metadata());
    let (before, after) = (before.expect("there"), after.expect("there"));
    assert_eq!(after.permissions().mode() & 0o7777, 0o751, "kept, less the set-user-ID bit");
    assert_eq!(after.mtime(), before.mtime());
}

#[test]
fn links_stay_links_wherever_they_lead() {
    let dir = tempfile::tempdir().expect("a folder");
    let secret = tempfile::NamedTempFile::new().expect("a file");
    fs::write(secret.path(), "not in the folder").expect("written");
    symlink(secret.path(), dir.path().join("out")).expect("linked");
    symlink("..", dir.path().join("round")).expect("linked");
    symlink("x".repeat(300), dir.path().join("long")).expect("linked");
    let archive = packed(dir.path()).expect("packed");
    let listed = tar(&["-tvz"], &archive);
    assert!(listed.contains(&format!("top/out -> {}", secret.path().display())), "{listed}");
    assert!(listed.contains("top/round -> ..") && listed.contains(&"x".repeat(300)), "{listed}");
    assert_eq!(listed.lines().count(), 4, "{listed}");
}

#[test]
fn the_same_folder_gives_the_same_archive_and_tells_no_owner() {
    let dir = tempfile::tempdir().expect("a folder");
    for name in ["c", "a", "b"] {
        fs::write(dir.path().join(name), name).expect("written");
    }
    let archive = packed(dir.path()).expect("packed");
    assert!(archive == packed(dir.path()).expect("packed"));
    let names = tar(&["-tz"], &archive);
    assert_eq!(names.lines().collect::<Vec<_>>(), ["top/", "top/a", "top/b", "top/c"]);
    assert!(tar(&["-tvz", "--numeric-owner"], &archive).lines().all(|line| line.contains(" 0/0 ")));
}

#[test]
fn what_is_no_file_is_named_rather_than_left_out() {
    let dir = tempfile::tempdir().expect("a folder");
    let _socket = std::os::unix::net::UnixListener::bind(dir.path().join("socket")).expect("bound");
    let failed = packed(dir.path()).expect_err("a socket");
    assert!(matches!(failed, Error::Unpackable(path) if path.ends_with("socket")));
}

#[test]
fn what_vanishes_is_named() {
    let dir = tempfile::tempdir().expect("a folder");
    let gone = dir.path().join("gone");
    let (sender, _chunks) = sync_channel(64);
    let mut tar = Builder::new(GzEncoder::new(BufWriter::new(Chunks(sender)), Compression::fast()));
    let failed = append_file(&mut tar, &gone, Path::new("top/gone")).expect_err("gone");
    assert!(failed.to_string().contains("gone"), "{failed}");
    assert!(matches!(failed, Error::Vanished(path) if path == gone));
    assert!(matches!(children(&gone, Path::new("top")), Err(Error::Vanished(_))));
}

#[test]
fn a_file_that_shrinks_or_grows_is_never_packed() {
    for (length, whole) in [(3, false), (4, true), (5, false)] {
        let (sender, chunks) = sync_channel(64);
        let mut tar = Builder::new(GzEncoder::new(BufWriter::new(Chunks(sender)), Compression::fast()));
        let meta = tempfile::NamedTempFile::new().expect("a file").as_file().metadata().expect("there");
        let mut header = header(EntryType::Regular, &meta, length);
        let packed = append_exactly(&mut tar, &mut header, Path::new("x"), &b"four"[..], length, Path::new("x"));
        assert_eq!(packed.is_ok(), whole, "{length}: {packed:?}");
        assert!(whole || matches!(packed, Err(Error::Changed(_))));
        drop(chunks);
    }
}

#[test]
fn packing_ends_when_nobody_reads() {
    let dir = tempfile::tempdir().expect("a folder");
    let noise: Vec<u8> = (0..8 * CHUNK as u64).map(|i| (i.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8).collect();
    fs::write(dir.path().join("noise"), noise).expect("written");
    let (sender, chunks) = sync_channel(0);
    drop(chunks);
    assert!(pack(dir.path(), Path::new("top"), Chunks(sender)).is_err());
}
