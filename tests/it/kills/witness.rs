//! Scrapes all the time, across restarts, and holds each scrape against those before.

use crate::harness::Scrape;
use reqwest::Client;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::AbortHandle;

/// The time between two scrapes: much shorter than a commit is made to wait, so that what is shown too early is seen.
const LOOK: Duration = Duration::from_millis(20);
/// The one gauge that is durable and only rises.
const LAST_FAILURE: &str = "dragdropdo_last_failure_timestamp_seconds";
/// Gauges that may fall, and whose series stay.
const STAYING: [&str; 2] = ["dragdropdo_tasks", "dragdropdo_files"];

/// The witness; it stops when it is dropped.
pub(super) struct Witness {
    testimony: Arc<Mutex<Testimony>>,
    looking: AbortHandle,
}

#[derive(Default)]
struct Testimony {
    /// The latest value of each series that may not fall, and of those that may only not go.
    rising: BTreeMap<String, f64>,
    staying: BTreeMap<String, f64>,
    scrapes: usize,
    complaint: Option<String>,
}

impl Witness {
    /// Begins to look at whichever exporter lives.
    pub(super) fn start(address: watch::Receiver<Option<SocketAddr>>) -> Self {
        let testimony = Arc::new(Mutex::new(Testimony::default()));
        let looking = tokio::spawn(look(address, testimony.clone())).abort_handle();
        Self { testimony, looking }
    }

    /// Fails when anything that was seen was wrong; else answers how many scrapes were seen.
    pub(super) fn is_content(&self) -> usize {
        let testimony = self.testimony.lock().unwrap();
        if let Some(complaint) = &testimony.complaint {
            panic!("{complaint}");
        }
        testimony.scrapes
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        self.looking.abort();
    }
}

async fn look(address: watch::Receiver<Option<SocketAddr>>, testimony: Arc<Mutex<Testimony>>) {
    let client = Client::builder().no_proxy().retry(reqwest::retry::never()).build().unwrap();
    loop {
        tokio::time::sleep(LOOK).await;
        let Some(address) = *address.borrow() else { continue };
        let Ok(answer) = client.get(format!("http://{address}/metrics")).send().await else { continue };
        let status = answer.status();
        // An answer that breaks off shows nothing.
        let Ok(text) = answer.text().await else { continue };
        let mut testimony = testimony.lock().unwrap();
        if let Err(complaint) = testimony.take(status.as_u16(), &text) {
            testimony.complaint.get_or_insert(complaint);
            return;
        }
    }
}

impl Testimony {
    fn take(&mut self, status: u16, text: &str) -> Result<(), String> {
        if status != 200 {
            return Err(format!("a scrape answers {status}: {text}"));
        }
        let scrape = Scrape::parse(text)?;
        let (mut rising, mut staying) = (BTreeMap::new(), BTreeMap::new());
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let (series, value) = line.rsplit_once(' ').ok_or(line)?;
            let Some((name, labels)) = series.split_once('{') else { continue };
            let value: f64 = value.parse().map_err(|_| line)?;
            let family = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| name.strip_suffix(suffix));
            let kind = scrape.types().get(name).or_else(|| scrape.types().get(family?));
            let of_group = labels.starts_with("group=");
            if of_group && (kind.is_some_and(|kind| kind != "gauge") || name == LAST_FAILURE) {
                rising.insert(series.to_owned(), value);
            } else if STAYING.contains(&name) {
                staying.insert(series.to_owned(), value);
            }
        }
        for (series, before) in &self.rising {
            match rising.get(series) {
                None => return Err(format!("{series} was {before} and is gone, in scrape {}", self.scrapes)),
                Some(now) if now < before => {
                    return Err(format!("{series} was {before} and is {now}, in scrape {}", self.scrapes));
                }
                Some(_) => {}
            }
        }
        if let Some(series) = self.staying.keys().find(|series| !staying.contains_key(*series)) {
            return Err(format!("{series} is gone, in scrape {}", self.scrapes));
        }
        self.rising = rising;
        self.staying = staying;
        self.scrapes += 1;
        Ok(())
    }
}

#[test]
fn a_series_that_goes_or_falls_is_seen() {
    let head = "# HELP a_total A.\n# TYPE a_total counter\n";
    let both = format!("{head}a_total{{group=\"x\"}} 2\na_total{{group=\"y\"}} 1\n");
    for (text, complaint) in [
        (both.clone(), None),
        (format!("{head}a_total{{group=\"x\"}} 2\n"), Some("is gone")),
        (both.replace('2', "1"), Some("was 2 and is 1")),
        (head.to_owned(), Some("is gone")),
    ] {
        let mut testimony = Testimony::default();
        testimony.take(200, &both).unwrap();
        let found = testimony.take(200, &text).err();
        assert_eq!(found.is_some(), complaint.is_some(), "{found:?}");
        assert!(found.is_none_or(|found| found.contains(complaint.unwrap())));
    }
}
