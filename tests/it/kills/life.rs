//! One life of the exporter, from its start to its kill.

use crate::harness::{Exporter, Setup};
use rand::RngExt;
use rand::rngs::StdRng;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions, Connection};
use std::net::SocketAddr;
use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;
use tokio::sync::watch;

/// Where in its work the exporter is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Manner {
    /// Anywhere, also while it starts.
    AtAnyMoment,
    /// Most likely after a commit and before it is published: every commit is followed by a pause.
    BeforePublishing,
    /// Most likely before a commit: somebody else holds the database, so the exporter waits to write.
    BeforeCommitting,
}

impl Manner {
    pub(super) const ALL: [Self; 3] = [Self::AtAnyMoment, Self::BeforePublishing, Self::BeforeCommitting];
}

/// A life that has begun.
pub(super) struct Life<'a> {
    exporter: Exporter,
    manner: Manner,
    database: PathBuf,
    address: &'a watch::Sender<Option<SocketAddr>>,
}

impl<'a> Life<'a> {
    /// Starts the exporter; `address` is to tell where it listens, once it does and as long as it lives.
    pub(super) fn begin(setup: &mut Setup, manner: Manner, address: &'a watch::Sender<Option<SocketAddr>>) -> Self {
        let points = if manner == Manner::BeforePublishing { "committed=sleep(80)" } else { "" };
        setup.environment("FAILPOINTS", points);
        Self { exporter: setup.launch(), manner, database: setup.path("exporter.db"), address }
    }

    /// Lets it live, as long as it takes.
    pub(super) async fn go_on(mut self) -> Exporter {
        self.listens().await;
        self.exporter
    }

    /// Lets it live for a random time and kills it.
    pub(super) async fn last_until_killed(mut self, random: &mut StdRng) {
        let mut time = |millis: Range<u64>| Duration::from_millis(random.random_range(millis));
        match self.manner {
            Manner::AtAnyMoment => {
                let time = if time(0..3).is_zero() { time(0..150) } else { time(150..1500) };
                // Not listening within its time is no failure here.
                tokio::time::timeout(time, async {
                    self.listens().await;
                    std::future::pending::<()>().await;
                })
                .await
                .ok();
                self.ends().await;
            }
            Manner::BeforePublishing => {
                self.listens().await;
                tokio::time::sleep(time(200..1000)).await;
                self.ends().await;
            }
            Manner::BeforeCommitting => {
                self.listens().await;
                tokio::time::sleep(time(200..800)).await;
                let held = hold(&self.database).await;
                tokio::time::sleep(time(50..250)).await;
                self.ends().await;
                held.close().await.unwrap();
            }
        }
    }

    async fn listens(&mut self) {
        self.exporter.listens().await;
        self.address.send_replace(Some(self.exporter.address()));
    }

    async fn ends(self) {
        self.address.send_replace(None);
        self.exporter.kill().await;
    }
}

/// Takes the database's lock for writing, as a backup or an operator may; closing the connection gives it back.
async fn hold(database: &PathBuf) -> SqliteConnection {
    let options = SqliteConnectOptions::new().filename(database).busy_timeout(Duration::from_secs(20));
    let mut connection = options.disable_statement_logging().connect().await.unwrap();
    sqlx::query("BEGIN IMMEDIATE").execute(&mut connection).await.unwrap();
    connection
}
