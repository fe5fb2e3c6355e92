//! What an operator does to messages and bursts.

use super::queue::SWEEP;
use super::{Change, Effect, OpenBurst, Operation, Queue, StoreError};
use crate::ident::{BurstId, MessageId};

impl Queue {
    /// An operator's hand on one message.
    pub async fn operate(&self, id: MessageId, operation: Operation) -> Result<Effect, StoreError> {
        let applied = self.commit_one(Change::Operate { id, operation, at: self.clock.now() }).await?;
        self.wake.notify_one();
        Ok(applied.result)
    }

    /// An operator's hand on all that a burst holds. Gives how many messages it was done to; `NotFound` where there is no
    /// such burst, `NotAllowed` where that can't be done to what is held.
    pub async fn operate_burst(&self, burst: &BurstId, operation: Operation) -> Result<Effect, StoreError> {
        let mut done = 0;
        loop {
            let (burst, at) = (burst.clone(), self.clock.now());
            let change = Change::OperateBurst { burst, operation, at, limit: SWEEP };
            let applied = self.commit_one(change).await?;
            self.wake.notify_one();
            match applied.result {
                Effect::Rows(rows) => {
                    done += rows;
                    if rows < SWEEP {
                        return Ok(Effect::Rows(done));
                    }
                }
                other => return Ok(other),
            }
        }
    }

    /// The bursts that go on or still hold something, newest first.
    pub async fn open_bursts(&self) -> Result<Vec<OpenBurst>, StoreError> {
        self.store.open_bursts(self.clock.now()).await
    }
}
