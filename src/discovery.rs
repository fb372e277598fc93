//! stub
#![allow(missing_docs)]
use std::sync::Arc;
pub struct Discovery;
#[derive(Debug, thiserror::Error)]
#[error("x")]
pub struct DiscoveryError;
impl Discovery {
    pub fn new(_: &crate::config::DiscoveryConfig) -> Result<Self, DiscoveryError> {
        Ok(Self)
    }
    pub fn sources(&self) -> Vec<String> {
        vec![]
    }
    pub async fn run(
        self,
        _l: crate::ledger::LedgerHandle,
        _i: Arc<crate::metrics::Instruments>,
        _c: crate::clock::Clock,
        _s: tokio_util::sync::CancellationToken,
    ) {
    }
}
