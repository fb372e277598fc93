//! `discovery`: lists of tasks from elsewhere, in the formats of Prometheus's service discovery.

use super::http_source::HttpSource;
use super::value::{Problem, Section, Value};
use std::path::Path;

/// Most sources of each kind: each is looked at by itself and has series of its own.
const MAX_SOURCES: usize = 100;
/// The endings of the files that can be read, in small or capital letters.
const ENDINGS: [&str; 3] = [".json", ".yml", ".yaml"];

/// Lists of tasks from elsewhere.
#[derive(Clone, Debug, Default)]
pub struct DiscoveryConfig {
    /// Globs of files in Prometheus's file_sd format, as [`glob`] reads them. Each is one source.
    pub files: Vec<String>,
    /// URLs that answer in Prometheus's http_sd format. Each is one source.
    pub http: Vec<HttpSource>,
}

impl DiscoveryConfig {
    /// Reads the section; relative globs and paths are relative to `folder`.
    pub(super) fn read(mut section: Section<'_>, folder: &Path) -> Result<Self, Problem> {
        let files = section.read("files", Vec::new(), |value| {
            sources(value, "globs")?.iter().map(|entry| file_glob(entry, folder)).collect()
        })?;
        let http = section.read("http", Vec::new(), |value| {
            let entries = sources(value, "mappings with url and refresh_interval")?;
            entries.iter().map(|entry| HttpSource::read(entry, folder)).collect()
        })?;
        section.finish()?;
        Ok(Self { files, http })
    }
}

fn sources<'a>(value: &Value<'a>, of: &str) -> Result<Vec<Value<'a>>, Problem> {
    let entries = value.list(of)?;
    match entries.get(MAX_SOURCES) {
        None => Ok(entries),
        Some(one_too_many) => {
            let text = format!("this is source number {}, allowed are {MAX_SOURCES}", MAX_SOURCES + 1);
            Err(Problem::new(one_too_many.path().clone(), text))
        }
    }
}

/// A glob below `folder`, whose own name is not taken for one.
fn file_glob(value: &Value<'_>, folder: &Path) -> Result<String, Problem> {
    const ALLOWED: &str = "a glob of files that end in .json, .yml or .yaml, like tasks/*.json";
    let text = value.text().filter(|text| !text.contains('\0')).ok_or_else(|| value.wrong(ALLOWED))?;
    let lower = text.to_ascii_lowercase();
    if !ENDINGS.iter().any(|ending| lower.ends_with(ending)) {
        return Err(value.wrong(ALLOWED));
    }
    if text.contains("**") {
        return Err(value.wrong("a glob without `**`: it is looked at every second, and that would search whole trees"));
    }
    if let Err(error) = glob::Pattern::new(text) {
        return Err(value.wrong(&format!("a well-formed glob (at character {}: {})", error.pos + 1, error.msg)));
    }
    if Path::new(text).is_absolute() {
        return Ok(text.to_owned());
    }
    let folder = folder.to_str().ok_or_else(|| {
        value.wrong("an absolute glob where the name of the configuration file's folder is not UTF-8")
    })?;
    Ok(Path::new(&glob::Pattern::escape(folder)).join(text).to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use crate::config::parse;
    use std::path::Path;

    fn globs(text: &str, file: &str) -> Result<Vec<String>, String> {
        let config = parse(&format!("discovery: {{files: {text}}}"), Path::new(file), &|_| None);
        config.map(|config| config.discovery.files).map_err(|error| error.to_string())
    }

    #[test]
    fn a_glob_starts_at_the_folder_of_the_file_and_that_folder_is_no_glob() {
        let text = "['tasks/*.json', '/abs/[ab].YAML', list.yml]";
        assert_eq!(globs(text, "config.yaml").unwrap(), ["tasks/*.json", "/abs/[ab].YAML", "list.yml"]);
        assert_eq!(
            globs(text, "/etc/a[1]/config.yaml").unwrap(),
            ["/etc/a[[]1[]]/tasks/*.json", "/abs/[ab].YAML", "/etc/a[[]1[]]/list.yml"]
        );
    }

    #[test]
    fn a_hundred_globs_are_allowed_and_one_more_is_not() {
        assert_eq!(globs(&format!("[{}]", "x.json, ".repeat(100)), "c").unwrap().len(), 100);
        let error = globs(&format!("[{}]", "x.json, ".repeat(101)), "c").unwrap_err();
        assert!(error.ends_with("discovery.files[100]: this is source number 101, allowed are 100"), "{error}");
    }
}
