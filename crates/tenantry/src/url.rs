//! What a URL names.

use tenantry_core::{Code, Error, Result};

/// What a URL names.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Place<'a> {
    /// `memory:`
    Memory,
    /// `file:PATH`
    Directory(&'a str),
    /// `fdb:`, `fdb:CLUSTER_FILE`, and what is said behind a question mark.
    Cluster(Cluster<'a>),
}

/// A cluster, and how it is used.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Cluster<'a> {
    /// None for the default cluster file.
    pub(crate) file: Option<&'a str>,
    /// The name of the database.
    pub(crate) name: Option<&'a str>,
    /// How many network threads there are.
    pub(crate) threads: Option<u32>,
}

impl<'a> Place<'a> {
    /// Reads a URL.
    ///
    /// # Errors
    ///
    /// 20002 for one that is none of those, an option that there is not, one that is there twice, or a number of threads that is none.
    pub(crate) fn parse(url: &'a str) -> Result<Place<'a>> {
        match url.split_once(':') {
            Some(("memory", "")) => Ok(Place::Memory),
            Some(("file", path)) if !path.is_empty() => Ok(Place::Directory(path)),
            Some(("fdb", rest)) => {
                Cluster::parse(rest).map(Place::Cluster).map_err(|why| unusable(url, &why))
            }
            _ => Err(unusable(url, "write file:PATH, memory:, fdb: or fdb:CLUSTER_FILE")),
        }
    }
}

impl<'a> Cluster<'a> {
    fn parse(rest: &'a str) -> std::result::Result<Cluster<'a>, String> {
        let (path, options) = rest.split_once('?').unwrap_or((rest, ""));
        let mut cluster = Cluster { file: (!path.is_empty()).then_some(path), ..Cluster::default() };
        for option in options.split('&').filter(|_| rest.contains('?')) {
            let is_new = match option.split_once('=') {
                Some(("name", name)) if !name.is_empty() => cluster.name.replace(name).is_none(),
                Some(("threads", number)) => {
                    let threads = number.parse().map_err(|_| format!("threads={number} is no number"))?;
                    cluster.threads.replace(threads).is_none()
                }
                _ => return Err(format!("{option:?} is no option: there are name=NAME and threads=NUMBER")),
            };
            if !is_new {
                return Err(format!("{option:?} comes behind another one of the kind"));
            }
        }
        Ok(cluster)
    }
}

fn unusable(url: &str, why: &str) -> Error {
    let shown: String = url.chars().take(80).collect();
    Error::new(Code::DatabaseUrl, format!("{shown:?}: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_say_where_a_database_is() {
        let cluster = |file, name, threads| Some(Place::Cluster(Cluster { file, name, threads }));
        let table = [
            ("memory:", Some(Place::Memory)),
            ("file:a?b", Some(Place::Directory("a?b"))),
            ("fdb:", cluster(None, None, None)),
            ("fdb:/etc/a:b", cluster(Some("/etc/a:b"), None, None)),
            ("fdb:?threads=4", cluster(None, None, Some(4))),
            ("fdb:a?name=b&threads=2", cluster(Some("a"), Some("b"), Some(2))),
            ("fdb:a?threads=0&name=b=c?", cluster(Some("a"), Some("b=c?"), Some(0))),
            ("", None),
            ("memory:x", None),
            ("file:", None),
            ("fdb", None),
            ("http://a", None),
            ("fdb:a?", None),
            ("fdb:a?threads", None),
            ("fdb:a?threads=", None),
            ("fdb:a?threads=-1", None),
            ("fdb:a?threads=4294967296", None),
            ("fdb:a?threads=1&", None),
            ("fdb:a?threads=1&threads=1", None),
            ("fdb:a?name=", None),
            ("fdb:a?name=b&name=c", None),
            ("fdb:a?tls=yes", None),
        ];
        for (url, expected) in table {
            match (Place::parse(url), expected) {
                (Ok(place), Some(expected)) => assert_eq!(place, expected, "{url}"),
                (Err(error), None) => assert_eq!(error.code(), Code::DatabaseUrl, "{url}"),
                (parsed, expected) => assert_eq!(parsed.ok(), expected, "{url}"),
            }
        }
        let long = format!("fdb:{}?x", "a".repeat(1_000));
        assert!(Place::parse(&long).unwrap_err().to_string().len() < 300);
    }
}
