//! A folder with all of someone's links: which link is kept in which file, and what is still missing.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::path::{Path, PathBuf};

use ring::digest::{Context, SHA256};
use serde::{Deserialize, Serialize};
use url::Url;

use super::Error;
use super::transfer::CHUNK;
use crate::api;
use crate::identity::Sha256;
use crate::link::{FileName, Kind};

/// The name of the file that says what is in the folder.
pub const INDEX: &str = "index.json";

/// What is in the folder, or will be.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Index {
    /// Whose links they are.
    pub server: String,
    /// Links, also those that have ended since they were saved.
    pub links: Vec<Entry>,
}

/// A link and its file.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Entry {
    /// As the server last told it.
    #[serde(flatten)]
    pub link: api::Link,
    /// The file in the folder; null when the content is left where it is, since reading it would end it.
    pub file: Option<String>,
}

/// How a link's file stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is there, whole.
    Saved,
    /// It is not there.
    Missing,
    /// Something else is there.
    Different,
}

impl Index {
    /// What the folder was left with; nothing yet when it is new.
    ///
    /// # Errors
    /// When the index cannot be read, is none, or is of another server.
    pub fn open(folder: &Path, server: &Url) -> Result<Self, Error> {
        let path = folder.join(INDEX);
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Ok(Self { server: server.to_string(), links: Vec::new() });
            }
            Err(error) => return Err(Error::io("read", &path)(error)),
        };
        let index: Self = serde_json::from_slice(&text)
            .map_err(|error| Error::Usage(format!("{} is not the index of an export: {error}", path.display())))?;
        if index.server != server.as_str() {
            return Err(Error::Usage(format!("{} has the links of {}", folder.display(), index.server)));
        }
        Ok(index)
    }

    /// Takes in what the server has now. A link keeps the file it has; a new one gets a name that neither another link
    /// nor a file in the folder has.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn plan(&mut self, folder: &Path, links: Vec<api::Link>) -> Result<(), Error> {
        let entries = || -> io::Result<Vec<_>> { fs::read_dir(folder)?.map(|entry| Ok(entry?.file_name())).collect() };
        let there = entries().map_err(Error::io("read", folder))?;
        let mut taken: HashSet<String> = there.iter().map(|name| folded(&name.to_string_lossy())).collect();
        taken.insert(INDEX.to_owned());
        taken.extend(self.links.iter().filter_map(|entry| entry.file.as_deref()).map(folded));
        let known: HashMap<String, usize> =
            self.links.iter().enumerate().map(|(at, entry)| (entry.link.id.clone(), at)).collect();
        for link in links {
            if let Some(entry) = known.get(&link.id).and_then(|at| self.links.get_mut(*at)) {
                entry.link = link;
                continue;
            }
            let readable = !link.burn && link.kind != Kind::Url;
            let file = readable.then(|| free_name(&link, &taken));
            taken.extend(file.as_deref().map(folded));
            self.links.push(Entry { link, file });
        }
        Ok(())
    }

    /// Writes the index, whole or not at all.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn save(&self, folder: &Path) -> Result<(), Error> {
        let path = folder.join(INDEX);
        let write = || -> io::Result<()> {
            let mut file = tempfile::NamedTempFile::new_in(folder)?;
            serde_json::to_writer_pretty(&mut file, self)?;
            file.write_all(b"\n")?;
            file.as_file().sync_all()?;
            file.persist(&path)?;
            File::open(folder)?.sync_all()
        };
        write().map_err(Error::io("write", &path))
    }
}

impl Entry {
    /// Where its file belongs; `None` when it has none.
    pub fn place(&self, folder: &Path) -> Option<PathBuf> {
        // An index may have been written by others; a name in it is no path.
        let name = self.file.as_deref().and_then(FileName::clean)?;
        Some(folder.join(name.as_str()))
    }

    /// How its file stands; it is read whole for that.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn standing(&self, place: &Path) -> Result<Standing, Error> {
        let meta = match place.symlink_metadata() {
            Ok(meta) => meta,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Standing::Missing),
            Err(error) => return Err(Error::io("read", place)(error)),
        };
        if !meta.is_file() || meta.len() != self.link.size {
            return Ok(Standing::Different);
        }
        let digest = digest(place).map_err(Error::io("read", place))?;
        Ok(if digest.to_string() == self.link.sha256 { Standing::Saved } else { Standing::Different })
    }
}

fn digest(path: &Path) -> io::Result<Sha256> {
    let mut file = File::open(path)?;
    let mut hash = Context::new(&SHA256);
    let mut chunk = vec![0; CHUNK];
    loop {
        let count = file.read(&mut chunk)?;
        let Some(bytes) = chunk.get(..count).filter(|bytes| !bytes.is_empty()) else { break };
        hash.update(bytes);
    }
    let mut digest = [0; 32];
    digest.copy_from_slice(hash.finish().as_ref());
    Ok(Sha256(digest))
}

/// The link's own name if it is free and harmless; else with the id, which no other link has, before it.
fn free_name(link: &api::Link, taken: &HashSet<String>) -> String {
    let id = FileName::clean(&link.id).map_or_else(|| "link".to_owned(), |id| id.to_string());
    let Some(own) = link.name.as_deref().and_then(FileName::clean) else { return id };
    let own = own.to_string();
    // What a fetch keeps beside a file has these endings.
    let own = if own.ends_with(".part") || own.ends_with(".part.json") { format!("{own}_") } else { own };
    if !own.starts_with('.') && !taken.contains(&folded(&own)) {
        return own;
    }
    FileName::clean(&format!("{id}-{own}")).map_or(id, |name| name.to_string())
}

/// As file systems that do not tell capitals from small letters compare names.
fn folded(name: &str) -> String {
    name.to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::test::NOW;

    fn link(id: &str, name: &str, bytes: &[u8]) -> api::Link {
        api::Link {
            id: id.into(),
            url: format!("https://host/{id}"),
            kind: Kind::File,
            name: (!name.is_empty()).then(|| name.to_owned()),
            mime_type: String::new(),
            size: bytes.len() as u64,
            sha256: Sha256::of(bytes).to_string(),
            created_at: NOW,
            expires_at: None,
            burn: false,
            password_protected: false,
            target: None,
            owner: None,
        }
    }

    fn server() -> Url {
        "https://host/".parse().expect("a URL")
    }

    fn files(index: &Index) -> Vec<&str> {
        index.links.iter().map(|entry| entry.file.as_deref().unwrap_or("-")).collect()
    }

    #[test]
    fn names_are_harmless_and_never_shared() {
        let dir = tempfile::tempdir().expect("a folder");
        fs::write(dir.path().join("There.txt"), "of somebody else").expect("written");
        let mut index = Index::open(dir.path(), &server()).expect("new");
        let links = [
            ("aaaa", "x.txt"),
            ("bbbb", "X.TXT"),
            ("cccc", "there.txt"),
            ("dddd", "index.json"),
            ("eeee", ".bashrc"),
            ("ffff", "../../etc/passwd"),
            ("gggg", ""),
            ("hhhh", "half.part"),
            ("iiii", "half.part.json"),
            ("jjjj", "aaaa-x.txt"),
        ];
        index.plan(dir.path(), links.map(|(id, name)| link(id, name, b"")).to_vec()).expect("planned");
        let expected = [
            "x.txt",
            "bbbb-X.TXT",
            "cccc-there.txt",
            "dddd-index.json",
            "eeee-.bashrc",
            "passwd",
            "gggg",
            "half.part_",
            "half.part.json_",
            "aaaa-x.txt",
        ];
        assert_eq!(files(&index), expected);
        let long = link("kkkk", &format!("{}.txt", "n".repeat(251)), b"");
        index.plan(dir.path(), vec![long.clone(), api::Link { id: "llll".into(), ..long }]).expect("planned");
        assert!(files(&index).iter().all(|name| name.len() <= FileName::LONGEST));
        let different: HashSet<_> = files(&index).into_iter().map(folded).collect();
        assert_eq!(different.len(), index.links.len());
    }

    #[test]
    fn a_one_time_link_is_named_and_not_read() {
        let dir = tempfile::tempdir().expect("a folder");
        let mut index = Index::open(dir.path(), &server()).expect("new");
        let once = api::Link { burn: true, ..link("aaaa", "x", b"") };
        index.plan(dir.path(), vec![once]).expect("planned");
        assert_eq!(index.links.first().and_then(|entry| entry.place(dir.path())), None);
    }

    #[test]
    fn a_second_run_knows_what_the_first_one_did() {
        let dir = tempfile::tempdir().expect("a folder");
        let mut index = Index::open(dir.path(), &server()).expect("new");
        index.plan(dir.path(), vec![link("aaaa", "x", b"one"), link("bbbb", "x", b"two")]).expect("planned");
        index.save(dir.path()).expect("saved");
        fs::write(dir.path().join("x"), "one").expect("written");
        let mut again = Index::open(dir.path(), &server()).expect("there");
        again.plan(dir.path(), vec![link("cccc", "x", b"three"), link("aaaa", "renamed", b"one")]).expect("planned");
        assert_eq!(files(&again), ["x", "bbbb-x", "cccc-x"], "a link that has a file keeps it");
        let standing = |at: usize| {
            let entry = again.links.get(at).expect("an entry");
            entry.standing(&entry.place(dir.path()).expect("a place")).expect("read")
        };
        assert_eq!((standing(0), standing(1)), (Standing::Saved, Standing::Missing));
        fs::write(dir.path().join("x"), "eno").expect("written");
        assert_eq!(standing(0), Standing::Different);
    }

    #[test]
    fn another_servers_folder_and_a_wrong_index_are_refused() {
        let dir = tempfile::tempdir().expect("a folder");
        let index = Index::open(dir.path(), &server()).expect("new");
        index.save(dir.path()).expect("saved");
        let other: Url = "https://other/".parse().expect("a URL");
        assert!(matches!(Index::open(dir.path(), &other), Err(Error::Usage(text)) if text.contains("https://host/")));
        fs::write(dir.path().join(INDEX), "[]").expect("written");
        assert!(matches!(Index::open(dir.path(), &server()), Err(Error::Usage(_))));
    }

    #[test]
    fn a_name_in_an_index_is_no_path() {
        let entry = Entry { link: link("aaaa", "x", b""), file: Some("../../up".into()) };
        assert_eq!(entry.place(Path::new("folder")), Some(PathBuf::from("folder/up")));
    }
}
