//! Transactions by plain statements.
//!
//! SQLite ends a transaction by itself on some errors: a full disk, a failed sync, a trigger that says so. `sqlx` counts
//! transactions on its side and would take the next one for nested; what is "committed" then is durable no longer.

use super::StoreError;
use sqlx::sqlite::SqliteConnection;

/// An open transaction. It is ended by [`Transaction::end`] or [`Transaction::roll_back`].
pub(super) struct Transaction<'a>(&'a mut SqliteConnection);

impl<'a> Transaction<'a> {
    pub(super) async fn begin(connection: &'a mut SqliteConnection) -> Result<Self, StoreError> {
        sqlx::query("BEGIN IMMEDIATE").execute(&mut *connection).await?;
        Ok(Self(connection))
    }

    pub(super) fn connection(&mut self) -> &mut SqliteConnection {
        self.0
    }

    /// Commits what was done, or undoes it when it failed.
    pub(super) async fn end<T>(self, done: Result<T, StoreError>) -> Result<T, StoreError> {
        let committed = match done {
            Ok(done) => sqlx::query("COMMIT").execute(&mut *self.0).await.map(|_| done).map_err(StoreError::from),
            Err(error) => Err(error),
        };
        if committed.is_err() {
            self.roll_back().await;
        }
        committed
    }

    /// Undoes everything. Where SQLite has done so already there is nothing to undo, and it says so.
    pub(super) async fn roll_back(self) {
        if let Err(error) = sqlx::query("ROLLBACK").execute(&mut *self.0).await {
            tracing::debug!(%error, "there was nothing to roll back");
        }
    }
}
