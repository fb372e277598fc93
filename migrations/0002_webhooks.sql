-- When a signed webhook announced the end of a task, until it has been observed finished.
ALTER TABLE task ADD COLUMN announced BIGINT;

-- Deliveries about tasks that are not tracked, kept for a while in case they are registered.
CREATE TABLE early_webhook (
    task_id   TEXT   NOT NULL PRIMARY KEY,
    -- NULL for a delivery that does not announce the task's end.
    announced BIGINT,
    received  BIGINT NOT NULL
);
CREATE INDEX early_webhook_received ON early_webhook (received);
