//! The totals as rows, written as what is added, so that the row and not a writer's memory is the truth.

use super::StoreError;
use super::transaction::Transaction;
use crate::task::{ErrorCode, Finished, Group};
use crate::time::Time;
use crate::totals::{Counter, CounterFamily, GroupTotals, Histogram, HistogramFamily, Totals};
use sqlx::Row;
use sqlx::sqlite::SqliteConnection;
use std::collections::BTreeMap;

const ADD_COUNTER: &str = "INSERT INTO counter (family, grp, value, total, created) VALUES ($1, $2, $3, $4, $5) \
     ON CONFLICT (family, grp, value) DO UPDATE SET total = counter.total + excluded.total";

const ADD_HISTOGRAM: &str = "INSERT INTO histogram (family, grp, state, bounds, sum_micros, created) \
     VALUES ($1, $2, $3, $4, $5, $6) \
     ON CONFLICT (family, grp, state) DO UPDATE SET sum_micros = histogram.sum_micros + excluded.sum_micros";

const ADD_BUCKET: &str = "INSERT INTO histogram_bucket (family, grp, state, le, total) VALUES ($1, $2, $3, $4, $5) \
     ON CONFLICT (family, grp, state, le) DO UPDATE SET total = histogram_bucket.total + excluded.total";

const SET_LAST_FAILURE: &str = "INSERT INTO last_failure (grp, error_code, at) VALUES ($1, $2, $3) \
     ON CONFLICT (grp, error_code) DO UPDATE SET at = excluded.at WHERE excluded.at > last_failure.at";

/// Adds to the totals.
pub(super) async fn add(connection: &mut SqliteConnection, added: &Totals, bounds: &[f64]) -> Result<(), StoreError> {
    for (group, totals) in added {
        for ((family, value), counter) in &totals.counters {
            sqlx::query(ADD_COUNTER)
                .bind(family.name())
                .bind(group.as_str())
                .bind(value.as_ref())
                .bind(stored(counter.value))
                .bind(counter.created.as_micros())
                .execute(&mut *connection)
                .await?;
        }
        for ((family, state), histogram) in &totals.histograms {
            sqlx::query(ADD_HISTOGRAM)
                .bind(family.name())
                .bind(group.as_str())
                .bind(state.as_str())
                .bind(bucket_names(bounds).collect::<Vec<_>>().join(" "))
                .bind(stored(histogram.sum_micros))
                .bind(histogram.created.as_micros())
                .execute(&mut *connection)
                .await?;
            for (le, total) in bucket_names(bounds).zip(&histogram.buckets).filter(|(_, total)| **total > 0) {
                sqlx::query(ADD_BUCKET)
                    .bind(family.name())
                    .bind(group.as_str())
                    .bind(state.as_str())
                    .bind(le)
                    .bind(stored(*total))
                    .execute(&mut *connection)
                    .await?;
            }
        }
        for (error_code, at) in &totals.last_failures {
            sqlx::query(SET_LAST_FAILURE)
                .bind(group.as_str())
                .bind(error_code.as_str())
                .bind(at.as_micros())
                .execute(&mut *connection)
                .await?;
        }
    }
    Ok(())
}

/// Reads the totals. Histograms with other bounds than `bounds` begin anew at `now`.
pub(super) async fn load(connection: &mut SqliteConnection, bounds: &[f64], now: Time) -> Result<Totals, StoreError> {
    let mut totals = Totals::new();
    for row in sqlx::query("SELECT family, grp, value, total, created FROM counter").fetch_all(&mut *connection).await?
    {
        let family = known(row.try_get(0)?, &CounterFamily::ALL, CounterFamily::name)?;
        let value: &str = row.try_get(2)?;
        let counter = Counter { value: shown(row.try_get(3)?)?, created: Time::from_micros(row.try_get(4)?) };
        of_group(&mut totals, row.try_get(1)?)?.counters.insert((family, value.into()), counter);
    }
    let mut buckets: BTreeMap<(String, String, String), BTreeMap<String, u64>> = BTreeMap::new();
    for row in
        sqlx::query("SELECT family, grp, state, le, total FROM histogram_bucket").fetch_all(&mut *connection).await?
    {
        let of = buckets.entry((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?)).or_default();
        of.insert(row.try_get(3)?, shown(row.try_get(4)?)?);
    }
    let mut anew = Totals::new();
    let configured = bucket_names(bounds).collect::<Vec<_>>().join(" ");
    for row in sqlx::query("SELECT family, grp, state, bounds, sum_micros, created FROM histogram")
        .fetch_all(&mut *connection)
        .await?
    {
        let family = known(row.try_get(0)?, &HistogramFamily::ALL, HistogramFamily::name)?;
        let state = known(row.try_get(2)?, &Finished::ALL, Finished::as_str)?;
        let found = buckets.remove(&(row.try_get(0)?, row.try_get(1)?, row.try_get(2)?)).unwrap_or_default();
        let histogram = if row.try_get::<&str, _>(3)? == configured {
            Histogram {
                buckets: bucket_names(bounds).map(|le| found.get(&le).copied().unwrap_or(0)).collect(),
                sum_micros: shown(row.try_get(4)?)?,
                created: Time::from_micros(row.try_get(5)?),
                exemplars: BTreeMap::new(),
            }
        } else {
            let histogram = Histogram::new(bounds, now);
            of_group(&mut anew, row.try_get(1)?)?.histograms.insert((family, state), histogram.clone());
            histogram
        };
        of_group(&mut totals, row.try_get(1)?)?.histograms.insert((family, state), histogram);
    }
    for row in sqlx::query("SELECT grp, error_code, at FROM last_failure").fetch_all(&mut *connection).await? {
        if let Some(error_code) = ErrorCode::from_api(row.try_get(1)?) {
            let at = Time::from_micros(row.try_get(2)?);
            of_group(&mut totals, row.try_get(0)?)?.last_failures.insert(error_code, at);
        }
    }
    begin_anew(connection, &anew, bounds).await?;
    Ok(totals)
}

async fn begin_anew(connection: &mut SqliteConnection, anew: &Totals, bounds: &[f64]) -> Result<(), StoreError> {
    if anew.is_empty() {
        return Ok(());
    }
    let mut transaction = Transaction::begin(connection).await?;
    let done = async {
        for (group, totals) in anew {
            for (family, state) in totals.histograms.keys() {
                for statement in [
                    "DELETE FROM histogram_bucket WHERE family = $1 AND grp = $2 AND state = $3",
                    "DELETE FROM histogram WHERE family = $1 AND grp = $2 AND state = $3",
                ] {
                    sqlx::query(statement)
                        .bind(family.name())
                        .bind(group.as_str())
                        .bind(state.as_str())
                        .execute(transaction.connection())
                        .await?;
                }
            }
        }
        add(transaction.connection(), anew, bounds).await
    };
    let done = done.await;
    transaction.end(done).await
}

/// The buckets' upper bounds as on `/metrics`.
fn bucket_names(bounds: &[f64]) -> impl Iterator<Item = String> + '_ {
    bounds.iter().map(f64::to_string).chain(["+Inf".to_owned()])
}

fn of_group<'a>(totals: &'a mut Totals, name: &str) -> Result<&'a mut GroupTotals, StoreError> {
    let group = Group::new(name).map_err(|error| StoreError::Totals(error.to_string()))?;
    Ok(totals.entry(group).or_default())
}

fn known<T: Copy>(text: &str, all: &[T], name: impl Fn(T) -> &'static str) -> Result<T, StoreError> {
    let found = all.iter().copied().find(|value| name(*value) == text);
    found.ok_or_else(|| StoreError::Totals(format!("{text:?} is no name that this exporter writes")))
}

/// SQL knows no unsigned integers; nothing counts beyond `i64::MAX`.
fn stored(total: u64) -> i64 {
    i64::try_from(total).unwrap_or(i64::MAX)
}

fn shown(total: i64) -> Result<u64, StoreError> {
    u64::try_from(total).map_err(|_| StoreError::Totals(format!("a total of {total} is below zero")))
}
