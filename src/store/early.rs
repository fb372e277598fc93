//! Webhook deliveries about tasks that are not tracked.

use super::{EarlyWebhook, StoreError};
use crate::time::Time;
use sqlx::sqlite::SqliteConnection;

/// Deliveries kept at most. A team that registers its tasks seconds after submitting them has a handful here; the rest is
/// room for an application that was down, and a bound against an account whose tasks nobody registers.
const MAX_KEPT: i64 = 10_000;

const KEEP: &str = "INSERT INTO early_webhook (task_id, announced, received) VALUES ($1, $2, $3) \
     ON CONFLICT (task_id) DO UPDATE SET announced = COALESCE(early_webhook.announced, excluded.announced), \
     received = excluded.received";

/// The oldest go when there are too many.
const BOUND: &str = "DELETE FROM early_webhook WHERE received < \
     (SELECT received FROM early_webhook ORDER BY received DESC LIMIT 1 OFFSET $1)";

pub(super) async fn keep(connection: &mut SqliteConnection, webhooks: &[EarlyWebhook]) -> Result<(), StoreError> {
    for webhook in webhooks {
        sqlx::query(KEEP)
            .bind(webhook.id.as_str())
            .bind(webhook.announced.map(Time::as_micros))
            .bind(webhook.received.as_micros())
            .execute(&mut *connection)
            .await?;
    }
    if !webhooks.is_empty() {
        sqlx::query(BOUND).bind(MAX_KEPT - 1).execute(&mut *connection).await?;
    }
    Ok(())
}
